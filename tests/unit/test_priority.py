"""Maintenance by hand lets everything else go first; what somebody waits for does not."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from pipelines.cli import main
try:
    main()
finally:
    print("policy", os.sched_getscheduler(0), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        (["retention"], os.SCHED_IDLE),
        (["vacuum"], os.SCHED_IDLE),
        (["backup", "create"], os.SCHED_IDLE),
        (["backup", "restore"], os.SCHED_OTHER),
        (["ladder"], os.SCHED_OTHER),
    ],
)
def test_who_goes_first(arguments: list[str], policy: int) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr == f"policy {policy}\n"
