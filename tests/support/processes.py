"""Looking at processes that may end at any moment: what has ended has no children, no arguments, no file."""

from contextlib import suppress
from pathlib import Path

import psutil
from waiting import wait_until


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that a process started, and those that they started; none of one that has ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def command_line(process: psutil.Process) -> list[str]:
    """A process's arguments; none once it has ended, whether or not its parent has heard of it."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


def has_ended(process: psutil.Process) -> bool:
    """Whether it does nothing any more; where no parent asks, an ended process stays in the table as a zombie."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_all(*processes: psutil.Process) -> None:
    """Kill what has not ended yet."""
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def postmaster(data: Path) -> psutil.Process:
    """The first process of the server of a data directory; its file is written in steps, and the number may come late."""
    file = data / "postmaster.pid"

    def lines() -> list[str]:
        return file.read_text().splitlines(keepends=True) if file.exists() else []

    wait_until(lambda: lines() and lines()[0].strip().isdigit() and lines()[0].endswith("\n"), f"{file} to be written")
    return psutil.Process(int(lines()[0]))
