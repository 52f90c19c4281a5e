"""Create databases, and migrate the schema to this code's version; a newer schema is refused."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg import sql

from pipelines.errors import DatabaseError, SchemaVersionError, ServerUnavailableError
from pipelines.storage.postgres.connection import (
    CONNECT_TIMEOUT_SECONDS,
    MIGRATE,
    MINIMUM_SERVER_VERSION,
    Connection,
    Database,
    Role,
    full_message,
    is_missing_database,
    pooler_error,
)
from pipelines.storage.postgres.locks import MAINTENANCE_LOCK, acquire, restrict_locks
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

MIGRATION_LOCK_TIMEOUT_SECONDS = 300

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SchemaVersion:
    """The schema's revision in the database (None: no schema) and the one that this code needs."""

    found: str | None
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether the schema is the one that this code needs."""
        return self.found == self.needed


def ensure_database(database: Database, name: str | None = None) -> None:
    """Create the database `name` (by default the URL's own) unless it exists.

    Raises ServerUnavailableError when no server answers, and DatabaseError when the database cannot be created.
    """
    wanted = name or database.name
    where = database.describe()
    try:
        with psycopg.connect(database.url_for(wanted), connect_timeout=CONNECT_TIMEOUT_SECONDS):
            return
    except psycopg.OperationalError as error:
        if not is_missing_database(error):
            raise ServerUnavailableError(f"cannot use the database at {where}: {full_message(error)}") from error
    try:
        with (
            # Another process may create it at the same time: one error or the other, depending on the instant.
            suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation),
            psycopg.connect(
                database.url_for("postgres"), connect_timeout=CONNECT_TIMEOUT_SECONDS, autocommit=True
            ) as connection,
        ):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(wanted)))
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
        raise DatabaseError(
            f"database {wanted!r} does not exist at {where} and cannot be created: {full_message(error)}; "
            f"create it yourself: CREATE DATABASE {wanted}"
        ) from error


def read_version(database: Database) -> SchemaVersion:
    """Read the schema's revision.

    Raises ServerUnavailableError, DatabaseError for a server older than 15 and for a connection pooler, and
    SchemaVersionError where the login may not read the revision, as a reader's before revision 0014.
    """
    with database.connect("schema", None) as connection:
        if connection.info.backend_pid != read_value(connection, SQL["backend_pid"]):  # a pooler states one of its own
            raise pooler_error(database)
        if connection.info.server_version < MINIMUM_SERVER_VERSION:
            major = connection.info.server_version // 10_000
            raise DatabaseError(f"{database.describe()} is PostgreSQL {major}; strikecast needs 15 or newer")
        return SchemaVersion(found_revision(connection, database), needed_revision())


def found_revision(connection: Connection, database: Database) -> str | None:
    """The schema's revision; None without a schema. Raises SchemaVersionError where the login may not read it."""
    if not read_value(connection, SQL["schema_version_exists"]):
        return None
    if not read_value(connection, SQL["schema_version_is_readable"]):
        raise SchemaVersionError(
            f"{database.describe()}: your login {connection.info.user} may not read the schema's version: GRANT "
            f"{Role.READER} TO {connection.info.user}, and `strikecast migrate` by its operator, permit it"
        )
    return str(read_value(connection, SQL["schema_version"]))


def needed_revision() -> str:
    """The schema's revision that this code needs."""
    return _revisions()[-1]


def require_current(database: Database) -> None:
    """Raise SchemaVersionError unless the schema is the one that this code needs."""
    version = read_version(database)
    if not version.is_current:
        _refuse_newer(database, version)
        raise SchemaVersionError(
            f"{database.describe()} has schema {version.found or 'none'}, this code needs {version.needed}: {MIGRATE}"
        )


def migrate(database: Database) -> SchemaVersion:
    """Migrate the schema to this code's version; without effect when it is current, and safe to run concurrently.

    Returns the version found before. Raises SchemaVersionError when the schema is newer than the code, and
    DatabaseError for a login that may not change what is stored.
    """
    ensure_database(database)
    # The lock is held on a connection of its own, so that a migration's rollback does not release it.
    with database.connect("migration lock", None, autocommit=True) as connection:
        _require_role(database, connection, read_version(database))
        connection.execute(SQL["set_lock_timeout"], [f"{MIGRATION_LOCK_TIMEOUT_SECONDS}s"])
        acquire(connection, MAINTENANCE_LOCK)
        found = read_version(database)
        if not found.is_current:
            _refuse_newer(database, found)
            from pipelines.storage.migrations.run import upgrade

            upgrade(database)
            _logger.info("schema %s -> %s", found.found, found.needed)
        if not restrict_locks(connection) and not found.is_current:
            _logger.warning(
                "any login of %s can hold up migrations, backups and live sessions with an advisory lock: run "
                "`strikecast migrate` once as a superuser",
                database.describe(),
            )
    return found


def _require_role(database: Database, connection: Connection, version: SchemaVersion) -> None:
    """Raise DatabaseError unless the login has the role that the migration, or what follows it, needs."""
    needed = Role.PIPELINE if version.is_current else Role.OWNER
    if version.found is not None and not read_value(connection, SQL["login_has_role"], [needed]):
        raise database.missing_role(needed)


def _refuse_newer(database: Database, version: SchemaVersion) -> None:
    if version.found is not None and version.found not in _revisions():
        raise SchemaVersionError(
            f"{database.describe()} has schema {version.found}, newer than this code's {version.needed}: "
            "upgrade strikecast"
        )


def _revisions() -> list[str]:
    """All revisions, oldest first, from the names of their files: alembic is slow to import."""
    files = resources.files("pipelines.storage.migrations").joinpath("versions").iterdir()
    return sorted(file.name[:4] for file in files if file.name[:4].isdigit() and file.name.endswith(".py"))
