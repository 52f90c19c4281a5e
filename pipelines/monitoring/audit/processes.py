"""Processes of strikecast and of the server: CPU, memory and threads of each."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from pipelines.domain.monitoring.audit.measurements import Gap, Measurements, Unit, activity
from pipelines.processes.pid_file import process_tree, read_pid_file
from pipelines.processes.priority import is_local
from pipelines.processes.run_titles import RUN_TITLE
from pipelines.settings import Settings
from pipelines.storage.monitoring.measurements import NOT_LOCAL, read_processes
from pipelines.storage.postgres.connection import Connection

RUN = "run"
#: Processes that come and go with jobs, and do not make totals incomparable.
TRANSIENT = frozenset(
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
#: Part of a command line and the role of the process; the first match counts.
ROLES = (
    ("pipelines.web.dagster_ui", "web server"),
    ("dagster_webserver", "web server"),  # of `dagster dev`
    ("dagster._daemon", "daemon"),
    ("dagster code-server", "code server"),
    ("dagster api grpc", "code server"),
    ("pipelines.cli serve", "page"),
    ("pipelines.cli markets simulate", "simulated exchange"),
    ("pipelines.maintenance.log_writer", "log writer"),
    (f"{RUN_TITLE}live_refresh", "live session"),
    (RUN_TITLE, RUN),
    ("spawn_main", RUN),
    ("resource_tracker", "resource tracker"),
    ("watch_orphans", "log watcher"),
    ("tail -F", "log watcher"),
)
#: What is measured of each process.
UNITS = {
    "cpu": Unit.PERCENT_OF_A_CORE,
    "count": Unit.COUNT,
    "rss": Unit.BYTES,
    "uss": Unit.BYTES,
    "threads": Unit.COUNT,
    "age": Unit.SECONDS,
}
#: Metrics with a total over all processes. RSS counts shared memory in each process; USS adds up.
WITH_TOTAL = ("cpu", "count", "uss", "threads")
#: Metrics of the largest process of a name, which reveal a leak in one of several.
WITH_LARGEST = ("uss", "threads")


@dataclass(frozen=True)
class ProcessInventory:
    """Processes with their roles, such as `live session` or `postgres checkpointer`; with gaps some are missing."""

    roles: Mapping[psutil.Process, str]
    gaps: Sequence[Gap] = ()


def inventory(settings: Settings, connection: Connection | None) -> ProcessInventory:
    """Processes of the running `strikecast up`, and those of the server where they are visible."""
    found: dict[psutil.Process, str] = {}
    gaps, server = [], "processes of the server"
    supervisor = _supervisor(settings)
    if supervisor is None:
        gaps.append(Gap("processes of strikecast", "`strikecast up` is not running here"))
    else:
        found |= {one: "supervisor" if one == supervisor else _role(one) for one in process_tree(supervisor)}
    if connection is None:
        gaps.append(Gap(server, "the server is not available"))
    elif not is_local(connection):
        gaps.append(Gap(server, NOT_LOCAL))
    elif (listed := read_processes(connection)) is None:
        gaps.append(Gap(server, "insufficient privilege to see what each does"))
    else:
        for pid, name in listed:
            with suppress(psutil.NoSuchProcess):
                found[psutil.Process(pid)] = f"postgres {name}"
        with suppress(psutil.Error):
            # `pg_stat_activity` lists neither the postmaster nor the logger.
            postmaster = psutil.Process(psutil.Process(connection.info.backend_pid).ppid())
            loggers = [one for one in postmaster.children() if one not in found and "logger" in " ".join(one.cmdline())]
            found |= {postmaster: "postgres postmaster"} | dict.fromkeys(loggers, "postgres logger")
    return ProcessInventory(found, gaps)


def measure(found: ProcessInventory, seconds: float) -> Measurements:
    """CPU over a window, then memory, threads and age, by name; and totals.

    A process that ends within the window is a gap. There are no totals unless every other process was measured.
    """
    measured, complete = Measurements(), not found.gaps
    for process in found.roles:
        with suppress(psutil.Error):
            process.cpu_percent()  # the next call returns the average since this one
    time.sleep(seconds)
    by_name: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for process, name in found.roles.items():
        values: dict[str, float] = {}
        try:
            values = {"cpu": process.cpu_percent(), "count": 1.0, "threads": process.num_threads()}
            values["age"] = time.time() - process.create_time()
            memory = process.memory_full_info()
            values |= {"rss": memory.rss, "uss": memory.uss}
        except psutil.NoSuchProcess:
            measured.add_gap(f"process {name}", "it ended during the audit")
        except psutil.AccessDenied:
            complete = False
            measured.add_gap(f"process {name}", "insufficient privilege")
        for metric, value in values.items():
            by_name[name][metric].append(value)
    for name, metrics in by_name.items():
        for metric, each in metrics.items():
            value = max(each) if metric == "age" else sum(each)
            note = activity(value) if metric == "cpu" else ""
            measured.add(f"process_{metric}", UNITS[metric], value, note, process=name)
            if metric in WITH_LARGEST:
                measured.add(f"process_largest_{metric}", UNITS[metric], max(each), process=name)
    if complete and by_name:
        # Only totals over the same processes are comparable.
        names = ", ".join(sorted(name for name in by_name if name not in TRANSIENT))
        for metric in WITH_TOTAL:
            total = sum(sum(metrics[metric]) for metrics in by_name.values())
            measured.add(f"all_processes_{metric}", UNITS[metric], total, names)
    elif by_name:
        measured.add_gap("totals of all processes", "not all of them could be measured")
    return measured


class Cost:
    """CPU time of an audit: of its own process, and of the server's processes that worked for it."""

    def __init__(self) -> None:
        self._began = time.process_time()
        #: None when any of it was not visible.
        self.server_seconds: float | None = 0.0

    @property
    def own_seconds(self) -> float:
        """CPU time of this process since the beginning."""
        return time.process_time() - self._began

    def add(self, connection: Connection) -> None:
        """Add the CPU time of the server's process of a connection that is about to be closed."""
        before, self.server_seconds = self.server_seconds, None
        with suppress(psutil.Error):
            if before is not None and is_local(connection):
                times = psutil.Process(connection.info.backend_pid).cpu_times()
                self.server_seconds = before + times.user + times.system


def _supervisor(settings: Settings) -> psutil.Process | None:
    """The process of `strikecast up` in the pid file, unless another process has that id by now."""
    with suppress(ValueError, psutil.Error):
        record = read_pid_file(settings)
        if record is not None:
            found, children = psutil.Process(record["pid"]), [created for _, created in record["children"]]
            return found if found.create_time() <= min(children) else None
    return None


def _role(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return next((role for part, role in ROLES if part in line), process.name())
    return "ended"
