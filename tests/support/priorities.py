"""Nothing that tests start gives way: beside busy processes, what does so takes fifty times as long.

Claims about giving way ask for the fixture `lowered_priorities`.
"""

import os
from pathlib import Path

import pytest
from run_folder import run_folder

NOTHING = "#!/bin/sh\nexit 0\n"


def _folder() -> Path:
    return run_folder() / "priorities"


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put programs that change no priority before the real ones; processes of pytest-xdist inherit the path."""
    if not hasattr(config, "workerinput"):
        _folder().mkdir()
        for name in ("chrt", "renice"):
            (_folder() / name).write_text(NOTHING)
            (_folder() / name).chmod(0o755)
        os.environ["PATH"] = os.pathsep.join([str(_folder()), os.environ["PATH"]])


@pytest.fixture
def lowered_priorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs and threads that give way do so, as they do outside of tests."""
    folders = os.environ["PATH"].split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join(one for one in folders if one != str(_folder())))


@pytest.fixture(autouse=True)
def _threads_do_not_give_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "lowered_priorities" not in request.fixturenames:
        monkeypatch.setattr("pipelines.processes.priority._lower_thread_priority", lambda: None)
