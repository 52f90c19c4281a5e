"""Child processes that end, hang or do not start are replaced."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import kill_all
from waiting import wait_until

from pipelines.errors import ServerUnavailableError
from pipelines.monitoring.alert_delivery import PROCESS_PROBLEM
from pipelines.service import children as module
from pipelines.service.children import Child, Children

#: Touches a file ten times a second, by which it responds.
PROGRAM = "import pathlib, sys, time\nwhile True:\n    pathlib.Path(sys.argv[1]).touch()\n    time.sleep(0.1)"


class Group:
    """Children of a test, and what they logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logged: list[str] = []
        self.starts = 0
        self.children = Children(self.logged.append, folder, self.count)

    def count(self) -> None:
        self.starts += 1

    def child(self, name: str, program: str = PROGRAM) -> Child:
        file = self.folder / name

        def responds() -> bool:
            return file.exists() and time.time() - file.stat().st_mtime < 4.0

        def start() -> psutil.Popen:
            return psutil.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.DEVNULL)

        return Child(name, start, responds)

    def replaced(self, child: Child, process: psutil.Popen | None) -> bool:
        self.children.check()
        return child.process is not None and child.process is not process and child.responds()


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    monkeypatch.setattr(module, "SILENT_SECONDS", 8.0)
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.1)
    found = Group(tmp_path)
    yield found
    found.children.stop_checks()
    for process in found.children.running().values():
        kill_all(process)
        process.wait()


def test_a_killed_child_is_replaced_and_the_others_stay(group: Group) -> None:
    killed, other = group.child("killed"), group.child("other")
    for child in (killed, other):
        group.children.start(child)
    before, kept = killed.process, other.process
    assert before is not None
    before.kill()
    wait_until(lambda: group.replaced(killed, before), "another process")
    assert other.process is kept
    assert group.starts == 3
    assert group.logged == ["killed ended with exit code -9; starting another"]
    [problem] = group.children.problems()
    assert problem.key == f"{PROCESS_PROBLEM}killed"
    assert "was replaced once in the last 10 minutes: it ended with exit code -9" in problem.message


def test_a_stopped_child_is_replaced(group: Group) -> None:
    child = group.child("stopped")
    group.children.start(child)
    before = child.process
    assert before is not None
    before.send_signal(signal.SIGSTOP)
    wait_until(lambda: group.replaced(child, before), "another process")
    assert not before.is_running()
    assert "did not respond for" in group.logged[0]


def test_a_child_that_runs_but_does_not_respond_is_replaced(group: Group) -> None:
    child = group.child("hangs", PROGRAM.replace("while True:", "for _ in range(20):") + "\ntime.sleep(600)")
    group.children.start(child)
    before = child.process
    wait_until(lambda: group.replaced(child, before), "another process")
    assert "did not respond for" in group.logged[0]


def test_the_delay_grows_with_each_replacement(group: Group) -> None:
    child = group.child("ends")
    group.children.start(child)
    for expected in ("starting another", "starting another in 1 s", "starting another in 2 s"):
        before = child.process
        assert before is not None
        before.kill()
        wait_until(lambda before=before: group.replaced(child, before), "another process")  # type: ignore[misc]
        assert group.logged[-1] == f"ends ended with exit code -9; {expected}"
    [problem] = group.children.problems()
    assert "replaced 3 times" in problem.message


def test_a_child_that_does_not_start_is_an_error(group: Group) -> None:
    child = group.child("broken", "raise SystemExit(3)")
    with pytest.raises(ServerUnavailableError, match=r"broken ended with exit code 3; see the logs in"):
        group.children.start(child)


def test_a_pause_of_the_supervisor_is_no_silence_of_its_children(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    child = group.child("kept")
    group.children.start(child)
    kept = child.process
    clock = time.monotonic
    monkeypatch.setattr(module.time, "monotonic", lambda: clock() + 3600)  # the machine was suspended for an hour
    assert not group.children.check()
    assert child.process is kept
    assert group.children.problems() == []


def test_unknown_is_no_first_response_and_no_silence_after_it(group: Group) -> None:
    """A daemon without a first heartbeat counted as started while its database did not answer, and was then killed."""
    answers: list[bool | None] = [None]
    child = group.child("daemon")
    child.is_responding = lambda: answers[-1]
    group.children.start(child, wait=False)
    time.sleep(1.0)
    assert child.responded_at is None
    answers.append(True)
    wait_until(child.responds, "the first response")
    answers.append(None)
    kept = child.process
    until = time.monotonic() + module.SILENT_SECONDS + 1.0
    while time.monotonic() < until:
        assert not group.children.check()
        time.sleep(0.2)
    assert child.process is kept


def test_a_child_that_has_responded_may_be_silent_while_others_start(group: Group) -> None:
    silent, slow = group.child("silent"), group.child("slow")
    answered = iter([True])
    silent.is_responding = lambda: next(answered, False)
    started = time.monotonic()
    slow.is_responding = lambda: time.monotonic() - started > module.SILENT_SECONDS + 2.0
    group.children.start(silent)
    group.children.start(slow)
    assert "did not respond" in (silent.failure(time.monotonic()) or "")
