"""Databases of restores and drills: create, compare, mark, rename and drop them; the state of WAL archiving."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import psycopg
from psycopg import sql

from pipelines.domain.maintenance.backups import TableFacts
from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import Connection, Database, primary_message, translate_errors
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)


@contextmanager
def _server(database: Database) -> Iterator[Connection]:
    """An autocommit connection to the maintenance database `postgres`."""
    with translate_errors(database), psycopg.connect(database.url_for("postgres"), autocommit=True) as connection:
        yield connection


def create_database(database: Database, name: str) -> Database:
    """Create an empty database on the same server. Raises DatabaseError when it exists or creation is denied."""
    with _server(database) as connection:
        try:
            connection.execute(sql.SQL(SQL["create_empty_database"]).format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.InsufficientPrivilege) as error:
            raise DatabaseError(f"database {name!r} cannot be created: {primary_message(error)}") from error
    return Database(database.url_for(name), database.statement_timeout_seconds, database.lock_timeout_seconds)


def drop_database(database: Database, name: str) -> None:
    """Drop a database on the same server, closing its connections."""
    with _server(database) as connection:
        connection.execute(sql.SQL(SQL["drop_database"]).format(sql.Identifier(name)))


def unused_databases(database: Database, prefix: str) -> list[str]:
    """Databases with this name prefix and without connections."""
    pattern = prefix.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%") + "%"
    with _server(database) as connection:
        return [row[0] for row in connection.execute(SQL["unused_databases"], [pattern]).fetchall()]


def create_missing_roles(database: Database, names: list[str]) -> None:
    """Create the roles that the server lacks, without LOGIN."""
    with _server(database) as connection:
        for name in names:
            with suppress(psycopg.errors.DuplicateObject):
                connection.execute(sql.SQL(SQL["create_role"]).format(sql.Identifier(name)))


def analyze(database: Database) -> None:
    """Collect planner statistics, which a dump does not contain."""
    with database.connect("restore", None, autocommit=True) as connection:
        connection.execute(SQL["analyze_database"])


def table_facts(database: Database) -> tuple[TableFacts, ...]:
    """Row count and checksum of every table, in one snapshot."""
    with translate_errors(database), psycopg.connect(database.conninfo("restore", None)) as connection:
        connection.execute(SQL["repeatable_read"])
        found = []
        for table, statement in connection.execute(SQL["table_facts"], []).fetchall():
            [(rows, checksum)] = connection.execute(cast("Any", statement)).fetchall()
            found.append(TableFacts(table, rows, checksum))
        return tuple(found)


def swap_names(database: Database, name: str, restored: str, kept_as: str) -> None:
    """Rename database `name` to `kept_as` and `restored` to `name`, closing connections to both.

    Raises DatabaseError, without a change, when clients reconnect in between.
    """
    rename = sql.SQL(SQL["rename_database"])
    old, new, kept = sql.Identifier(name), sql.Identifier(restored), sql.Identifier(kept_as)
    with _server(database) as connection:
        for database_name in (name, restored):
            connection.execute(SQL["terminate_backends"], [database_name])
        try:
            with connection.transaction():  # atomic
                connection.execute(rename.format(old, kept))
                connection.execute(rename.format(new, old))
        except psycopg.errors.ObjectInUse as error:
            raise DatabaseError(
                f"{name} is in use and was not replaced: {primary_message(error)}; stop `strikecast up` and try again"
            ) from error


@dataclass(frozen=True)
class Archiving:
    """The server's settings for WAL archiving."""

    mode: str
    command: str
    library: str

    @property
    def enabled(self) -> bool:
        """Whether WAL files are archived."""
        return self.mode != "off" and bool(self.library or self.command not in {"", "(disabled)"})


def archiving(database: Database) -> Archiving:
    """The server's settings for WAL archiving."""
    with database.connect("recovery", None) as connection:
        return read_rows(connection, Archiving, SQL["archive_settings"])[0]


def create_marker_table(database: Database) -> None:
    """Create the table of markers in an empty database."""
    with database.connect("recovery", None) as connection:
        connection.execute(SQL["create_recovery_mark"])


def write_marker(database: Database, label: str) -> None:
    """Insert and commit a marker."""
    with database.connect("recovery", None) as connection:
        connection.execute(SQL["insert_recovery_mark"], [label])


def markers(database: Database) -> list[str]:
    """The markers in the database, oldest first."""
    with database.connect("recovery", None) as connection:
        return [label for (label,) in connection.execute(SQL["recovery_marks"])]


def server_time(database: Database) -> datetime:
    """The server's clock, UTC."""
    now: datetime = _value(database, "server_clock")
    return now


def switch_wal_file(database: Database) -> str:
    """Switch to a new WAL file; returns the name of the finished one. Needs superuser rights."""
    return str(_value(database, "switch_wal"))


def failed_wal(database: Database) -> str | None:
    """The WAL file that the server most recently failed to archive, None if it has archived one since."""
    found: str | None = _value(database, "failed_wal")
    return found


def _value(database: Database, statement: str) -> Any:
    with database.connect("recovery", None, autocommit=True) as connection:
        return read_value(connection, SQL[statement])
