"""The running system around a task: a server that answers, a current schema, Dagster's home."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
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
    """The database that the settings name; the embedded one when they name none."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
    else:
        url = EmbeddedServer(settings.embedded_dir).url()
    return Database(url, settings.statement_timeout_seconds, settings.lock_timeout_seconds)


@contextmanager
def running_server(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """A server that answers, for as long as the context lasts; starts the embedded one where it is the one to use.

    Raises ServerUnavailableError.
    """
    database = configured_database(settings)
    if settings.database_url is not None:
        yield database
        return
    with EmbeddedServer(settings.embedded_dir, log).running():
        yield database


def restart_server_if_stopped(settings: Settings, log: Log) -> None:
    """Start the embedded server again if it died; inside of `running_server`. Raises ServerUnavailableError."""
    if settings.database_url is None:
        EmbeddedServer(settings.embedded_dir, log).restart_if_stopped()


@contextmanager
def migrated_database(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """A running server whose schema is this code's, migrated if need be on the embedded one.

    A server of the user's own is migrated by `strikecast migrate` or `up` only; raises SchemaVersionError otherwise.
    """
    with running_server(settings, log) as database:
        if settings.database_url is None:
            migrate(database)
        else:
            require_current(database)
        yield database


@contextmanager
def prepared_instance(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """All that Dagster needs: server, schema, Dagster's database, its home folder and the environment for children."""
    with running_server(settings, log) as database:
        found = migrate(database)
        if not found.is_current:
            log(f"database schema {found.found or 'none'} -> {found.needed}")
        ensure_database(database, settings.dagster_database)
        write_dagster_home(settings)
        os.environ.update(dagster_environment(settings, database))
        yield database


def dagster_environment(settings: Settings, database: Database) -> dict[str, str]:
    """Variables that let any Dagster program use this system; one holds the database's password, if it has one."""
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
    """Put dagster.yaml into DAGSTER_HOME, replacing an older one in one step."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    if (settings.dagster_home / "pyproject.toml").exists():
        raise SettingsError(f"{settings.dagster_home} is a project: DAGSTER_HOME must lie outside of it")
    with atomic_write(settings.dagster_home / "dagster.yaml") as partial:
        partial.write_text(_instance_configuration(), encoding="utf-8")


def _instance_configuration() -> str:
    """dagster.yaml: beside this module in an installed wheel, at the top of the repository otherwise."""
    packaged = resources.files("pipelines").joinpath("dagster.yaml")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[1] / "dagster.yaml").read_text(encoding="utf-8")
