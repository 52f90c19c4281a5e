"""What the auditor reads of the server, and the audits that are kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from pipelines.domain.audit.database import IndexFacts, ServerFacts, TableFacts
from pipelines.errors import DatabaseError
from pipelines.storage.database import Connection, first_line
from pipelines.storage.queries import query, read_rows


def read_tables(connection: Connection) -> list[TableFacts]:
    """Every table with its partitions; a reader may see them all."""
    return read_rows(connection, TableFacts, "audit_tables")


def read_indexes(connection: Connection) -> list[IndexFacts]:
    """Every index."""
    return read_rows(connection, IndexFacts, "audit_indexes")


def read_server(connection: Connection) -> ServerFacts:
    """The server as a whole."""
    [found] = read_rows(connection, ServerFacts, "audit_server")
    return found


@contextmanager
def refused() -> Iterator[None]:
    """Turn whatever the database has against a statement into a DatabaseError of one line."""
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(first_line(error)) from error


def read_processes(connection: Connection) -> list[tuple[int, str]]:
    """Process ids of the server's processes, and what each does."""
    return [(int(pid), str(name)) for pid, name in connection.execute(query("server_processes")).fetchall()]


def explain(connection: Connection, statement: str, parameters: Sequence[Any]) -> dict[str, Any]:
    """The plan of a statement that reads, as it ran: EXPLAIN (ANALYZE, BUFFERS)."""
    row = connection.execute(f"{query('explain')} {statement}", parameters).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def read_session_spans(connection: Connection, since: datetime) -> list[tuple[datetime, datetime]]:
    """First and last sign of life of each live session that was there since then (aware UTC)."""
    rows = connection.execute(query("session_spans"), [since]).fetchall()
    return [(began.astimezone(UTC), ended.astimezone(UTC)) for began, ended in rows]


def read_maintenance(connection: Connection) -> list[tuple[str, float, float]]:
    """Of each job of maintenance: how many seconds ago its newest finished run began, and how many it took."""
    return [(str(job), float(age), float(took)) for job, age, took in connection.execute(query("newest_maintenance"))]


def read_builds(connection: Connection) -> list[tuple[str, str, int, int, float, float]]:
    """Of each symbol and model its newest build: bars, rows of the lookup, seconds that it took, and its age."""
    return [tuple(row) for row in connection.execute(query("newest_builds"))]
