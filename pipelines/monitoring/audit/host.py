"""The machine: load, CPU, memory and disks, within the limits of a container."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import psutil

from pipelines.domain.monitoring.audit.measurements import Measurements, Unit, percentiles
from pipelines.monitoring.audit.operations import timed

CGROUP = Path("/sys/fs/cgroup")
#: Version 1 of control groups writes "no limit" as a number larger than this.
NO_LIMIT = 2**60


class Window:
    """CPU time and disk throughput between its creation and `measure`."""

    def __init__(self) -> None:
        psutil.cpu_times_percent()  # the next call returns the shares since this one
        self._disk = psutil.disk_io_counters()
        self._began = time.monotonic()

    def measure(self) -> Measurements:
        """Shares of CPU time by mode, and rates of the disks."""
        found, seconds = Measurements(), time.monotonic() - self._began
        for mode, share in psutil.cpu_times_percent()._asdict().items():
            found.add("host_cpu", Unit.PERCENT, share, mode=mode)
        disk = psutil.disk_io_counters()
        if disk is None or self._disk is None:
            found.add_gap("disk throughput", "the system does not count it")
            return found
        for way in ("read", "write"):
            size, count = (
                getattr(disk, f"{way}_{what}") - getattr(self._disk, f"{way}_{what}") for what in ("bytes", "count")
            )
            found.add("host_disk_throughput", Unit.BYTES_PER_SECOND, size / seconds, way=way)
            found.add("host_disk_operations", Unit.PER_SECOND, count / seconds, way=way)
        return found


def measure() -> Measurements:
    """Cores, load, memory and swap."""
    found = Measurements()
    found.add("host_cores", Unit.COUNT, cores_allowed())
    # Load counts processes outside of a container, too, and so is divided by all cores of the machine.
    for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
        found.add("host_load", Unit.PER_CORE, load / (psutil.cpu_count() or 1), minutes=str(minutes))
    limit, used, available = memory_limit(), memory_used(), psutil.virtual_memory().available
    found.add("host_memory", Unit.BYTES, memory_total(), state="total")
    if limit is not None and used is None:
        found.add_gap("available memory", "the container does not report its use")
    else:
        within = available if limit is None or used is None else max(0, min(limit - used, available))
        found.add("host_memory", Unit.BYTES, within, state="available")
    found.add("host_swap", Unit.BYTES, psutil.swap_memory().used, state="used")
    return found


def measure_disks(folders: Mapping[str, Path], writes: int, sync: Callable[[int], object] = os.fsync) -> Measurements:
    """Space on the disk of each folder by label, and the time to write a page of 8 KiB durably, `writes` times."""
    found = Measurements()
    for label, folder in folders.items():
        try:
            usage = psutil.disk_usage(str(folder))
            found.add("host_disk", Unit.BYTES, usage.free, of=label, state="free")
            found.add("host_disk", Unit.BYTES, usage.total, of=label, state="total")
            with TemporaryFile(dir=folder, buffering=0) as file:
                samples = timed(partial(_write, file, sync), [bytes(8192)] * writes, pauses=0.0)
            found.items += percentiles("disk_sync", Unit.MILLISECONDS, samples, of=label)
        except OSError as error:
            found.add_gap(f"disk of {label}", error.strerror or str(error))
    return found


def _write(file: IO[bytes], sync: Callable[[int], object], page: bytes) -> None:
    file.write(page)
    sync(file.fileno())


def cores_allowed(cgroup: Path = CGROUP) -> float:
    """Cores that this process may use at once: its affinity or a container's quota, whichever is less."""
    cores = float(len(psutil.Process().cpu_affinity()))
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # control groups version 2, then 1
        with suppress(OSError, ValueError):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            return cores if quota in {"max", "-1"} else min(cores, float(quota) / float(period))
    return cores


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes that a container allows; None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int((cgroup / name).read_text())
            return limit if limit < NO_LIMIT else None
    return None


def memory_total() -> int:
    """Bytes of memory of this machine, or container."""
    total, limit = int(psutil.virtual_memory().total), memory_limit()
    return total if limit is None else min(limit, total)


def memory_used(cgroup: Path = CGROUP) -> int | None:
    """Bytes that a container uses without its inactive page cache; None outside of one."""
    for used, counts, name in (
        ("memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError, KeyError):
            stat = dict(line.split() for line in (cgroup / counts).read_text().splitlines())
            return int((cgroup / used).read_text()) - int(stat[name])
    return None
