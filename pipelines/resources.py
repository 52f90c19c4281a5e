"""Resources of assets, jobs and sensors: settings, database, exchange; and what their metadata shares.

Fields override what the settings say; without them each reads the settings once, when a run or a sensor tick begins.
"""

import multiprocessing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr
from setproctitle import setproctitle

from pipelines.configuration.sections import ExchangeSettings
from pipelines.deployment import configured_database
from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.locks import hold_run_lock

#: One partition per symbol. Symbols are configuration; `strikecast` adds them to the Dagster instance.
SYMBOLS = dg.DynamicPartitionsDefinition(name="symbol")

#: The code location, under `strikecast up`, `dagster dev` and `dg`; workspace.yaml and pyproject.toml state it, too.
LOCATION = "strikecast"
#: The only repository of a location that is one `Definitions`.
REPOSITORY = "__repository__"

#: Beginning of the title of a run's process; its job and its id follow.
RUN_TITLE = "strikecast run "


def run_of_title(title: str) -> str | None:
    """The id of the run whose process has this title; None for any other process."""
    words = title.removeprefix(RUN_TITLE).split()
    return words[1] if title.startswith(RUN_TITLE) and len(words) > 1 else None


class SettingsResource(dg.ConfigurableResource[object]):
    """The validated settings. Raises SettingsError when a run begins with settings that are not valid."""

    #: Data folder; by default STRIKECAST_HOME, or the platform's data folder.
    home: str | None = None
    _settings: Settings = PrivateAttr()

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Read the settings once."""
        del context
        settings = load_settings()
        self._settings = settings if self.home is None else settings.model_copy(update={"home": Path(self.home)})

    @property
    def values(self) -> Settings:
        """The settings of this run or tick."""
        return self._settings

    def model_for(self, profile: str | None) -> ModelConfig:
        """The configured model, with another profile when one is named."""
        model = self.values.model
        return model if profile is None else replace(model, profile=Profile(profile))


class DatabaseResource(dg.ConfigurableResource[object]):
    """The deployment's PostgreSQL; a run that uses it holds an advisory lock that marks its process as alive."""

    settings: dg.ResourceDependency[SettingsResource]
    #: URL of a PostgreSQL server; by default STRIKECAST_DATABASE_URL, or the embedded server.
    url: str | None = None
    _database: Database = PrivateAttr()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["DatabaseResource"]:
        """Hold the locks of the run and of its symbol while the run lasts."""
        found = configured_database(self.settings.values)
        self._database = found if self.url is None else replace(found, url=self.url)
        if context.run is None:
            yield self
            return
        if multiprocessing.parent_process() is not None:  # the run's own process, not a command's
            setproctitle(f"{RUN_TITLE}{context.run.job_name} {context.run.run_id}")
        symbol = context.run.tags.get("dagster/partition")
        log = context.log.info if context.log else lambda _: None
        with hold_run_lock(self._database, context.run.run_id, symbol, log):
            yield self

    @property
    def database(self) -> Database:
        """Where the database is, and its timeouts."""
        return self._database

    @contextmanager
    def transaction(self, application: str) -> Iterator[Connection]:
        """A connection of the pipeline role; committed when left without an error, rolled back otherwise."""
        with self._database.connect(application, Role.PIPELINE) as connection:
            yield connection


class ExchangeResource(dg.ConfigurableResource[object]):
    """The exchange that backfills read."""

    settings: dg.ResourceDependency[SettingsResource]
    #: Name of a ccxt exchange; by default the configured one.
    name: str | None = None

    @property
    def exchange(self) -> ExchangeSettings:
        """How to reach the exchange."""
        configured = self.settings.values.exchange
        return configured if self.name is None else configured.model_copy(update={"name": self.name})


def price_paths(folder: Path | None, symbol: str) -> list[Path]:
    """A symbol's files in a folder of prices: `{symbol}_1m.*`, `{symbol}.*` or a folder `{symbol}`, by name."""
    if folder is None or not folder.is_dir():
        return []
    stems = {symbol.lower(), f"{symbol.lower()}_1m"}
    return sorted(path for path in folder.iterdir() if path.name.split(".")[0].lower() in stems)


def default_resources() -> dict[str, dg.ConfigurableResource[object]]:
    """Resources by their keys, all configured by the settings."""
    settings = SettingsResource()
    return {
        "settings": settings,
        "database": DatabaseResource(settings=settings),
        "exchange": ExchangeResource(settings=settings),
    }


def planning_time(run: dg.DagsterRun) -> datetime:
    """The instant that a maintenance plan is made for, aware UTC: the schedule's tick, but never one in the future."""
    now = datetime.now(UTC)
    scheduled = run.tags.get("dagster/scheduled_execution_time")
    return now if scheduled is None else min(now, datetime.fromisoformat(scheduled).astimezone(UTC))


def markdown_table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> dg.MarkdownMetadataValue:
    """A table as metadata; `none` without rows."""
    lines = [" | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) for row in rows]
    if not lines:
        return dg.MetadataValue.md("none")
    return dg.MetadataValue.md("\n".join([" | ".join(header), "|".join("---" for _ in header), *lines]))
