"""One audit: everything collected, judged, and stored in one transaction."""

import logging
import platform
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata, resources
from typing import Any, TypeVar

import psutil

from pipelines.domain.monitoring.audit.document import Document, document_of
from pipelines.domain.monitoring.audit.findings import Advice, Finding, Found, missed_targets, parse_advice
from pipelines.domain.monitoring.audit.history import BANDED, TREND_NAMES, anomalies
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, one
from pipelines.domain.monitoring.audit.report import Audit, Kind
from pipelines.domain.monitoring.audit.targets import Target, judge, parse_targets
from pipelines.errors import DatabaseError
from pipelines.log import Log
from pipelines.monitoring.audit import database as of_database
from pipelines.monitoring.audit import host, lookups, operations, processes, queries, work
from pipelines.monitoring.audit import live_sessions as live
from pipelines.monitoring.audit import report_files as reports
from pipelines.processes.priority import Background, in_background, lower_process_priority
from pipelines.settings import Settings
from pipelines.storage.monitoring.audits import read_history, store_audit
from pipelines.storage.monitoring.server_statistics import refused
from pipelines.storage.postgres.connection import Connection, Database, Role, full_message

_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
#: An audit gives up a lock, and a statement, before anybody waits for it.
STATEMENT_SECONDS = 20
LOCK_SECONDS = 1
#: Bands of processes are those of so many days.
BAND_DAYS = 7
#: What a report shows over the weeks is eight of them.
TREND_DAYS = 56


@dataclass(frozen=True)
class Effort:
    """How long processes are watched, and how often each thing is done."""

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


def targets() -> tuple[Target, ...]:
    """The declared targets of service."""
    return parse_targets(_declared())


def advice() -> Mapping[str, Advice]:
    """What to do when one is missed."""
    return parse_advice(_declared())


@cache
def _declared() -> dict[str, Any]:
    text = resources.files("pipelines.monitoring.audit").joinpath("targets.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@dataclass(frozen=True)
class Done:
    """An audit, and how people read it."""

    audit: Audit
    document: Document


def run(
    settings: Settings, database: Database, kind: Kind, log: Log = lambda _: None, run_id: str | None = None
) -> Done:
    """Measure, judge, store in one transaction, and write the reports.

    The audit has no number when it could not be stored, which `log` tells: what was measured is shown all the same.
    """
    audit = collect(settings, database, kind, log)
    with in_background() as background:
        return background(lambda: _keep(settings, database, audit, log, run_id))


def _keep(settings: Settings, database: Database, audit: Audit, log: Log, run_id: str | None) -> Done:
    try:
        with database.connect("audit", Role.PIPELINE) as connection, refused():
            audit = replace(audit, audit_id=store_audit(connection, audit, run_id))
    except DatabaseError as error:
        log(f"the audit is shown, and not stored: {error}")
    read = document(database, audit)
    try:
        reports.write(settings, audit, read)
    except Exception as error:  # the audit is stored: a page that cannot be drawn is not worth it
        _logger.exception("audit: reports")
        log(f"the reports in {settings.reports_dir} are not written: {type(error).__name__}: {full_message(error)}")
    return Done(audit, read)


def document(database: Database, audit: Audit) -> Document:
    """An audit as people read it, with what went before it; without, where that cannot be read."""
    since = audit.started_at - timedelta(days=TREND_DAYS)
    try:
        with database.connect("audit", Role.READER) as connection, refused():
            return document_of(audit, read_history(connection, TREND_NAMES, since, audit.started_at))
    except DatabaseError:
        return document_of(audit)


def collect(settings: Settings, database: Database, kind: Kind, log: Log = lambda _: None) -> Audit:
    """Measure and judge; nothing is stored. What cannot be measured is a gap.

    All but what times single calls gives way to whoever wants the processor.
    """
    database = replace(database, statement_timeout_seconds=STATEMENT_SECONDS, lock_timeout_seconds=LOCK_SECONDS)
    started_at, costs, effort = datetime.now(UTC), processes.Costs(), EFFORT[kind]
    window, gathered = host.Window(), Gathered(log)
    folders = {"home": settings.home, "backups": settings.backups_dir}
    with in_background() as background:
        role, version, there = background(lambda: _server(settings, database))
        gathered.measured += there.measured
        gathered.take("processes", lambda: background(lambda: processes.measure(there, effort.window_seconds)))
        gathered.take("machine", lambda: host.read(folders))
        gathered.take("disks", lambda: host.disks(folders, effort.syncs))
        gathered.take("backups and logs", lambda: background(lambda: work.kept(settings, datetime.now(UTC))))
        asking = Asking(database, role, costs, background)
        for name, step in _steps(asking, list(settings.symbols), settings, effort).items() if version else ():
            gathered.take(name, step)
        if version:
            found = gathered.measured.figures
            gathered.take("earlier audits", lambda: asking.quietly(lambda one: _anomalies(one, found, started_at)))
        gathered.take("machine, meanwhile", window.end)
        gathered.take("the audit's own cost", lambda: _own_cost(costs, with_server=bool(version)))
    measured = gathered.unique()
    judgements = judge(targets(), measured.figures)
    findings = {one.key: one for one in (*gathered.findings, *missed_targets(judgements, advice(), measured.figures))}
    return Audit(
        kind,
        started_at,
        datetime.now(UTC),
        metadata.version("strikecast"),
        version,
        _machine(),
        costs.own_seconds,
        measured.figures,
        measured.gaps,
        judgements,
        tuple(sorted(findings.values(), key=lambda one: (one.severity, one.key))),
    )


def _steps(
    asking: "Asking", symbols: Sequence[str], settings: Settings, effort: Effort
) -> Mapping[str, Callable[[], Found | Measured]]:
    """What is asked of the database, in this order."""
    return {
        "tables": lambda: asking.quietly(lambda one: of_database.tables(one, datetime.now(UTC))),
        "server": lambda: asking.quietly(of_database.server),
        "statements": lambda: asking.quietly(of_database.statements),
        "files": lambda: asking.quietly(lambda one: work.files(settings, one, datetime.now(UTC))),
        "builds, maintenance, sessions": lambda: asking.quietly(
            lambda one: work.records(settings, one, datetime.now(UTC))
        ),
        "live session": lambda: asking.quietly(lambda one: live.measure(one, datetime.now(UTC))),
        "lookup": lambda: asking.quietly(lambda one: lookups.measure(one, symbols, effort.ladders)),
        "reading without an index": lambda: asking.quietly(
            lambda one: operations.measure_scans(one, symbols[0], effort.scans)
        ),
        "operations": lambda: asking.at_once(lambda one: operations.measure(one, symbols[0], effort.operations)),
        "queries": lambda: queries.measure(asking.database, asking.role, symbols, effort.calls, asking.costs),
    }


@dataclass(frozen=True)
class Asking:
    """Asks the database, with a connection for each step; `background` does work that gives way."""

    database: Database
    role: Role
    costs: processes.Costs
    background: Background

    def at_once(self, step: Callable[[Connection], Answer]) -> Answer:
        """What times something, in the class that everybody has."""
        with self._connected() as connection:
            return step(connection)

    def quietly(self, step: Callable[[Connection], Answer]) -> Answer:
        """What gives way, in the server too where that is ours to do."""
        return self.background(lambda: self._yielding(step))

    def _yielding(self, step: Callable[[Connection], Answer]) -> Answer:
        with self._connected() as connection:
            if processes.is_local(connection):
                lower_process_priority(connection.info.backend_pid)
            return step(connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self.database.connect("audit", self.role, autocommit=True) as connection, refused():
            try:
                yield connection
            finally:
                self.costs.add(connection)


class Gathered:
    """What the steps of an audit found. One that fails is a gap: the others are worth having all the same."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.measured = Measured()
        self.findings: list[Finding] = []

    def take(self, name: str, step: Callable[[], Found | Measured]) -> None:
        """Do a step and keep what it finds."""
        self._log(name)
        try:
            found = step()
        except DatabaseError as error:
            found = Measured((), (Gap(name, str(error)),))
        except Exception as error:
            _logger.exception("audit: %s", name)
            found = Measured((), (Gap(name, f"{type(error).__name__}: {full_message(error)}"),))
        part, findings = (found, []) if isinstance(found, Measured) else found
        self.measured += part
        self.findings += findings

    def unique(self) -> Measured:
        """Each figure once: of two of one key, which would be a mistake here, the first, and a gap that says so."""
        figures: dict[str, Figure] = {}
        gaps = list(self.measured.gaps)
        for figure in self.measured.figures:
            if figure.key in figures:
                gaps.append(Gap(figure.key, "it was measured twice; the first counts"))
            else:
                figures[figure.key] = figure
        return Measured(tuple(figures.values()), tuple(gaps))


def _server(settings: Settings, database: Database) -> tuple[Role, str, processes.ProcessInventory]:
    """The role to go on with, the server's version, empty when there is no server, and the processes there are."""
    role, gaps = Role.AUDITOR, []
    try:
        with database.connect("audit", role, autocommit=True):
            pass
    except DatabaseError as error:
        role = Role.READER
        gaps.append(Gap("rights of the auditor", str(error)))
    try:
        with database.connect("audit", role, autocommit=True) as connection, refused():
            version = str(connection.info.server_version)
            there = processes.find(settings, connection)
    except DatabaseError as error:
        version = ""
        there = processes.find(settings, None)
        gaps.append(Gap("database", str(error)))
    return role, version, replace(there, measured=Measured((), tuple(gaps)) + there.measured)


def _anomalies(connection: Connection, figures: Sequence[Figure], now: datetime) -> Found:
    history = read_history(connection, list(BANDED), now - timedelta(days=BAND_DAYS), now)
    return Measured(), list(anomalies(figures, history))


def _own_cost(costs: processes.Costs, *, with_server: bool) -> Measured:
    """What measuring took."""
    figures = (one("audit_cpu", Unit.SECONDS, costs.own_seconds, of="audit"),)
    if not with_server:
        return Measured(figures)
    if costs.server_seconds is None:
        return Measured(figures, (Gap("the audit's cost in the server", processes.NOT_SEEN),))
    return Measured((*figures, one("audit_cpu", Unit.SECONDS, costs.server_seconds, of="server")))


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_bytes": host.memory_total(),
        "python": platform.python_version(),
    }
