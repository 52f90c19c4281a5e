"""One audit: everything collected, judged, and stored in one transaction."""

import platform
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata, resources
from typing import Any

import psutil

from pipelines.audit import host, processes, queries, work
from pipelines.domain.audit import database as of_database
from pipelines.domain.audit.figures import Gap, Measured
from pipelines.domain.audit.findings import Finding, missed_targets
from pipelines.domain.audit.report import Audit, Kind
from pipelines.domain.audit.slo import Target, judge, parse_targets
from pipelines.errors import DatabaseError
from pipelines.settings import Settings
from pipelines.storage.audit import read_indexes, read_server, read_tables, refused
from pipelines.storage.audits import store_audit
from pipelines.storage.database import Connection, Database, Role

Say = Callable[[str], None]
#: Measures with a connection.
Step = Callable[[Connection], tuple[Measured, list[Finding]]]
#: An audit gives up a lock, and a statement, before anybody waits for it.
STATEMENT_SECONDS = 20
LOCK_SECONDS = 1
#: Seconds that processes are watched, and calls of each hot query.
WINDOW_SECONDS = {Kind.QUICK: 2.0, Kind.FULL: 10.0}
CALLS = {Kind.QUICK: 100, Kind.FULL: 2_000}


def targets() -> tuple[Target, ...]:
    """The declared targets of service."""
    text = resources.files("pipelines.audit").joinpath("targets.toml").read_text(encoding="utf-8")
    return parse_targets(tomllib.loads(text))


def run(
    settings: Settings, database: Database, kind: Kind, say: Say = lambda _: None, run_id: str | None = None
) -> Audit:
    """Measure, judge, and store in one transaction; the audit with its number. Raises DatabaseError when that fails."""
    audit = collect(settings, database, kind, say)
    with database.connect("audit", Role.PIPELINE) as connection:
        return replace(audit, audit_id=store_audit(connection, audit, run_id))


def collect(settings: Settings, database: Database, kind: Kind, say: Say = lambda _: None) -> Audit:
    """Measure and judge; nothing is stored. What cannot be measured is a gap."""
    database = replace(database, statement_timeout_seconds=STATEMENT_SECONDS, lock_timeout_seconds=LOCK_SECONDS)
    started_at, began = datetime.now(UTC), time.process_time()
    window = host.Window()
    say("processes")
    processes_there, server_version = _processes(settings, database, kind)
    measured = host.read({"home": settings.home, "backups": settings.backups_dir}) + processes_there
    findings: list[Finding] = []
    steps: dict[str, Step] = {
        "tables and server": lambda connection: _database(connection, started_at),
        "files": lambda connection: (work.files(settings, connection, datetime.now(UTC)), []),
        "builds, maintenance, sessions": lambda connection: (work.records(connection, datetime.now(UTC)), []),
        "queries": lambda _: queries.measure(database, list(settings.symbols), CALLS[kind]),
    }
    for name, step in steps.items() if server_version else ():
        say(name)
        try:
            with database.connect("audit", Role.AUDITOR, autocommit=True) as connection, refused():
                part, found = step(connection)
        except DatabaseError as error:
            part, found = Measured((), (Gap(name, str(error)),)), []
        measured += part
        findings += found
    measured += work.kept(settings, datetime.now(UTC)) + window.end()
    judgements = judge(targets(), measured.figures)
    findings += missed_targets(judgements)
    return Audit(
        kind, started_at, datetime.now(UTC), metadata.version("strikecast"), server_version, _machine(),
        time.process_time() - began, measured.figures, measured.gaps, judgements,
        tuple(sorted(findings, key=lambda one: (one.severity, one.key))),
    )  # fmt: skip


def _processes(settings: Settings, database: Database, kind: Kind) -> tuple[Measured, str]:
    """What processes take, and the server's version; that is empty when there is no server."""
    version = ""
    try:
        with database.connect("audit", Role.AUDITOR, autocommit=True) as connection:
            version = str(connection.info.server_version)
            found, gaps = processes.find(settings, connection)
    except DatabaseError as error:
        found, gaps = processes.find(settings, None)
        gaps.append(Gap("database", str(error)))
    return Measured((), tuple(gaps)) + processes.measure(found, WINDOW_SECONDS[kind]), version


def _database(connection: Connection, now: datetime) -> tuple[Measured, list[Finding]]:
    tables, server = read_tables(connection), read_server(connection)
    gaps: tuple[Gap, ...] = ()
    if server.hidden:
        gaps = (Gap("work of other connections", f"insufficient privilege for {server.hidden} of them"),)
    figures = (*of_database.table_figures(tables), *of_database.server_figures(server))
    return Measured(figures, gaps), [
        *of_database.table_findings(tables),
        *of_database.index_findings(read_indexes(connection), server, now),
        *of_database.server_findings(server),
    ]


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(), "release": platform.release(), "architecture": platform.machine(),
        "cores": psutil.cpu_count(), "memory_bytes": psutil.virtual_memory().total, "python": platform.python_version(),
    }  # fmt: skip
