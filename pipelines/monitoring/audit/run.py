"""Run an audit: measure, judge, and store the results in one transaction."""

import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

import psutil

from pipelines.domain.monitoring.audit.comparison import BANDED, anomalies
from pipelines.domain.monitoring.audit.findings import Audit, Kind, explain, missed_targets
from pipelines.domain.monitoring.audit.measurements import Measurements, Unit
from pipelines.domain.monitoring.audit.targets import judge
from pipelines.errors import StrikecastError
from pipelines.log import Log
from pipelines.monitoring import surroundings
from pipelines.monitoring.audit import host, lookups, markets, operations, processes, records
from pipelines.monitoring.audit.declarations import explanations, targets
from pipelines.monitoring.audit.reports import write_reports
from pipelines.processes.priority import Background, in_background, is_local, raise_backend_niceness
from pipelines.settings import Settings
from pipelines.storage.monitoring import measurements as statistics
from pipelines.storage.monitoring.audits import read_history, store_audit
from pipelines.storage.postgres.connection import (
    Connection,
    Database,
    DriverError,
    Role,
    full_message,
    primary_message,
)
from pipelines.storage.postgres.embedded import embedded_wheel

_logger = logging.getLogger(__name__)
#: Bands are computed from the audits of so many days.
BAND_DAYS = 7
#: Symbols whose lookups and queries are timed, spread over all: with each of 200, an hourly audit would take minutes.
TIMED_SYMBOLS = 8


@dataclass(frozen=True)
class Effort:
    """Duration of the process window, and numbers of calls, ladders and disk writes."""

    window_seconds: float
    calls: int
    operations: int
    scans: int
    ladders: int
    syncs: int


EFFORT = {
    Kind.QUICK: Effort(2.0, calls=50, operations=20, scans=0, ladders=20, syncs=10),
    Kind.FULL: Effort(10.0, calls=500, operations=200, scans=3, ladders=300, syncs=100),
}


def run(
    settings: Settings, database: Database, kind: Kind, log: Log = lambda _: None, run_id: str | None = None
) -> Audit:
    """Measure, judge, store in one transaction, and write the reports.

    An audit that could not be stored has no number, and `log` gets the reason.
    """
    audit = collect(settings, database, kind, log)
    with in_background() as background:
        return background(lambda: _store(settings, database, audit, log, run_id))


def _store(settings: Settings, database: Database, audit: Audit, log: Log, run_id: str | None) -> Audit:
    try:
        with database.connect("audit", Role.PIPELINE) as connection:
            audit = replace(audit, audit_id=store_audit(connection, audit, run_id))
    except (StrikecastError, DriverError) as error:
        log(f"the audit is not stored: {primary_message(error)}")
    try:
        write_reports(settings, audit)
    except Exception as error:  # the audit is stored: a report that cannot be written must not fail it
        _logger.exception("audit: reports")
        log(f"the reports in {settings.reports_dir} are not written: {type(error).__name__}: {full_message(error)}")
    return audit


def collect(settings: Settings, database: Database, kind: Kind, log: Log = lambda _: None) -> Audit:
    """Measure and judge without storing. What cannot be measured is a gap.

    Everything but the timing of single calls runs at low priority.
    """
    started_at, effort, symbols = _now(), EFFORT[kind], spread(list(settings.symbols), TIMED_SYMBOLS)
    window, folders = host.Window(), {"home": settings.home, "backups": settings.backups_dir}
    with in_background() as background:
        # An audit must not delay others.
        with_timeouts = replace(database, statement_timeout_seconds=20, lock_timeout_seconds=1)
        audit = Collector(log, with_timeouts, background)
        version, inventory = background(lambda: _connect(audit, settings))
        audit.found.gaps += inventory.gaps
        audit.collect("machine", host.measure)
        audit.collect("disks", lambda: host.measure_disks(folders, effort.syncs), timed=True)
        audit.collect("processes", lambda: processes.measure(inventory, effort.window_seconds))
        audit.collect("backups and logs", lambda: records.measure_backups_and_logs(settings, _now()))
        if version:
            audit.query("tables", lambda one: statistics.measure_tables(one, _now()))
            audit.query("server", lambda one: statistics.measure_server(one, _server_memory(one)))
            audit.query("statements", statistics.measure_statements)
            audit.query("disks, slots, clocks", lambda one: surroundings.measure(settings, one))
            audit.query("files", lambda one: records.measure_files(settings, one, _now()))
            audit.query("builds, maintenance, sessions", lambda one: records.measure_records(settings, one, _now()))
            audit.query("markets", lambda one: markets.measure(settings, one, _now()))
            audit.query("paper desk", lambda one: statistics.measure_desk(one, _now()))
            audit.query("live session", lambda one: statistics.measure_live_session(one, _now()))
            audit.query("lookup", lambda one: lookups.measure(one, symbols, effort.ladders))
            symbol, repeats = symbols[0], effort.operations
            audit.query("read without an index", lambda one: operations.measure_scans(one, symbol, effort.scans))
            audit.query("operations that write", lambda one: operations.measure_writes(one, repeats), timed=True)
            audit.query("operations that read", lambda one: operations.measure_reads(one, symbol, repeats), timed=True)
            audit.collect(
                "hot queries",
                lambda: operations.measure_queries(audit.database, audit.role, symbols, effort.calls, audit.cost),
                timed=True,
            )
            audit.query("bands", lambda one: _bands(one, audit.found, started_at))
        audit.collect("CPU and disks", window.measure, timed=True)  # psutil compares with this thread's last call
        audit.collect("cost of the audit", lambda: _cost(audit.cost, with_server=bool(version)))
    found = audit.found
    judgements = judge(targets(), found.items)
    detections = [*found.detections, *missed_targets(judgements, found.items)]
    return Audit(
        kind,
        started_at,
        _now(),
        metadata.version("strikecast"),
        version,
        _machine(settings),
        audit.cost.own_seconds,
        tuple(found.items),
        tuple(found.gaps),
        judgements,
        explain(detections, explanations()),
    )


def spread(symbols: Sequence[str], most: int) -> Sequence[str]:
    """At most so many of the symbols, at equal distances.

    >>> spread(["A", "B", "C", "D", "E"], 2), spread(["A", "B"], 8)
    (['A', 'D'], ['A', 'B'])
    """
    return symbols[:: -(-len(symbols) // most)]


@dataclass
class Collector:
    """Collects the results of steps; a step that fails is a gap."""

    log: Log
    database: Database
    background: Background
    role: Role = Role.AUDITOR
    cost: processes.Cost = field(default_factory=processes.Cost)
    found: Measurements = field(default_factory=Measurements)

    def collect(self, name: str, step: Callable[[], Measurements], *, timed: bool = False) -> None:
        """Run a step and keep its results; at low priority unless it times calls."""
        self.log(name)
        try:
            self.found.extend(step() if timed else self.background(step))
        except (StrikecastError, DriverError) as error:
            self.found.add_gap(name, primary_message(error))
        except Exception as error:
            _logger.exception("audit: %s", name)
            self.found.add_gap(name, f"{type(error).__name__}: {full_message(error)}")

    def query(self, name: str, measure: Callable[[Connection], Measurements], *, timed: bool = False) -> None:
        """Run a step on a connection of its own; at low priority, in the server too, unless it times calls."""

        def step() -> Measurements:
            with self.database.connect("audit", self.role, autocommit=True) as connection:
                if not timed:
                    raise_backend_niceness(connection)
                try:
                    return measure(connection)
                finally:
                    self.cost.add(connection)

        self.collect(name, step, timed=timed)


def _now() -> datetime:
    return datetime.now(UTC)


def _connect(audit: Collector, settings: Settings) -> tuple[str, processes.ProcessInventory]:
    """The server's version (empty without a server) and the processes; without the auditor's rights, as a reader."""
    for role, subject in ((Role.AUDITOR, "rights of the auditor"), (Role.READER, "database")):
        audit.role = role
        try:
            with audit.database.connect("audit", role, autocommit=True) as connection:
                return str(connection.info.server_version), processes.inventory(settings, connection)
        except (StrikecastError, DriverError) as error:
            audit.found.add_gap(subject, primary_message(error))
    return "", processes.inventory(settings, None)


def _server_memory(connection: Connection) -> int | None:
    return host.memory_total() if is_local(connection) else None


def _bands(connection: Connection, found: Measurements, now: datetime) -> Measurements:
    history = read_history(connection, list(BANDED), now - timedelta(days=BAND_DAYS), now)
    return Measurements(detections=anomalies(found.items, history))


def _cost(cost: processes.Cost, *, with_server: bool) -> Measurements:
    found = Measurements()
    found.add("audit_cpu", Unit.SECONDS, cost.own_seconds, of="audit")
    if with_server:
        found.add("audit_cpu", Unit.SECONDS, cost.server_seconds, of="server")
        if cost.server_seconds is None:
            found.add_gap("cost of the audit in the server", statistics.NOT_LOCAL)
    return found


def _machine(settings: Settings) -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_bytes": host.memory_total(),
        "python": platform.python_version(),
        "embedded_server": embedded_wheel() if settings.database_url is None else None,
    }
