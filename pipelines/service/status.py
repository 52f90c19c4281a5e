"""The state that `strikecast status` prints."""

from datetime import UTC, datetime
from typing import Any

from pipelines.configuration.settings_file import config_file
from pipelines.deployment import inspect_replica, read_database
from pipelines.domain.monitoring.audit.document import server_release
from pipelines.live.probability_reader import read_view
from pipelines.live.strike_table_reader import read_table, table_names
from pipelines.processes.pid_file import running_urls
from pipelines.protection.redaction import redact
from pipelines.settings import Settings
from pipelines.storage.live.sessions import latest_session, symbol_status
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import embedded_wheel
from pipelines.storage.postgres.locks import locks_are_restricted
from pipelines.storage.postgres.schema import read_version


def describe_settings(settings: Settings) -> dict[str, Any]:
    """All settings as plain values; the database's URL without its password."""
    values: dict[str, Any] = settings.model_dump(mode="json", exclude={"database_url", "read_url", "model"})
    url = settings.database_url
    values["exchange"]["urls"] = {name: redact(url.get_secret_value()) for name, url in settings.exchange.urls.items()}
    values["backup"]["copy_to"] = settings.backup.copy_to and redact(settings.backup.copy_to)
    values["output"] = str(settings.output_dir)
    values["database"] = "embedded" if url is None else Database(url.get_secret_value()).describe()
    values["read_database"] = None if (source := read_database(settings)) is None else source.describe()
    values["model"] = settings.model.as_json()
    values["config_file"] = f"{config_file()}{'' if config_file().is_file() else ' (does not exist)'}"
    return values


def read_status(settings: Settings, database: Database) -> dict[str, Any]:
    """State of the system, of each symbol and of the live session. Raises ServerUnavailableError."""
    schema = read_version(database)
    state: dict[str, Any] = {
        "settings": describe_settings(settings),
        "up": running_urls(settings),
        "schema": {"found": schema.found, "needed": schema.needed},
        "symbols": [],
        "live_session": None,
    }
    state["server"] = _server(settings, database)
    state |= replica_state(settings, database)
    if schema.is_current:
        with database.connect("status", Role.READER) as connection:
            rows = symbol_status(connection, list(settings.symbols))
            state["live_session"] = latest_session(connection)
        now = datetime.now(UTC)
        state["symbols"] = [
            {
                **row,
                "file": _file(settings, row["symbol"], now),
                "strike_tables": [
                    read_table(settings.output_dir, name, now).summary
                    for name in table_names(settings.series)
                    if name.symbol == row["symbol"]
                ],
            }
            for row in rows
        ]
    return state


def replica_state(settings: Settings, database: Database | None = None) -> dict[str, Any]:
    """The state of `read_url` as `replica`, compared with the primary where that is known; nothing when it is unset."""
    report = inspect_replica(settings, database)
    return {} if report is None else {"replica": report.facts}


def _server(settings: Settings, database: Database) -> dict[str, Any]:
    """The server's release, the wheel of the embedded one, and whether only strikecast may take advisory locks."""
    with database.connect("status", None) as connection:
        return {
            "release": server_release(connection.info.server_version),
            "embedded": embedded_wheel() if settings.database_url is None else None,
            "locks_restricted": locks_are_restricted(connection),
        }


def _file(settings: Settings, symbol: str, now: datetime) -> dict[str, Any]:
    view = read_view(settings.output_dir, symbol, now)
    return {"status": view.status, "reasons": view.reasons, "file_age_seconds": view.file_age_seconds}
