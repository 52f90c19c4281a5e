"""Provide what a task needs: a running server, a current schema, and a Dagster instance."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pipelines.atomic_files import atomic_write
from pipelines.errors import SettingsError
from pipelines.log import Log
from pipelines.settings import CONFIG_FILE_VARIABLE, HOME_VARIABLE, Settings, config_file
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.schema import ensure_database, migrate, require_current

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


def restart_server_if_stopped(settings: Settings, log: Log) -> None:
    """Start the embedded server again if it has died; within `running_server`. Raises ServerUnavailableError."""
    if settings.database_url is None:
        EmbeddedServer(settings.embedded_dir, log).restart_if_stopped()


@contextmanager
def migrated_database(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """Run the server with a current schema. Raises ServerUnavailableError, SchemaVersionError.

    The embedded server is migrated if necessary; any other one only by `strikecast migrate` and `prepared_instance`.
    """
    with running_server(settings, log) as database:
        if settings.database_url is None:
            migrate(database)
        else:
            require_current(database)
        yield database


@contextmanager
def prepared_instance(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """Run the server with a current schema, Dagster's database, DAGSTER_HOME, and the environment for children."""
    with running_server(settings, log) as database:
        before = migrate(database)
        if not before.is_current:
            log(f"database schema {before.found or 'none'} -> {before.needed}")
        ensure_database(database, settings.dagster_database)
        write_dagster_home(settings)
        os.environ.update(dagster_environment(settings, database))
        yield database


def dagster_environment(settings: Settings, database: Database) -> dict[str, str]:
    """Environment variables for Dagster's programs; one of them contains the database's password, if there is one."""
    variables = {
        "DAGSTER_HOME": str(settings.dagster_home),
        DAGSTER_URL_VARIABLE: database.url_for(settings.dagster_database).replace(
            "postgresql://", "postgresql+psycopg2://", 1
        ),
        HOME_VARIABLE: str(settings.home),
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
