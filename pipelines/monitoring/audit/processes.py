"""Processes of ours and of the server: what each takes over a window. psutil reads what the system counts."""

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, activity, one
from pipelines.processes.pid_file import process_tree, read_pid_file
from pipelines.resources import RUN_TITLE
from pipelines.settings import Settings
from pipelines.storage.monitoring.server_statistics import read_processes
from pipelines.storage.postgres.connection import Connection

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
RUN = "run"
#: What comes and goes with the jobs: two audits see the same processes if the rest is the same.
PASSING = frozenset(
    {
        RUN,
        "log watcher",
        "resource tracker",
        "postgres client",
        "postgres strikecast run",
        "postgres autovacuum worker",
        "postgres parallel worker",
        "postgres io worker",
    }
)
#: Part of a command line -> what the process is; the first that fits.
NAMES = (
    ("dagster_webserver", "web server"),
    ("dagster._daemon", "daemon"),
    ("dagster api grpc", "code server"),
    ("pipelines.maintenance.log_writer", "log writer"),
    (f"{RUN_TITLE}live_refresh", "live session"),
    (RUN_TITLE, RUN),
    ("spawn_main", RUN),
    ("resource_tracker", "resource tracker"),
    ("watch_orphans", "log watcher"),
    ("tail -F", "log watcher"),
)


@dataclass(frozen=True)
class Named:
    """A process and what it is: `live session`, `postgres checkpointer`."""

    name: str
    process: psutil.Process


@dataclass(frozen=True)
class ProcessInventory:
    """Processes that were found, and what is not to be found, which is a gap."""

    processes: tuple[Named, ...]
    measured: Measured = field(default_factory=Measured)
    #: None is missing.
    whole: bool = True


#: Why the server's processes are no part of an audit.
NOT_SEEN = "the server's processes cannot be seen from here"


def find(settings: Settings, connection: Connection | None) -> ProcessInventory:
    """Processes of ours, below the `up` that runs, and those of the server, where they can be seen."""
    found: dict[int, Named] = {}
    gaps = []
    up = _up(settings)
    if up is None:
        gaps.append(Gap("processes of strikecast", "`strikecast up` does not run here"))
    else:
        for process in process_tree(up):
            found[process.pid] = Named("supervisor" if process.pid == up.pid else _name(process), process)
    if connection is None:
        gaps.append(Gap("processes of the server", "the server cannot be used"))
    elif not is_local(connection):
        gaps.append(Gap("processes of the server", NOT_SEEN))
    else:
        told = read_processes(connection)
        if told is None:
            gaps.append(Gap("processes of the server", "insufficient privilege to see what each does"))
        for pid, name in told or ():
            with suppress(psutil.NoSuchProcess):
                found[pid] = Named(f"postgres {_client(name)}", psutil.Process(pid))
        found |= _untold(connection.info.backend_pid, found) if told is not None else {}
    return ProcessInventory(tuple(found.values()), Measured((), tuple(gaps)), whole=not gaps)


def _client(name: str) -> str:
    """Our own tasks, and the server's, by their names; what others call themselves is different each time."""
    return (
        "client"
        if name.startswith("client ") and not name.startswith("client strikecast")
        else (name.removeprefix("client "))
    )


def _untold(backend_pid: int, told: Collection[int]) -> dict[int, Named]:
    """The server's first process, and its logger: `pg_stat_activity` has neither."""
    with suppress(psutil.Error):
        parent = psutil.Process(backend_pid).parent()
        if parent is not None:
            rest = [child for child in parent.children() if child.pid not in told]
            loggers = {
                child.pid: Named("postgres logger", child) for child in rest if "logger" in " ".join(child.cmdline())
            }
            return {parent.pid: Named("postgres postmaster", parent)} | loggers
    return {}


def measure(there: ProcessInventory, seconds: float) -> Measured:
    """Processor time over a window of so many seconds, memory, threads and age at its end, by name; and totals.

    Shared memory counts in full in each RSS, so that their sum says nothing: USS, what would be free without the
    process, adds up. Of several processes of a name the largest is a figure, too. A process that ends meanwhile is a
    gap; where any cannot be measured there is no total, for a sum over a part is not that of the whole.
    """
    before = {one.process.pid: used for one in there.processes if (used := _cpu_seconds(one.process)) is not None}
    began = time.monotonic()
    time.sleep(seconds)
    window = time.monotonic() - began
    by_name: dict[str, list[Part]] = defaultdict(list)
    gaps = []
    whole = there.whole
    for named in there.processes:
        used = _cpu_seconds(named.process)
        if named.process.pid not in before or used is None:
            there_still = named.process.is_running()
            whole = whole and not there_still
            why = "insufficient privilege" if there_still else "it ended while it was measured"
            gaps.append(Gap(f"process {named.name}", why))
            continue
        cpu = 100.0 * (used - before[named.process.pid]) / window
        by_name[named.name] += [("cpu", Unit.PERCENT_OF_A_CORE, cpu), ("count", Unit.COUNT, 1.0)]
        try:
            by_name[named.name] += _memory(named.process)
        except psutil.AccessDenied:
            whole = False
            gaps.append(Gap(f"memory of process {named.name}", "insufficient privilege"))
        except psutil.NoSuchProcess:
            gaps.append(Gap(f"memory of process {named.name}", "it ended while it was measured"))
    figures = [figure for name, parts in by_name.items() for figure in (*_summed(name, parts), *_largest(name, parts))]
    everything = [part for parts in by_name.values() for part in parts]
    if whole and everything:
        figures += _totals(everything, sorted(name for name in by_name if name not in PASSING))
    elif everything:
        gaps.append(Gap("totals of all processes", "not all of them could be measured"))
    return Measured(tuple(figures), tuple(gaps))


#: What was measured of one process, in which unit, and its value.
Part = tuple[str, Unit, float]
#: Of these a sum over processes means something.
ADD_UP = ("cpu", "count", "uss", "threads")


def _of(parts: Sequence[Part]) -> dict[tuple[str, Unit], list[float]]:
    found: dict[tuple[str, Unit], list[float]] = defaultdict(list)
    for what, unit, value in parts:
        found[what, unit].append(value)
    return found


def _summed(name: str, parts: Sequence[Part]) -> list[Figure]:
    """One figure for each thing measured: the sum over processes of one name; the age is that of the oldest."""
    return [
        one(
            f"process_{what}",
            unit,
            max(values) if what == "age" else sum(values),
            activity(sum(values)) if what == "cpu" else "",
            process=name,
        )
        for (what, unit), values in _of(parts).items()
    ]


def _largest(name: str, parts: Sequence[Part]) -> list[Figure]:
    """Of the processes of one name the largest: what grows is one of them, not their number."""
    return [
        one(f"process_largest_{what}", unit, max(values), process=name)
        for (what, unit), values in _of(parts).items()
        if what in ("uss", "threads")
    ]


def _totals(parts: Sequence[Part], names: Sequence[str]) -> list[Figure]:
    """Sums over all processes; the note says over which, for only sums over the same are alike."""
    of = _of(parts)
    return [
        one(f"all_processes_{what}", unit, sum(values), ", ".join(names))
        for (what, unit), values in of.items()
        if what in ADD_UP
    ]


def _memory(process: psutil.Process) -> list[Part]:
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


class Costs:
    """Processor time that measuring takes: its own process's, and that of the server's processes for it."""

    def __init__(self) -> None:
        self._began = time.process_time()
        #: None when any of it could not be seen.
        self.server_seconds: float | None = 0.0

    @property
    def own_seconds(self) -> float:
        """Of this process since the beginning."""
        return time.process_time() - self._began

    def add(self, connection: Connection) -> None:
        """Count what the server's process of a connection, which is not used any more, took."""
        used = None
        with suppress(psutil.Error):
            used = _cpu_seconds(psutil.Process(connection.info.backend_pid)) if is_local(connection) else None
        self.server_seconds = None if used is None or self.server_seconds is None else self.server_seconds + used


def _up(settings: Settings) -> psutil.Process | None:
    """The `up` that noted itself. One that was killed leaves its note, and its number may be somebody else's by now."""
    with suppress(OSError, KeyError, ValueError, psutil.Error):
        noted = read_pid_file(settings) or {}
        found, children = psutil.Process(noted["pid"]), [created for _, created in noted["children"]]
        return found if found.create_time() <= min(children) else None
    return None


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return next((name for part, name in NAMES if part in line), process.name())
    return "ended"


def is_local(connection: Connection) -> bool:
    """Whether the server's processes can be seen from here: the one of this connection is there, and is PostgreSQL's.

    One in a container of its own may be reached by a socket, and has other process ids.
    """
    host = connection.info.host or ""
    if not host.startswith("/") and host not in LOOPBACK:
        return False
    with suppress(psutil.Error):
        return psutil.Process(connection.info.backend_pid).name().startswith("postgres")
    return False
