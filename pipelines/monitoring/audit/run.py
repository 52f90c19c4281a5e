"""Run an audit: measure, judge, and store the results in one transaction."""

import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, TypeVar

import psutil

from pipelines.domain.monitoring.audit.findings import explain, missed_targets
from pipelines.domain.monitoring.audit.history import BANDED, anomalies
from pipelines.domain.monitoring.audit.measurements import Gap, Measurement, Measurements, Unit
from pipelines.domain.monitoring.audit.report import Audit, Kind
from pipelines.domain.monitoring.audit.targets import judge
from pipelines.errors import DatabaseError
from pipelines.log import Log
from pipelines.monitoring.audit import database as databases
from pipelines.monitoring.audit import host, lookups, operations, processes, queries, records
from pipelines.monitoring.audit.declarations import explanations, targets
from pipelines.monitoring.audit.reports import write_reports
from pipelines.processes.priority import Background, in_background, lower_process_priority
from pipelines.settings import Settings
from pipelines.storage.monitoring.audits import read_history, store_audit
from pipelines.storage.monitoring.records import measure_live_session
from pipelines.storage.monitoring.server_statistics import database_errors
from pipelines.storage.postgres.connection import Connection, Database, Role, full_message

_logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Step = Callable[[], Measurements]
#: An audit must not delay others.
TIMEOUTS: dict[str, Any] = {"statement_timeout_seconds": 20, "lock_timeout_seconds": 1}
#: Bands are computed from the audits of so many days.
BAND_DAYS = 7


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
        with database.connect("audit", Role.PIPELINE) as connection, database_errors():
            audit = replace(audit, audit_id=store_audit(connection, audit, run_id))
    except DatabaseError as error:
        log(f"the audit is not stored: {error}")
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
    started_at, cost, effort, database = _now(), processes.Cost(), EFFORT[kind], replace(database, **TIMEOUTS)
    window, collector = host.Window(), Collector(log)
    folders = {"home": settings.home, "backups": settings.backups_dir}
    with in_background() as background:
        role, version, inventory = background(lambda: _connect(collector, settings, database))
        server = Server(database, role, cost, background)
        steps: dict[str, Step] = {
            "machine": lambda: host.measure(folders),
            "disks": lambda: host.measure_sync(folders, effort.syncs),
            "processes": lambda: background(lambda: processes.measure(inventory, effort.window_seconds)),
            "backups and logs": lambda: background(lambda: records.measure_backups_and_logs(settings, _now())),
        }
        for name, step in (steps | (_server_steps(server, settings, effort) if version else {})).items():
            collector.collect(name, step)
        if version:
            measured = list(collector.found.items)
            collector.collect("bands", server.step(lambda one: _bands(one, measured, started_at)))
        collector.collect("CPU and disks", window.measure)
        collector.collect("cost of the audit", lambda: _cost(cost, with_server=bool(version)))
    found = collector.unique()
    judgements = judge(targets(), found.items)
    detections = [*found.detections, *missed_targets(judgements, found.items)]
    return Audit(
        kind,
        started_at,
        _now(),
        metadata.version("strikecast"),
        version,
        _machine(),
        cost.own_seconds,
        tuple(found.items),
        tuple(found.gaps),
        judgements,
        explain(detections, explanations()),
    )


@dataclass(frozen=True)
class Server:
    """Runs each step on a connection of its own."""

    database: Database
    role: Role
    cost: processes.Cost
    background: Background

    def timed(self, measure: Callable[[Connection], Result]) -> Result:
        """Run a step that times calls, at normal priority."""
        with self.database.connect("audit", self.role, autocommit=True) as connection, database_errors():
            try:
                return measure(connection)
            finally:
                self.cost.add(connection)

    def step(self, measure: Callable[[Connection], Result]) -> Callable[[], Result]:
        """A step at low priority, in the server too where that is permitted."""

        def slowly(connection: Connection) -> Result:
            if processes.is_local(connection):
                lower_process_priority(connection.info.backend_pid)
            return measure(connection)

        return lambda: self.background(lambda: self.timed(slowly))


def _server_steps(server: Server, settings: Settings, effort: Effort) -> dict[str, Step]:
    symbols = list(settings.symbols)
    return {
        "tables": server.step(lambda one: databases.measure_tables(one, _now())),
        "server": server.step(databases.measure_server),
        "statements": server.step(databases.measure_statements),
        "files": server.step(lambda one: records.measure_files(settings, one, _now())),
        "builds, maintenance, sessions": server.step(lambda one: records.measure_records(settings, one, _now())),
        "live session": server.step(lambda one: measure_live_session(one, _now())),
        "lookup": server.step(lambda one: lookups.measure(one, symbols, effort.ladders)),
        "read without an index": server.step(lambda one: operations.measure_scans(one, symbols[0], effort.scans)),
        "operations": lambda: server.timed(lambda one: operations.measure(one, symbols[0], effort.operations)),
        "queries": lambda: queries.measure(server.database, server.role, symbols, effort.calls, server.cost),
    }


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Collector:
    """Collects the results of steps; a step that fails is a gap."""

    log: Log
    found: Measurements = field(default_factory=Measurements)

    def collect(self, name: str, step: Step) -> None:
        """Run a step and keep its results."""
        self.log(name)
        try:
            self.found.extend(step())
        except DatabaseError as error:
            self.found.add_gap(name, str(error))
        except Exception as error:
            _logger.exception("audit: %s", name)
            self.found.add_gap(name, f"{type(error).__name__}: {full_message(error)}")

    def unique(self) -> Measurements:
        """Results in which each key occurs once: of two measurements with one key the first, and a gap."""
        by_key: dict[str, Measurement] = {}
        twice = [one.key for one in self.found.items if by_key.setdefault(one.key, one) is not one]
        gaps = [Gap(key, "it was measured twice; the first measurement counts") for key in twice]
        return Measurements(list(by_key.values()), [*self.found.gaps, *gaps], self.found.detections)


def _connect(
    collector: Collector, settings: Settings, database: Database
) -> tuple[Role, str, processes.ProcessInventory]:
    """The role to use, the server's version (empty without a server), and the processes to measure."""
    role, version = Role.AUDITOR, ""
    try:
        with database.connect("audit", role, autocommit=True):
            pass
    except DatabaseError as error:
        role = Role.READER
        collector.found.add_gap("rights of the auditor", str(error))
    try:
        with database.connect("audit", role, autocommit=True) as connection, database_errors():
            version = str(connection.info.server_version)
            inventory = processes.inventory(settings, connection)
    except DatabaseError as error:
        version, inventory = "", processes.inventory(settings, None)
        collector.found.add_gap("database", str(error))
    collector.found.gaps += inventory.gaps
    return role, version, inventory


def _bands(connection: Connection, measured: list[Measurement], now: datetime) -> Measurements:
    history = read_history(connection, list(BANDED), now - timedelta(days=BAND_DAYS), now)
    return Measurements(detections=anomalies(measured, history))


def _cost(cost: processes.Cost, *, with_server: bool) -> Measurements:
    found = Measurements()
    found.add("audit_cpu", Unit.SECONDS, cost.own_seconds, of="audit")
    if with_server:
        found.add("audit_cpu", Unit.SECONDS, cost.server_seconds, of="server")
        if cost.server_seconds is None:
            found.add_gap("cost of the audit in the server", processes.NOT_LOCAL)
    return found


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_bytes": host.memory_total(),
        "python": platform.python_version(),
    }
