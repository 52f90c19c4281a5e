"""The machine: load, processors, memory, disks; within a container, what that is allowed."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import psutil

from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, one, percentiles
from pipelines.monitoring.audit.timing import timed

PAGE = bytes(8192)
CGROUP = Path("/sys/fs/cgroup")
#: Version 1 writes "no limit" as a number that no machine has.
LIMITLESS = 2**60
MINUTES = (1, 5, 15)


class Window:
    """Begun before and ended after whatever else is measured: rates need two looks."""

    def __init__(self) -> None:
        self._cpu = psutil.cpu_times()
        self._disk = psutil.disk_io_counters()
        self._seconds = time.monotonic()

    def end(self) -> Measured:
        """Shares of processor time and rates of the disks since the beginning."""
        seconds = time.monotonic() - self._seconds
        cpu, before = psutil.cpu_times()._asdict(), self._cpu._asdict()
        # Linux counts a guest's time in user time, too.
        spent = {name: cpu[name] - before[name] for name in cpu if not name.startswith("guest")}
        total = sum(spent.values()) or 1.0
        figures = [one("host_cpu", Unit.PERCENT, 100.0 * used / total, mode=mode) for mode, used in spent.items()]
        gaps = []
        disk = psutil.disk_io_counters()
        if disk is None or self._disk is None:
            gaps.append(Gap("disk throughput", "the system counts none"))
        else:
            for what, unit in (("bytes", Unit.BYTES_PER_SECOND), ("count", Unit.PER_SECOND)):
                for way in ("read", "write"):
                    done = getattr(disk, f"{way}_{what}") - getattr(self._disk, f"{way}_{what}")
                    name = "host_disk_throughput" if what == "bytes" else "host_disk_operations"
                    figures.append(one(name, unit, done / seconds, way=way))
        return Measured(tuple(figures), tuple(gaps))


def read(folders: Mapping[str, Path]) -> Measured:
    """Load, memory, swap and the room of the disks that `folders` are on, by what they hold."""
    cores = cores_allowed()
    figures = [one("host_cores", Unit.COUNT, cores)]
    # Load is a count of processes, those outside of a container as well: only per core of the whole machine does it say
    # whether that has enough of them.
    figures += [
        one("host_load", Unit.PER_CORE, load / (psutil.cpu_count() or 1), minutes=str(minutes))
        for minutes, load in zip(MINUTES, os.getloadavg(), strict=True)
    ]
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    limit, used = memory_limit(), memory_used()
    gaps = []
    figures.append(one("host_memory", Unit.BYTES, memory_total(), state="total"))
    if limit is None:
        figures.append(one("host_memory", Unit.BYTES, memory.available, state="available"))
    elif used is None:
        gaps.append(Gap("memory that is available", "the container does not say what it uses"))
    else:
        available = max(0, min(limit - used, memory.available))
        figures.append(one("host_memory", Unit.BYTES, available, state="available"))
    figures.append(one("host_swap", Unit.BYTES, swap.used, state="used"))
    for what, folder in folders.items():
        try:
            usage = shutil.disk_usage(folder)
        except OSError as error:
            gaps.append(Gap(f"disk of {what}", error.strerror or str(error)))
            continue
        figures += [
            one("host_disk", Unit.BYTES, usage.free, of=what, state="free"),
            one("host_disk", Unit.BYTES, usage.total, of=what, state="total"),
        ]
    return Measured(tuple(figures), tuple(gaps))


def disks(folders: Mapping[str, Path], writes: int, sync: Callable[[int], object] = os.fsync) -> Measured:
    """How long it takes until a page of 8 KiB is safe on the disk of each folder, `writes` times."""
    figures: list[Figure] = []
    gaps = []
    for what, folder in folders.items():
        try:
            with TemporaryFile(dir=folder, buffering=0) as file:
                samples = timed(partial(_write, file, sync), repeat(PAGE, writes), pauses=0.0)
        except OSError as error:
            gaps.append(Gap(f"syncing the disk of {what}", error.strerror or str(error)))
            continue
        figures += percentiles("disk_sync", Unit.MILLISECONDS, samples, of=what)
    return Measured(tuple(figures), tuple(gaps))


def _write(file: IO[bytes], sync: Callable[[int], object], page: bytes) -> None:
    file.write(page)
    sync(file.fileno())


def cores_allowed(cgroup: Path = CGROUP) -> float:
    """Cores that this process may use at once: a container's quota, or its affinity, whichever is less."""
    cores = float(len(psutil.Process().cpu_affinity()))
    quota, period = _quota(cgroup)
    return cores if quota is None else min(cores, quota / period)


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes that a container allows; None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of control groups' version 2, then 1
        with suppress(OSError, ValueError):
            limit = int((cgroup / name).read_text())
            return limit if limit < LIMITLESS else None
    return None


def memory_total() -> int:
    """Bytes that this machine, or the container, has."""
    total, limit = int(psutil.virtual_memory().total), memory_limit()
    return total if limit is None else min(limit, total)


def memory_used(cgroup: Path = CGROUP) -> int | None:
    """Bytes that a container uses, without files that it could forget; None where there is none."""
    for used, counts, name in (
        ("memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError, KeyError):
            told = dict(line.split() for line in (cgroup / counts).read_text().splitlines())
            return int((cgroup / used).read_text()) - int(told[name])
    return None


def _quota(cgroup: Path) -> tuple[float | None, float]:
    """Microseconds of processor time in each so many; None without a limit."""
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else float(quota), float(period)
    with suppress(OSError, ValueError):
        of = cgroup / "cpu"
        quota, period = ((of / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if int(quota) < 0 else float(quota), float(period)
    return None, 1.0
