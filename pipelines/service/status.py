"""What `strikecast status` tells."""

from typing import Any

from pipelines.service.supervisor import ui_url
from pipelines.settings import Settings, config_file
from pipelines.storage.live.sessions import latest_session, symbol_status
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.schema import read_version


def shown_settings(settings: Settings) -> dict[str, Any]:
    """All settings as plain values; the database's URL without its password."""
    shown: dict[str, Any] = settings.model_dump(mode="json", exclude={"database_url", "model"})
    shown["output"] = str(settings.output_dir)
    shown["database"] = (
        "embedded" if settings.database_url is None else Database(settings.database_url.get_secret_value()).describe()
    )
    shown["model"] = settings.model.as_json()
    shown["config_file"] = str(config_file()) if config_file().is_file() else f"{config_file()} (does not exist)"
    return shown


def read_status(settings: Settings, database: Database) -> dict[str, Any]:
    """State of the database, of each symbol and of the live session. Raises ServerUnavailableError."""
    schema = read_version(database)
    state: dict[str, Any] = {
        "settings": shown_settings(settings),
        "ui": ui_url(settings),
        "schema": {"found": schema.found, "needed": schema.needed},
        "symbols": [],
        "live_session": None,
    }
    if schema.is_current:
        with database.connect("status", Role.READER) as connection:
            state["symbols"] = symbol_status(connection, list(settings.symbols))
            state["live_session"] = latest_session(connection)
    return state
