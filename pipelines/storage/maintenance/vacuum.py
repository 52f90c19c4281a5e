"""Vacuum on the server: what its statistics say, and the statements, none of them in a transaction."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipelines.domain.maintenance.vacuum import IndexHealth, IndexStep, TableHealth, VacuumStep
from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import Connection, primary_message
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)


@dataclass(frozen=True)
class Drift:
    """A table whose autovacuum settings are not the declared ones."""

    table_name: str
    options: list[str]
    declared: list[str]


def read_tables(connection: Connection) -> list[TableHealth]:
    """Every table that this connection's role may vacuum."""
    return read_rows(connection, TableHealth, SQL["table_health"])


def read_indexes(connection: Connection) -> list[IndexHealth]:
    """Every index that this connection's role may build anew."""
    return read_rows(connection, IndexHealth, SQL["index_health"])


def read_drift(connection: Connection) -> list[Drift]:
    """Tables whose autovacuum settings are not the declared ones."""
    return read_rows(connection, Drift, SQL["autovacuum_drift"])


def apply_settings(connection: Connection) -> int:
    """Give them the declared ones; how many differed. Raises DatabaseError when one is in use."""
    try:
        row = connection.execute(SQL["apply_autovacuum_settings"]).fetchone()
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(f"autovacuum settings are left for the next run: {primary_message(error)}") from error
    assert row is not None
    return int(row[0])


def vacuum_blockers(connection: Connection) -> list[str]:
    """Whose old snapshots keep dead rows from being removed."""
    return [row[0] for row in connection.execute(SQL["what_holds_back_vacuum"]).fetchall()]


def throttle_vacuum(connection: Connection) -> None:
    """Let vacuums of this connection pause now and then."""
    connection.execute(SQL["vacuum_gently"])


def vacuum(connection: Connection, step: VacuumStep) -> None:
    """Vacuum or analyze one table; needs autocommit. Raises DatabaseError when it was skipped or is held by another."""
    name = "analyze_table" if step.analyze_only else "vacuum_freeze_table" if step.freeze else "vacuum_table"
    _run(connection, sql.SQL(SQL[name]).format(table=_identifier(step.table)), step.table)


def reindex(connection: Connection, step: IndexStep) -> None:
    """Build an index anew beside the old one, or drop a leftover. Raises DatabaseError as `vacuum` does."""
    name = "drop_index" if step.drop else "reindex"
    _run(connection, sql.SQL(SQL[name]).format(index=_identifier(step.index)), step.index)


def _identifier(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split(".", 1))


def _run(connection: Connection, statement: sql.Composed, what: str) -> None:
    """Run it; a server that only warns that it skipped something has not done it."""
    warnings: list[str] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        warnings.append(diagnostic.message_primary or "")

    connection.add_notice_handler(hear)
    try:
        connection.execute(statement)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
        raise DatabaseError(f"{what} is in use, and is left for the next run: {primary_message(error)}") from error
    except psycopg.errors.UndefinedTable:
        return  # a partition that retention dropped meanwhile
    finally:
        connection.remove_notice_handler(hear)
    skipped = [text for text in warnings if "skipping" in text]
    if skipped:
        raise DatabaseError(f"{what}: {skipped[0]}")
