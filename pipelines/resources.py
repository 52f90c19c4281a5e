"""What assets, jobs and sensors reach the outside through."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
from setproctitle import setproctitle

from pipelines.deployment import configured_database
from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.locks import hold_run_lock

#: One partition per symbol. Symbols are configuration; `strikecast` adds them to the Dagster instance.
SYMBOLS = dg.DynamicPartitionsDefinition(name="symbol")

#: What the title of a run's process begins with; its job and its id follow.
RUN_TITLE = "strikecast run "


def run_of_title(title: str) -> str | None:
    """The run whose process has a title; None of a process that is none."""
    words = title.removeprefix(RUN_TITLE).split()
    return words[1] if title.startswith(RUN_TITLE) and len(words) > 1 else None


class Strikecast(dg.ConfigurableResource[object]):
    """Settings and database of this deployment, read when a run needs them, not when code is loaded."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Strikecast"]:
        """For as long as a run uses this, its process says that it lives."""
        if context.run is None:
            yield self
            return
        if multiprocessing.parent_process() is not None:  # the run's own process, not a command's
            setproctitle(f"{RUN_TITLE}{context.run.job_name} {context.run.run_id}")
        with hold_run_lock(self.database(), context.run.run_id):
            yield self

    def settings(self) -> Settings:
        """Settings of this process. Raises SettingsError."""
        return load_settings()

    def database(self) -> Database:
        """The database that the settings name."""
        return configured_database(self.settings())

    @contextmanager
    def pipeline(self, application: str) -> Iterator[Connection]:
        """A connection that may build: one transaction, committed when left without an error."""
        with self.database().connect(application, Role.PIPELINE) as connection:
            yield connection

    def model_config_for(self, profile: str | None) -> ModelConfig:
        """The configured model, with another profile when one is named."""
        configured = self.settings().model
        if profile is None or Profile(profile) is configured.profile:
            return configured
        return replace(configured, profile=Profile(profile))


def price_paths(folder: Path | None, symbol: str) -> list[Path]:
    """A symbol's files in a folder of prices: `{symbol}_1m.*`, `{symbol}.*` or a folder `{symbol}`, by name."""
    if folder is None or not folder.is_dir():
        return []
    stems = {symbol.lower(), f"{symbol.lower()}_1m"}
    return sorted(path for path in folder.iterdir() if path.name.split(".")[0].lower() in stems)
