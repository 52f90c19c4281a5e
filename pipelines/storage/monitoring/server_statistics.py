"""What the auditor reads of the server, and the audits that are kept."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from pipelines.domain.monitoring.audit.database import IndexFacts, TableFacts
from pipelines.domain.monitoring.audit.server import (
    CheckpointFacts,
    ServerFacts,
    SettingsFacts,
    StandbyFacts,
    StatementFacts,
)
from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import Connection, primary_message
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)


def read_tables(connection: Connection) -> list[TableFacts]:
    """Every table with its partitions; a reader may see them all."""
    return read_rows(connection, TableFacts, SQL["audit_tables"])


def read_indexes(connection: Connection) -> list[IndexFacts]:
    """Every index."""
    return read_rows(connection, IndexFacts, SQL["audit_indexes"])


def read_server(connection: Connection) -> ServerFacts:
    """The server as a whole."""
    [found] = read_rows(connection, ServerFacts, SQL["audit_server"])
    return found


#: Since this version the server counts checkpoints in a view of their own.
CHECKPOINTER_VERSION = 170_000


def read_checkpoints(connection: Connection) -> CheckpointFacts:
    """Checkpoints since the server's statistics began."""
    name = "audit_checkpoints"
    if connection.info.server_version < CHECKPOINTER_VERSION:
        name = "audit_checkpoints_before_17"
    [found] = read_rows(connection, CheckpointFacts, name)
    return found


def read_standbys(connection: Connection) -> list[StandbyFacts]:
    """Who follows this server."""
    return read_rows(connection, StandbyFacts, SQL["audit_standbys"])


def read_settings(connection: Connection) -> SettingsFacts:
    """Settings that the machine or the data may suffer from."""
    [found] = read_rows(connection, SettingsFacts, SQL["audit_settings"])
    return found


@dataclass(frozen=True)
class StatementsExtension:
    """pg_stat_statements: installed, loaded by the server, and the schema of its view in this database."""

    available: bool
    loaded: bool
    schema: str | None


def read_statements_extension(connection: Connection) -> StatementsExtension:
    """Whether the server counts its statements."""
    [found] = read_rows(connection, StatementsExtension, SQL["statements_extension"])
    return found


def read_top_statements(connection: Connection, schema: str) -> list[StatementFacts]:
    """The ten statements of this database that took most of the server's time, as `schema` counts them."""
    statement = sql.SQL(SQL["top_statements"]).format(view=sql.Identifier(schema, "pg_stat_statements"))
    return [StatementFacts(*row) for row in connection.execute(statement).fetchall()]


@dataclass(frozen=True)
class LiveMeasures:
    """What a live session saved of itself last: percentiles in ms by stage, counts; `created_at` is aware UTC.

    `longest_gap_seconds` and `start_seconds` are None of a session of an older version.
    """

    session_id: str
    created_at: datetime
    latencies_ms: Mapping[str, Mapping[str, float]]
    counts: Mapping[str, float] | None
    longest_gap_seconds: float | None
    start_seconds: float | None


def read_live_measures(connection: Connection, since: datetime) -> LiveMeasures | None:
    """Of the newest live session that refreshed anything since then (aware UTC)."""
    return next(iter(read_rows(connection, LiveMeasures, SQL["live_measures"], [since])), None)


@contextmanager
def refused() -> Iterator[None]:
    """Turn whatever the database has against a statement into a DatabaseError of one line."""
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(primary_message(error)) from error


def read_processes(connection: Connection) -> list[tuple[int, str]] | None:
    """Process ids of the server's processes, and what each does; None when this role may not know."""
    rows = connection.execute(SQL["server_processes"]).fetchall()
    others = [(int(pid), name) for pid, name in rows if pid != connection.info.backend_pid]
    return None if any(name is None for _, name in others) else [(pid, str(name)) for pid, name in others]


def explain(connection: Connection, statement: str, parameters: Sequence[Any]) -> dict[str, Any]:
    """The plan of a statement that reads, as it ran: EXPLAIN (ANALYZE, BUFFERS)."""
    row = connection.execute(f"{SQL['explain']} {statement}", parameters).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def read_session_spans(connection: Connection, since: datetime) -> list[tuple[datetime, datetime]]:
    """First and last sign of life of each live session that was there since then (aware UTC)."""
    rows = connection.execute(SQL["session_spans"], [since]).fetchall()
    return [(began.astimezone(UTC), ended.astimezone(UTC)) for began, ended in rows]


def first_session_at(connection: Connection) -> datetime | None:
    """When the first live session that is recorded began (UTC); None without any."""
    return _instant(connection, "first_session")


def refreshed_since(connection: Connection) -> datetime | None:
    """When the session that runs began, or the last one ended (UTC); None without any."""
    return _instant(connection, "refreshed_since")


def first_build_at(connection: Connection) -> datetime | None:
    """When anything was built first (UTC); None before."""
    return _instant(connection, "first_build")


def _instant(connection: Connection, name: str) -> datetime | None:
    row = connection.execute(SQL[name]).fetchone()
    return None if row is None or row[0] is None else row[0].astimezone(UTC)


@dataclass(frozen=True)
class MaintenanceRun:
    """The newest finished run of a job: how long ago it began, what it took, what came of it; None where not told."""

    job: str
    age_seconds: float
    seconds: float
    rows_removed: float | None
    dead_rows_cleared: float | None
    steps_left: float | None


def read_maintenance(connection: Connection) -> list[MaintenanceRun]:
    """Of each job of maintenance its newest finished run."""
    return read_rows(connection, MaintenanceRun, SQL["newest_maintenance"])


def read_builds(connection: Connection) -> list[tuple[str, str, int, int, float, float]]:
    """Of each symbol and model its newest build: bars, rows of the lookup, seconds that it took, and its age."""
    return [tuple(row) for row in connection.execute(SQL["newest_builds"])]
