"""Databases and schema: create what is missing, migrate to this code's version, refuse what is newer."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg import sql

from pipelines.errors import DatabaseError, SchemaVersionError, ServerUnavailableError
from pipelines.storage.postgres.connection import MINIMUM_SERVER_VERSION, Connection, Database, full_message
from pipelines.storage.postgres.locks import MAINTENANCE_LOCK, acquire
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: One key for everything that must not run at the same time as a schema change.
MIGRATION_LOCK_WAIT_SECONDS = 300

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SchemaVersion:
    """The schema's revision in the database (None: no schema yet) and the one this code needs."""

    found: str | None
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether nothing needs to be done."""
        return self.found == self.needed


def ensure_database(database: Database, name: str | None = None) -> None:
    """Create the database `name` (by default the URL's own) unless it exists. Raises ServerUnavailableError."""
    wanted = name or str(database.parameters.get("dbname") or database.parameters.get("user") or "postgres")
    try:
        with psycopg.connect(database.url_for(wanted), connect_timeout=10):
            return
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error) or "database" not in str(error):
            raise ServerUnavailableError(
                f"cannot use the database at {database.describe()}: {full_message(error)}"
            ) from error
    try:
        with psycopg.connect(database.url_for("postgres"), connect_timeout=10, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(wanted)))
    except psycopg.errors.DuplicateDatabase:
        pass
    except psycopg.errors.UniqueViolation:
        pass  # another process created it in the same instant
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
        raise DatabaseError(
            f"database {wanted!r} does not exist at {database.describe()} and cannot be created: "
            f"{full_message(error)}; create it yourself: CREATE DATABASE {wanted}"
        ) from error


def read_version(database: Database) -> SchemaVersion:
    """The schema's revision. Raises ServerUnavailableError when no server answers."""
    with database.connect("schema", None) as connection:
        _require_server(connection, database)
        exists = connection.execute(SQL["schema_version_exists"]).fetchone()
        row = connection.execute(SQL["schema_version"]).fetchone() if exists and exists[0] else None
    return SchemaVersion(row[0] if row else None, _revisions()[-1])


def require_current(database: Database) -> None:
    """Raise SchemaVersionError unless the schema is the one that this code needs."""
    version = read_version(database)
    if version.is_current:
        return
    _refuse_newer(database, version)
    raise SchemaVersionError(
        f"{database.describe()} has schema {version.found or 'none'}, this code needs {version.needed}: "
        "run `strikecast migrate`"
    )


def migrate(database: Database) -> SchemaVersion:
    """Bring the schema to this code's version; a no-op when it is there, safe against others doing the same.

    Returns the version found before. Raises SchemaVersionError when the schema is newer than the code.
    """
    ensure_database(database)
    with _only_migrator(database):
        found = read_version(database)
        if not found.is_current:
            _refuse_newer(database, found)
            from pipelines.storage.migrations.run import upgrade

            upgrade(database)
            _logger.info("schema %s -> %s", found.found, found.needed)
    return found


def _refuse_newer(database: Database, version: SchemaVersion) -> None:
    """Raise SchemaVersionError when the schema found is one that this code does not know."""
    if version.found is not None and version.found not in _revisions():
        raise SchemaVersionError(
            f"{database.describe()} has schema {version.found}, newer than this code's {version.needed}: "
            "upgrade strikecast"
        )


@contextmanager
def _only_migrator(database: Database) -> Iterator[None]:
    """Hold the maintenance lock on a connection of its own, which no migration's rollback can take away."""
    with database.connect("migration lock", None, autocommit=True) as connection:
        connection.execute(SQL["set_lock_timeout"], [f"{MIGRATION_LOCK_WAIT_SECONDS}s"])
        acquire(connection, MAINTENANCE_LOCK)
        yield


def _require_server(connection: Connection, database: Database) -> None:
    version = connection.info.server_version
    if version < MINIMUM_SERVER_VERSION:
        raise DatabaseError(f"{database.describe()} is PostgreSQL {version // 10_000}; strikecast needs 15 or newer")


def _revisions() -> list[str]:
    """All revisions, oldest first, by the names of their files."""
    files = resources.files("pipelines.storage.migrations").joinpath("versions").iterdir()
    return sorted(file.name.partition("_")[0] for file in files if re.match(r"\d{4}_.*\.py$", file.name))
