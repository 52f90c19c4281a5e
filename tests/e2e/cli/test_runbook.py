"""Every command of the runbook, as it is written and in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from system import System

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands, each once, in order."""
    lines = [
        line.split("  #")[0].strip() for block in BLOCK.findall(RUNBOOK.read_text()) for line in block.splitlines()
    ]
    return list(dict.fromkeys(line for line in lines if line))


@pytest.fixture(scope="module")
def shell(system: System) -> dict[str, str]:
    """The environment of an operator's shell; there is a backup, and there are logs of an earlier `up`."""
    assert system.run("backup", "create").returncode == 0
    logs = system.home / "logs"
    logs.mkdir(exist_ok=True)
    for name in ("runs.jsonl", "daemon.log"):
        (logs / name).touch()
    return {**system.variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_the_runbook_has_commands() -> None:
    assert len(commands()) > 30


@pytest.mark.soak
def test_every_command_succeeds(shell: dict[str, str], system: System) -> None:
    """In order, because later commands use the results of earlier ones; with bash, for `time`."""
    failures = []
    for command in commands():
        completed = subprocess.run(
            ["bash", "-c", command],
            env=shell,
            cwd=system.home,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if completed.returncode != 0 or "Traceback" in completed.stderr:
            failures.append(f"$ {command}\n{completed.stdout}{completed.stderr}")
    assert failures == []
