"""The server's statistics: tables, indexes, settings, standbys, statements, processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from pipelines.domain.monitoring.audit.database import IndexFacts, TableFacts
from pipelines.domain.monitoring.audit.measurements import Measurements, Unit, key_of
from pipelines.domain.monitoring.audit.server import ExtensionFacts, SettingsFacts
from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import Connection, primary_message
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)
#: First version with `pg_stat_checkpointer`.
CHECKPOINTER_VERSION = 170_000


def read_measurements(
    connection: Connection, statement: LiteralString | sql.Composed, parameters: Mapping[str, Any] | None = None
) -> Measurements:
    """Measurements of a statement that returns name, unit, value and labels; a value that is NULL is a gap."""
    found = Measurements()
    for name, unit, value, labels in connection.execute(statement, parameters or {}):
        if value is None:
            found.add_gap(key_of(name, labels), "not known, or insufficient privilege")
        else:
            found.add(name, Unit(unit), float(value), **labels)
    return found


def measure_server(connection: Connection) -> Measurements:
    """Size, connections, transactions, cache and age of the server, and its checkpoints."""
    old = connection.info.server_version < CHECKPOINTER_VERSION
    found = read_measurements(connection, SQL["server"])
    found.extend(read_measurements(connection, SQL["checkpoints_before_17" if old else "checkpoints"]))
    return found


def measure_standbys(connection: Connection) -> Measurements:
    """Replication lag of each standby."""
    return read_measurements(connection, SQL["standbys"])


def measure_statements(connection: Connection, schema: str) -> Measurements:
    """The ten statements of this database with the most execution time; `schema` is that of pg_stat_statements."""
    statement = sql.SQL(SQL["top_statements"]).format(view=sql.Identifier(schema, "pg_stat_statements"))
    return read_measurements(connection, statement)


def read_extension(connection: Connection) -> ExtensionFacts:
    """Availability of pg_stat_statements."""
    [found] = read_rows(connection, ExtensionFacts, SQL["statements_extension"])
    return found


def read_tables(connection: Connection) -> list[TableFacts]:
    """Every table, partitions added to their table."""
    return read_rows(connection, TableFacts, SQL["audit_tables"])


def read_indexes(connection: Connection) -> list[IndexFacts]:
    """Every index."""
    return read_rows(connection, IndexFacts, SQL["audit_indexes"])


def read_settings(connection: Connection) -> SettingsFacts:
    """Settings that have to fit the machine, and those that protect data."""
    [found] = read_rows(connection, SettingsFacts, SQL["audit_settings"])
    return found


def read_processes(connection: Connection) -> list[tuple[int, str]] | None:
    """Process ids and names of the server's other processes; None when some are hidden from this role."""
    rows = connection.execute(SQL["server_processes"]).fetchall()
    return None if any(name is None for _, name in rows) else [(int(pid), str(name)) for pid, name in rows]


def explain(connection: Connection, statement: str, parameters: Sequence[Any]) -> dict[str, Any]:
    """Execute a query and return its plan: EXPLAIN (ANALYZE, BUFFERS)."""
    row = connection.execute(f"{SQL['explain']} {statement}", parameters).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise errors of the database as DatabaseError with a message of one line."""
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(primary_message(error)) from error
