"""Keep the priority of processes and threads that tests start: low priority makes them 50 times slower on a busy host.

The tests run at the nice value of builds, so that those are not slower than what waits for them.

Tests of priorities use the fixture `lowered_priorities`.
"""

import os
from pathlib import Path

import pytest
from run_folder import run_folder

from pipelines.processes.priority import NICENESS


def _folder() -> Path:
    return run_folder() / "priorities"


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Raise the nice value; put replacements of chrt and renice without an effect first in PATH.

    The workers of pytest-xdist inherit both.
    """
    if not hasattr(config, "workerinput"):
        os.nice(max(0, NICENESS - os.nice(0)))
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
