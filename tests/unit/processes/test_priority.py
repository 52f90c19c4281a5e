"""Priority of maintenance commands and of background threads."""

import os
import subprocess
import sys

import pytest
from waiting import TIMEOUT_SECONDS

from pipelines.processes.priority import in_background

pytestmark = pytest.mark.usefixtures("lowered_priorities")

#: Scheduling policy of the tests, which may be a low one already.
USUAL = os.sched_getscheduler(0)
NICE = os.nice(0)
#: Of builds, in the program: the tests have the usual one.
RAISED = min(19, NICE + 5)
PROGRAM = f"""
import os, sys
from pipelines.cli.main import main
from pipelines.processes import priority
priority.NICENESS = {RAISED}
try:
    main()
finally:
    print("policy", os.sched_getscheduler(0), "nice", os.nice(0), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "policy", "nice"),
    [
        (["retention"], os.SCHED_IDLE, NICE),
        (["vacuum"], os.SCHED_IDLE, NICE),
        (["backup", "create"], os.SCHED_IDLE, NICE),
        (["build"], USUAL, RAISED),
        (["ingest"], USUAL, RAISED),
        (["backup", "restore"], USUAL, NICE),
        (["ladder"], USUAL, NICE),
    ],
)
def test_only_background_commands_run_at_low_priority(arguments: list[str], policy: int, nice: int) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0
    assert done.stderr == f"policy {policy} nice {nice}\n"


def test_background_work_runs_at_low_priority_and_its_caller_does_not() -> None:
    with in_background() as background:
        assert background(lambda: os.sched_getscheduler(0)) == os.SCHED_IDLE
        with pytest.raises(KeyError, match="raised"):
            background(lambda: {}["raised"])
    assert os.sched_getscheduler(0) == USUAL


def test_background_work_runs_where_priorities_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    with in_background() as background:
        assert background(lambda: 7) == 7
