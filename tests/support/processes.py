"""Inspecting processes that may end at any moment."""

from contextlib import suppress
from pathlib import Path

import psutil
from waiting import wait_until


def descendants(pid: int) -> list[psutil.Process]:
    """All descendants of a process; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def command_line(process: psutil.Process) -> list[str]:
    """A process's arguments; none if it has ended, even as a zombie."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, even if it remains as a zombie because no parent waits for it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_all(*processes: psutil.Process) -> None:
    """Kill those that have not ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def postmaster(data: Path) -> psutil.Process:
    """The postmaster of a data directory; its pid file is written in steps."""
    file = data / "postmaster.pid"

    def lines() -> list[str]:
        return file.read_text().splitlines(keepends=True) if file.exists() else []

    wait_until(lambda: lines() and lines()[0].strip().isdigit() and lines()[0].endswith("\n"), f"{file} to be written")
    return psutil.Process(int(lines()[0]))
