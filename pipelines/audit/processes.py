"""Processes of ours and of the server: what each takes over a window. psutil reads what the system counts."""

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from pipelines.domain.audit.figures import Figure, Gap, Measured, Unit, one
from pipelines.settings import Settings
from pipelines.storage.audit import read_processes
from pipelines.storage.database import Connection
from pipelines.up_record import family, read_record

#: Part of a command line -> what the process is; the first that fits.
NAMES = (
    ("dagster_webserver", "web server"),
    ("dagster._daemon", "daemon"),
    ("dagster api grpc", "code server"),
    ("pipelines.log_writer", "log writer"),
    ("live_refresh", "live session"),
    ("dagster api execute_run", "run"),
    ("dagster api execute_step", "run"),
    ("resource_tracker", "resource tracker"),
)


@dataclass(frozen=True)
class Named:
    """A process and what it is: `live session`, `postgres checkpointer`."""

    name: str
    process: psutil.Process


def find(settings: Settings, connection: Connection | None) -> tuple[list[Named], list[Gap]]:
    """Processes of ours, below the `up` that runs, and those of the server, where it is on this machine."""
    found: dict[int, Named] = {}
    gaps = []
    up = _up(settings)
    if up is None:
        gaps.append(Gap("processes of strikecast", "`strikecast up` does not run here"))
    else:
        for process in family(up):
            found[process.pid] = Named("supervisor" if process.pid == up.pid else _name(process), process)
    if connection is None:
        gaps.append(Gap("processes of the server", "the server cannot be used"))
    elif not _is_local(connection):
        gaps.append(Gap("processes of the server", "it runs on another machine"))
    else:
        for pid, name in read_processes(connection):
            with suppress(psutil.NoSuchProcess):
                found[pid] = Named(f"postgres {name}", psutil.Process(pid))
    return list(found.values()), gaps


def measure(processes: Sequence[Named], seconds: float) -> Measured:
    """Processor time over a window of so many seconds, memory, threads and age at its end, summed by name; and totals.

    Shared memory counts in full in each RSS, so that their sum says nothing: USS, what would be free without the
    process, adds up. A process that ends meanwhile is a gap.
    """
    before = {one.process.pid: used for one in processes if (used := _cpu_seconds(one.process)) is not None}
    began = time.monotonic()
    time.sleep(seconds)
    window = time.monotonic() - began
    by_name: dict[str, list[tuple[str, Unit, float]]] = defaultdict(list)
    gaps = []
    for named in processes:
        used = _cpu_seconds(named.process)
        if named.process.pid not in before or used is None:
            gaps.append(Gap(f"process {named.name}", "it ended while it was measured"))
            continue
        cpu = 100.0 * (used - before[named.process.pid]) / window
        by_name[named.name] += [("cpu", Unit.PERCENT_OF_A_CORE, cpu), ("count", Unit.COUNT, 1.0)]
        try:
            by_name[named.name] += _memory(named.process)
        except psutil.AccessDenied:
            gaps.append(Gap(f"memory of process {named.name}", "insufficient privilege"))
        except psutil.NoSuchProcess:
            gaps.append(Gap(f"memory of process {named.name}", "it ended while it was measured"))
    everything = [part for parts in by_name.values() for part in parts if part[0] in ADD_UP]
    return Measured(
        (
            *(figure for name, parts in by_name.items() for figure in _summed("process", parts, process=name)),
            *_summed("all_processes", everything),
        ),
        tuple(gaps),
    )


#: Of these a sum over processes means something.
ADD_UP = frozenset({"cpu", "count", "uss", "threads"})


def _summed(prefix: str, parts: Sequence[tuple[str, Unit, float]], **labels: str) -> list[Figure]:
    """One figure for each thing measured: the sum over processes of one name; the age is that of the oldest."""
    units = {what: unit for what, unit, _ in parts}
    values = {what: [value for of, _, value in parts if of == what] for what in units}
    return [
        one(f"{prefix}_{what}", units[what], max(found) if what == "age" else sum(found), **labels)
        for what, found in values.items()
    ]


def _memory(process: psutil.Process) -> list[tuple[str, Unit, float]]:
    memory = process.memory_full_info()
    return [
        ("rss", Unit.BYTES, memory.rss),
        ("uss", Unit.BYTES, memory.uss),
        ("virtual", Unit.BYTES, memory.vms),
        ("threads", Unit.COUNT, process.num_threads()),
        ("age", Unit.SECONDS, time.time() - process.create_time()),
    ]


def _cpu_seconds(process: psutil.Process) -> float | None:
    """Processor time since its start, None when it is gone or out of reach."""
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return None


def _up(settings: Settings) -> psutil.Process | None:
    with suppress(OSError, KeyError, psutil.Error):
        return psutil.Process((read_record(settings) or {})["pid"])
    return None


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return next((name for part, name in NAMES if part in line), process.name())
    return "ended"


def _is_local(connection: Connection) -> bool:
    """Whether the server's processes are this machine's: it is reached by a socket in the file system."""
    return (connection.info.host or "").startswith("/")
