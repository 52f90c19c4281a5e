"""Statistics of tables and indexes, and the statements of the vacuum job, which need autocommit."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipelines.domain.maintenance.vacuum import IndexHealth, IndexStep, TableHealth, VacuumStep
from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import Connection, primary_message
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)


@dataclass(frozen=True)
class AutovacuumDrift:
    """A table whose autovacuum settings differ from the declared ones."""

    table_name: str
    options: list[str]
    declared: list[str]


def read_tables(connection: Connection) -> list[TableHealth]:
    """Statistics of the tables that the connection's role may vacuum."""
    return read_rows(connection, TableHealth, SQL["table_health"])


def read_indexes(connection: Connection) -> list[IndexHealth]:
    """Statistics of the indexes that the connection's role may rebuild."""
    return read_rows(connection, IndexHealth, SQL["index_health"])


def read_drift(connection: Connection) -> list[AutovacuumDrift]:
    """Tables whose autovacuum settings differ from the declared ones."""
    return read_rows(connection, AutovacuumDrift, SQL["autovacuum_drift"])


def apply_settings(connection: Connection) -> int:
    """Apply the declared autovacuum settings; returns the number of tables changed.

    Raises DatabaseError when a table is in use.
    """
    try:
        return int(read_value(connection, SQL["apply_autovacuum_settings"]))
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(f"autovacuum settings are skipped until the next run: {primary_message(error)}") from error


def vacuum_blockers(connection: Connection) -> list[str]:
    """Sessions, replication slots and prepared transactions that prevent the removal of dead rows."""
    return [row[0] for row in connection.execute(SQL["vacuum_blockers"]).fetchall()]


def throttle_vacuum(connection: Connection) -> None:
    """Limit the I/O, memory and parallelism of this connection's vacuums."""
    connection.execute(SQL["throttle_vacuum"])


def vacuum(connection: Connection, step: VacuumStep) -> None:
    """Vacuum or analyze a table. Raises DatabaseError when it is in use or the server skips it."""
    name = "analyze_table" if step.analyze_only else "vacuum_freeze_table" if step.freeze else "vacuum_table"
    _run(connection, sql.SQL(SQL[name]).format(table=_identifier(step.table)), step.table)


def reindex(connection: Connection, step: IndexStep) -> None:
    """Rebuild an index concurrently, or drop an invalid one. Raises DatabaseError as `vacuum` does."""
    name = "drop_index" if step.drop else "reindex"
    _run(connection, sql.SQL(SQL[name]).format(index=_identifier(step.index)), step.index)


def _identifier(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split(".", 1))


def _run(connection: Connection, statement: sql.Composed, target: str) -> None:
    """Execute a statement; a server that skips its target only issues a warning, which is an error here."""
    warnings: list[str] = []

    def collect(diagnostic: psycopg.errors.Diagnostic) -> None:
        warnings.append(diagnostic.message_primary or "")

    connection.add_notice_handler(collect)
    try:
        connection.execute(statement)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
        raise DatabaseError(f"{target} is in use, skipped until the next run: {primary_message(error)}") from error
    except psycopg.errors.UndefinedTable:
        return  # a partition that retention has dropped since the plan
    finally:
        connection.remove_notice_handler(collect)
    for warning in warnings:
        if "skipping" in warning:
            raise DatabaseError(f"{target}: {warning}")
