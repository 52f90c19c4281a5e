"""The state that `strikecast status` prints."""

from typing import Any

from pipelines.processes.pid_file import running_ui_url
from pipelines.settings import Settings, config_file
from pipelines.storage.live.sessions import latest_session, symbol_status
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.schema import read_version


def describe_settings(settings: Settings) -> dict[str, Any]:
    """All settings as plain values; the database's URL without its password."""
    values: dict[str, Any] = settings.model_dump(mode="json", exclude={"database_url", "model"})
    url = settings.database_url
    values["output"] = str(settings.output_dir)
    values["database"] = "embedded" if url is None else Database(url.get_secret_value()).describe()
    values["model"] = settings.model.as_json()
    values["config_file"] = f"{config_file()}{'' if config_file().is_file() else ' (does not exist)'}"
    return values


def read_status(settings: Settings, database: Database) -> dict[str, Any]:
    """State of the database, of each symbol and of the live session. Raises ServerUnavailableError."""
    schema = read_version(database)
    state: dict[str, Any] = {
        "settings": describe_settings(settings),
        "ui": running_ui_url(settings),
        "schema": {"found": schema.found, "needed": schema.needed},
        "symbols": [],
        "live_session": None,
    }
    if schema.is_current:
        with database.connect("status", Role.READER) as connection:
            state["symbols"] = symbol_status(connection, list(settings.symbols))
            state["live_session"] = latest_session(connection)
    return state
