"""Provide what a task needs: a running server, a current schema, the environment of Dagster's programs."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pipelines.atomic_files import atomic_write
from pipelines.configuration.settings_file import CONFIG_FILE_VARIABLE, HOME_VARIABLE, config_file
from pipelines.errors import NoDataError, SettingsError
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import CONNECT_TIMEOUT_SECONDS, Database
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.schema import migrate, require_current

DAGSTER_URL_VARIABLE = "STRIKECAST_DAGSTER_URL"


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


def dagster_environment(settings: Settings, database: Database) -> dict[str, str]:
    """Environment variables for Dagster's programs; one of them contains the database's password, if there is one."""
    variables = {
        "DAGSTER_HOME": str(settings.dagster_home),
        DAGSTER_URL_VARIABLE: database.url_for(settings.dagster_database).replace(
            "postgresql://", "postgresql+psycopg2://", 1
        ),
        HOME_VARIABLE: str(settings.home),
        # Dagster's connections have no timeout of their own: a server that hangs would hang its processes, too.
        "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS),
    }
    if config_file().is_file():
        variables[CONFIG_FILE_VARIABLE] = str(config_file())
    return variables


def write_dagster_home(settings: Settings) -> None:
    """Write dagster.yaml to DAGSTER_HOME. Raises SettingsError when that folder is a project."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    if (settings.dagster_home / "pyproject.toml").exists():
        raise SettingsError(f"{settings.dagster_home} is a project: DAGSTER_HOME must lie outside of it")
    here = Path(__file__).parent  # the wheel contains dagster.yaml in this folder, a checkout in the one above
    source = next(path for path in (here / "dagster.yaml", here.parent / "dagster.yaml") if path.is_file())
    with atomic_write(settings.dagster_home / "dagster.yaml") as partial:
        partial.write_bytes(source.read_bytes())
