"""The machine: load, processors, memory, disks; within a container, what that is allowed."""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from pipelines.domain.audit.figures import Gap, Measured, Unit, one

CGROUP = Path("/sys/fs/cgroup")
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
    # Load is a count of processes: only per core does it say whether a machine has enough of them.
    figures += [
        one("host_load", Unit.PER_CORE, load / cores, minutes=str(minutes))
        for minutes, load in zip(MINUTES, os.getloadavg(), strict=True)
    ]
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    limit = memory_limit()
    total = memory.total if limit is None else min(limit, memory.total)
    figures += [
        one("host_memory", Unit.BYTES, total, state="total"),
        one("host_memory", Unit.BYTES, min(memory.available, total), state="available"),
        one("host_swap", Unit.BYTES, swap.used, state="used"),
    ]
    gaps = []
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


def cores_allowed(cgroup: Path = CGROUP) -> float:
    """Cores that this process may use at once: a container's quota, or its affinity, whichever is less."""
    cores = float(len(psutil.Process().cpu_affinity()))
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    return cores


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes that a container allows; None without a limit."""
    with suppress(OSError, ValueError):
        text = (cgroup / "memory.max").read_text().strip()
        return None if text == "max" else int(text)
    return None
