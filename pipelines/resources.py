"""Resources of assets, jobs and sensors: settings, database, exchange; and what their metadata shares.

Fields override what the settings say; without them each reads the settings once, when a run or a sensor tick begins.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from pydantic import PrivateAttr
from setproctitle import setproctitle

from pipelines.configuration.sections import ExchangeSettings
from pipelines.deployment import configured_database, read_database
from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.processes.priority import raise_backend_niceness, raise_niceness
from pipelines.processes.run_titles import RUN_TITLE
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.locks import hold_run_lock, require_run_lock
from pipelines.storage.postgres.reading import read

Result = TypeVar("Result")

#: One partition per symbol. Symbols are configuration; `strikecast` adds them to the Dagster instance.
SYMBOLS = dg.DynamicPartitionsDefinition(name="symbol")

#: Tags of a run that was handed to workers: digest of the code, schema and digest of the settings that its worker must
#: have; and the worker that executes it, empty until one does.
CODE_TAG, SCHEMA_TAG, SETTINGS_TAG = "strikecast/code", "strikecast/schema", "strikecast/settings"
WORKER_TAG = "strikecast/worker"
#: In the process of such a run: the server's process of the connection that holds the run's lock.
RUN_LOCK_VARIABLE = "STRIKECAST_RUN_LOCK"
#: Tag of such a run: whether the broker has its message; and its values.
MESSAGE_TAG = "strikecast/message"
SENT, UNSENT = "sent", "not sent"
#: Dagster's tags of a partition, which is a symbol, and of how often a run is retried.
SYMBOL_TAG, MAX_RETRIES_TAG = "dagster/partition", "dagster/max_retries"
#: The job of live sessions, the only one whose runs keep the usual priority.
LIVE_JOB = "live_refresh"


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
    #: Of a run on a worker: its id, and the server's process that holds its lock.
    _fence: tuple[str, int] | None = PrivateAttr(default=None)

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
            if context.run.job_name != LIVE_JOB:
                raise_niceness()
        if holder := os.environ.get(RUN_LOCK_VARIABLE):
            self._fence = (context.run.run_id, int(holder))
        symbol = context.run.tags.get(SYMBOL_TAG)
        log = context.log.info if context.log else lambda _: None
        with hold_run_lock(self._database, context.run.run_id, symbol, log):
            yield self

    @property
    def database(self) -> Database:
        """Where the database is, and its timeouts."""
        return self._database

    @contextmanager
    def transaction(self, application: str) -> Iterator[Connection]:
        """A connection of the pipeline role; committed when left without an error, rolled back otherwise.

        Its server process has a low priority, so that live sessions do not wait for it. A run on a worker that has
        lost its lock commits nothing more: another may have taken its place. Raises SupersededError.
        """
        with self._database.connect(application, Role.PIPELINE) as connection:
            raise_backend_niceness(connection)
            yield connection
            if self._fence is not None:
                require_run_lock(connection, *self._fence)

    def read(self, application: str, call: Callable[[Connection], Result]) -> Result:
        """Call with a reader's connection: to the replica of `read_url` once it has all that is committed now, if any.

        Raises ReplicaLagError where it does not have that in time; the primary is no substitute for it.
        """
        replica = read_database(self.settings.values, needed_from=self._database)
        return read(replica or self._database, application, call)


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


@dataclass(frozen=True)
class SymbolStep:
    """How an asset with one partition per symbol is made; for runs of many symbols.

    `compute`: as in the asset, called with something that has `partition_key`, `run` and `log`, and with a config and
    resources by name; `deps`: assets that it reads.
    """

    asset: str
    compute: Callable[..., Any]
    deps: frozenset[str]

    def run(
        self, context: Any, resources: Mapping[str, Any], config: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any] | None:
        """Make the asset of one symbol; None when it has too little history. Raises what the asset raises."""
        parameters = signature(self.compute).parameters
        given = {name: value for name, value in resources.items() if name in parameters}
        if "config" in parameters:
            given["config"] = parameters["config"].annotation(**config)
        made = self.compute(context, **given)
        return made if isinstance(made, dg.MaterializeResult) else next(iter(made), None)


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
