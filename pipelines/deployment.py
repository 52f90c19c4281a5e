"""Provide what a task needs: a running server, a current schema, the environment of Dagster's programs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from pipelines.configuration.settings_file import CONFIG_FILE_VARIABLE, HOME_VARIABLE, config_file
from pipelines.errors import NoDataError
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import CONNECT_TIMEOUT_SECONDS, Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.reading import (
    ReadDatabase,
    ReadReport,
    database_id,
    inspect_reading,
    noting,
    wal_position,
)
from pipelines.storage.postgres.schema import migrate, require_current

DAGSTER_URL_VARIABLE = "STRIKECAST_DAGSTER_URL"
#: Longest statement that asks for the state of a replica.
INSPECTION_SECONDS = 10


def configured_database(settings: Settings) -> Database:
    """The database of `settings.database_url`, or of the embedded server when that is unset."""
    configured = settings.database_url
    url = EmbeddedServer(settings.embedded_dir).url() if configured is None else configured.get_secret_value()
    return Database(url, settings.statement_timeout_seconds, settings.lock_timeout_seconds)


@contextmanager
def running_server(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """Run the embedded server within the context, if that is the configured one. Raises ServerUnavailableError."""
    embedded = settings.database_url is None
    with EmbeddedServer(settings.embedded_dir, log).running() if embedded else nullcontext():
        yield configured_database(settings)


def embedded_server_runs(settings: Settings) -> bool:
    """Whether the embedded server has a process; it may hang, or still be in recovery."""
    return EmbeddedServer(settings.embedded_dir).is_running()


def restart_embedded_server(settings: Settings, log: Log) -> None:
    """Kill what is left of the embedded server and start it; within `running_server`. Raises ServerUnavailableError."""
    server = EmbeddedServer(settings.embedded_dir, log)
    server.kill()
    server.restart_if_stopped()


@contextmanager
def migrated_database(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """Run the server with a current schema. Raises ServerUnavailableError, SchemaVersionError.

    The embedded server is migrated if necessary; any other one only by `strikecast migrate` and `service.instance`.
    """
    with running_server(settings, log) as database:
        if settings.database_url is None:
            migrate(database)
        else:
            require_current(database)
        yield database


def has_database(settings: Settings) -> bool:
    """Whether there is a database to read: the embedded server's exists, or another server is configured."""
    return settings.database_url is not None or EmbeddedServer(settings.embedded_dir).data.exists()


@contextmanager
def existing_database(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """As `migrated_database`, for commands that only read: a home folder without a database stays as it is.

    Raises NoDataError without a database.
    """
    if not has_database(settings):
        raise NoDataError(
            f"there is no database in {settings.home} yet: `strikecast migrate` creates it, `strikecast ingest SYMBOL "
            "PATH` or `strikecast sample SYMBOL` fills it"
        )
    with migrated_database(settings, log) as database:
        yield database


def read_database(settings: Settings, *, needed_from: Database | None = None) -> ReadDatabase | None:
    """The database of `settings.read_url`; None when that is unset.

    `needed_from`: the primary, of which all that is committed now must be visible. Raises ServerUnavailableError.
    """
    if settings.read_url is None:
        return None
    return ReadDatabase(
        settings.read_url.get_secret_value(),
        settings.statement_timeout_seconds,
        settings.lock_timeout_seconds,
        max_lag_seconds=settings.read_lag_seconds,
        wait_seconds=settings.read_lag_seconds,
        needed=None if needed_from is None else wal_position(needed_from),
    )


def inspect_replica(settings: Settings, primary: Database | None = None) -> ReadReport | None:
    """The state of the database of `settings.read_url`, within seconds; None when that is unset.

    With `primary`, whether it is a replica of that. Raises DatabaseError when the primary cannot be used.
    """
    if (source := read_database(settings)) is None:
        return None
    primary_id = None
    if primary is not None:
        with primary.connect("status", None) as connection:
            primary_id = database_id(connection)
    return inspect_reading(replace(source, statement_timeout_seconds=INSPECTION_SECONDS), primary_id)


@contextmanager
def reading_database(
    settings: Settings, log: Log = lambda _: None, *, needed_at: datetime | None = None
) -> Iterator[Database]:
    """The database that analysts' reads use: that of `settings.read_url`, otherwise as `existing_database`.

    `needed_at` (aware): commits up to then must be visible. What the server is, and how old its data are, is logged.
    """
    found = read_database(settings)
    if found is None:
        with existing_database(settings, log) as database:
            yield database
        return
    # Nothing is committed after now, so what is asked of the future needs no more than that.
    needed = replace(found, needed_at=None if needed_at is None else min(needed_at, datetime.now(UTC)))
    where = needed.describe()
    with noting(needed, lambda state: log(f"reading from {where}, {state}")).connect("read", None):
        pass
    yield needed


@contextmanager
def scoring_databases(
    settings: Settings, log: Log, *, store: bool, needed_at: datetime | None = None
) -> Iterator[tuple[Database, Database]]:
    """The database that scores are stored in, and the one that what is scored is read from.

    With `store`, the latter has all that the former has now; otherwise they are the same, and only read. Raises
    DatabaseError for a login that may not store: scoring takes minutes, so this comes first.
    """
    with ExitStack() as stack:
        if not store:
            database = stack.enter_context(reading_database(settings, log, needed_at=needed_at))
            yield database, database
            return
        database = stack.enter_context(existing_database(settings, log))
        source = read_database(settings, needed_from=database) or database
        with database.connect("score", Role.PIPELINE):
            pass
        yield database, source


def dagster_database(settings: Settings, database: Database) -> Database:
    """Dagster's database on the same server."""
    return replace(database, url=database.url_for(settings.dagster_database))


def dagster_environment(settings: Settings, database: Database) -> dict[str, str]:
    """Environment variables for Dagster's programs; one of them contains the database's password, if there is one."""
    variables = {
        "DAGSTER_HOME": str(settings.dagster_home),
        DAGSTER_URL_VARIABLE: dagster_database(settings, database).url.replace(
            "postgresql://", "postgresql+psycopg2://", 1
        ),
        HOME_VARIABLE: str(settings.home),
        # Dagster's connections have no timeout of their own: a server that hangs would hang its processes, too.
        "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS),
    }
    if config_file().is_file():
        variables[CONFIG_FILE_VARIABLE] = str(config_file())
    return variables
