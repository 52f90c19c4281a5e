"""Keep the priority of processes and threads that tests start: low priority makes them 50 times slower on a busy host.

Tests of priorities use the fixture `lowered_priorities`.
"""

import os
from pathlib import Path

import pytest
from run_folder import run_folder


def _folder() -> Path:
    return run_folder() / "priorities"


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put replacements of chrt and renice without an effect first in PATH, which pytest-xdist's workers inherit."""
    if not hasattr(config, "workerinput"):
        _folder().mkdir()
        for name in ("chrt", "renice"):
            (_folder() / name).write_text("#!/bin/sh\nexit 0\n")
            (_folder() / name).chmod(0o755)
        os.environ["PATH"] = os.pathsep.join([str(_folder()), os.environ["PATH"]])


@pytest.fixture
def lowered_priorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs and threads lower their priority as they do outside of tests."""
    folders = os.environ["PATH"].split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join(one for one in folders if one != str(_folder())))


@pytest.fixture(autouse=True)
def _usual_thread_priority(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "lowered_priorities" not in request.fixturenames:
        monkeypatch.setattr("pipelines.processes.priority._lower_thread_priority", lambda: None)
