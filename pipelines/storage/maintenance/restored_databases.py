"""Databases of restores and drills: create, compare, mark, rename and drop them; the state of WAL archiving."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import psycopg
from psycopg import sql

from pipelines.domain.maintenance.backups import TableFacts
from pipelines.domain.maintenance.restored_roles import RestoredRoles
from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import Connection, Database, Role, primary_message, translate_errors
from pipelines.storage.postgres.locks import restrict_locks
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)

_DATABASE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
#: Extensions that a server's owner installs to watch it; a dump may ask for them, and they execute nothing from it.
WATCHING_EXTENSIONS = frozenset({"pg_stat_statements", "pgstattuple", "pg_buffercache", "amcheck"})


@contextmanager
def _server(database: Database) -> Iterator[Connection]:
    """An autocommit connection to the maintenance database `postgres`."""
    with translate_errors(database), psycopg.connect(database.url_for("postgres"), autocommit=True) as connection:
        yield connection


def require_database_name(name: str) -> None:
    """Raise DatabaseError unless a name for a new database is plain: programs take others for connection parameters."""
    if not _DATABASE_NAME.fullmatch(name):
        raise DatabaseError(
            f"{name!r} cannot name a database: use letters, digits, underscores and hyphens, 63 at most"
        )


def create_database(database: Database, name: str) -> Database:
    """Create an empty database on the same server. Raises DatabaseError when it exists or creation is denied."""
    require_database_name(name)
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


def has_tables(database: Database) -> bool:
    """Whether the database exists and has tables."""
    with _server(database) as connection:
        if not read_value(connection, SQL["database_exists"], [database.name]):
            return False
    with database.connect("restore", None) as connection:
        return bool(read_value(connection, SQL["has_tables"]))


def create_missing_roles(database: Database, wanted: RestoredRoles) -> tuple[str, ...]:
    """Create the roles that the server lacks, with their attributes, settings and memberships.

    Roles that exist stay as they are: someone may have changed them since the backup. Returns one message for each
    statement that the login has no right to execute.
    """
    created: set[str] = set()
    with _server(database) as connection:
        for role in wanted.roles:
            with suppress(psycopg.errors.DuplicateObject):
                connection.execute(sql.SQL(SQL["create_role"]).format(sql.Identifier(role.name)))
                created.add(role.name)
        statements = [text for role in wanted.roles if role.name in created for text in role.statements]
        superusers = {name for (name,) in connection.execute(SQL["superusers"]).fetchall()}
        statements += [
            one.statement
            for one in wanted.memberships
            if {one.group, one.member} & created and one.group not in superusers
        ]
        return _execute_permitted(connection, (sql.SQL(cast("Any", text)) for text in statements))


def set_properties(database: Database, name: str, properties: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Execute statements about the database `name`, each given by its text before and after the name.

    Returns one message for each statement that the login has no right to execute.
    """
    identifier = sql.Identifier(name)
    with _server(database) as connection:
        return _execute_permitted(
            connection,
            (sql.SQL(cast("Any", before)) + identifier + sql.SQL(cast("Any", after)) for before, after in properties),
        )


def _execute_permitted(connection: Connection, statements: Iterable[sql.SQL | sql.Composed]) -> tuple[str, ...]:
    refused = []
    for statement in statements:
        try:
            connection.execute(statement, prepare=True)  # one statement only
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject) as error:
            refused.append(f"{statement.as_string(connection)} {primary_message(error)}")
    return tuple(refused)


def lend_to_owner(database: Database) -> None:
    """Let strikecast_owner own an empty database, and so its schema `public`, until `take_back`."""
    _set_owner(database, sql.Identifier(Role.OWNER))


def take_back(database: Database) -> None:
    """Let the login own a database again, without the settings that a statement of the dump made as its owner."""
    _set_owner(database, sql.SQL("SESSION_USER"))
    with _server(database) as connection:
        connection.execute(sql.SQL(SQL["reset_database"]).format(sql.Identifier(database.name)))


def _set_owner(database: Database, owner: sql.Composable) -> None:
    with _server(database) as connection:
        connection.execute(sql.SQL(SQL["set_database_owner"]).format(sql.Identifier(database.name), owner))


def plain_roles(database: Database) -> frozenset[str]:
    """Names of the server's roles that are no superusers."""
    with _server(database) as connection:
        return frozenset(name for (name,) in connection.execute(SQL["plain_roles"]).fetchall())


def set_owners(database: Database, found: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Execute the statements that give objects to their owners, except to superusers and roles that do not exist.

    Returns one message for each statement that the login has no right to execute.
    """
    plain = plain_roles(database)
    with database.connect("restore", None, autocommit=True) as connection:
        return _execute_permitted(
            connection, (sql.SQL(cast("Any", statement)) for owner, statement in found if owner in plain)
        )


def create_watching_extensions(database: Database, names: Iterable[str]) -> None:
    """Create those of the extensions that watch the server and are installed on it."""
    with database.connect("restore", None, autocommit=True) as connection:
        for name in sorted(WATCHING_EXTENSIONS & set(names)):
            with suppress(psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
                connection.execute(sql.SQL(SQL["create_extension"]).format(sql.Identifier(name)))


def restrict_locks_in(database: Database) -> None:
    """Restrict the advisory locks of a restored database, as `migrate` does: a dump does not do so as its owner."""
    with database.connect("restore", None, autocommit=True) as connection:
        restrict_locks(connection)


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


@dataclass(frozen=True)
class Swap:
    """A database `restored` that gets the name `name`, whose database, if there is one, is kept as `kept_as`."""

    name: str
    restored: str
    kept_as: str


def swap_names(database: Database, swaps: Sequence[Swap]) -> list[str]:
    """Rename all databases in one transaction, closing connections to them; returns the new names of those replaced.

    Raises DatabaseError, without a change, when clients reconnect in between.
    """
    rename = sql.SQL(SQL["rename_database"])
    renames, kept = [], []
    with _server(database) as connection:
        for swap in swaps:
            if read_value(connection, SQL["database_exists"], [swap.name]):
                renames.append((swap.name, swap.kept_as))
                kept.append(swap.kept_as)
            renames.append((swap.restored, swap.name))
        for old, _ in renames:
            connection.execute(SQL["terminate_backends"], [old])
        try:
            with connection.transaction():  # atomic
                for old, new in renames:
                    connection.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
        except psycopg.errors.ObjectInUse as error:
            raise DatabaseError(
                f"{database.name} is in use and was not replaced: {primary_message(error)}; "
                "stop `strikecast up` and try again"
            ) from error
    return kept


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
