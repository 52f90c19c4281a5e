"""Runs that update many symbols one after the other: new bars, what is built from them, its checks, its publication.

A run of its own for each symbol takes seconds to start and writes a hundred events; here a symbol writes the events of
its assets and checks only. Each symbol is locked, checked and published by itself: one that fails leaves the others as
they are, and makes the run fail at its end.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pipelines.orchestration.jobs import BUILT_ASSETS
from pipelines.orchestration.queues import Queue, queued
from pipelines.resources import SYMBOLS, DatabaseResource, ExchangeResource, SettingsResource, SymbolStep
from pipelines.storage.models.yardstick import stored_yardstick_due
from pipelines.storage.postgres.locks import hold_symbol_lock
from pipelines.storage.prices.progress import symbols_to_build

UPDATE_JOB = "update_symbols"
#: The runs of this job have it; dagster.yaml limits them to one per core of a small machine.
UPDATES_TAG = {"strikecast/updates": "symbols"}
RUNS_AT_A_TIME = 2
#: Fewer symbols are not worth the start of a second process; more would be lost with a worker.
SMALLEST_BATCH, LARGEST_BATCH = 4, 25
PRICES = "price_history"
#: Assets that are rebuilt weekly, unless they answer.
YARDSTICK_ASSETS = frozenset({"fingerprint", "lookup", "active_generation"})
#: As the options of Dagster's webserver, for a process that writes thousands of events: connections are kept.
POOL = {"statement_timeout": 60_000, "pool_recycle": 600, "max_overflow": 20}


class SymbolUpdates(dg.Config):
    """The symbols to update, and where their new bars come from: `exchange`, `ticks` or `files`; None: bars are stored.

    A symbol whose bars did not change since its newest generation is left as it is.
    """

    symbols: list[str]
    origin: str | None = None


#: Yields the events of an update, which Dagster stores at once: those that are only logged are lost when a step fails.
#: Returns what failed, one line each.
Steps = Generator[Any, None, list[str]]


@dataclass(frozen=True)
class _StepContext:
    """What an asset uses of Dagster's context."""

    partition_key: str
    run: dg.DagsterRun
    log: dg.DagsterLogManager


@dataclass(frozen=True)
class _Update:
    """One run: its steps in the order of their dependencies, and what they are given."""

    context: dg.OpExecutionContext
    steps: Mapping[str, SymbolStep]
    settings: SettingsResource
    database: DatabaseResource
    exchange: ExchangeResource
    origin: str | None

    def update(self, symbol: str) -> Steps:
        """Update one symbol; returns what failed, one line each."""
        try:
            with hold_symbol_lock(self.database.database, symbol, self.context.log.info):
                failed = [] if self.origin is None else (yield from self._make(symbol, [PRICES]))
                return failed or (yield from self._make(symbol, self._due(symbol)))
        except Exception as error:  # the other symbols are updated all the same; the run fails at its end
            self.context.log.exception(f"{symbol} is not updated")
            return [f"{symbol}: {error}"]

    def _due(self, symbol: str) -> list[str]:
        with self.database.transaction("updates") as connection:
            if not symbols_to_build(connection, [symbol]):
                self.context.log.info(f"{symbol}: its bars have not changed since its newest generation")
                return []
            due = stored_yardstick_due(connection, symbol, self.settings.values.model)
        if due is None:
            return [name for name in BUILT_ASSETS if name not in YARDSTICK_ASSETS]
        self.context.log.info(f"{symbol}: the models of moves are rebuilt: {due}")
        return BUILT_ASSETS

    def _make(self, symbol: str, names: Sequence[str]) -> Steps:
        """Make assets whose dependencies did not fail; returns the first failures, one line each."""
        missing: set[str] = set()
        failed = []
        for step in (self.steps[name] for name in names):
            if step.deps & missing:
                missing.add(step.asset)
                continue
            try:
                made = self._run(step, symbol)
            except Exception as error:  # as in Dagster, what does not depend on this asset is made all the same
                self.context.log.exception(f"{symbol}: {step.asset} failed")
                made, broken = None, [str(error)]
            else:
                broken = [] if made is None else [f"check {name} failed" for name in _broken(made)]
            if made is not None:
                yield from _events(step.asset, symbol, made)
            if made is None or broken:
                missing.add(step.asset)
                failed += [f"{symbol}: {step.asset}: {reason}" for reason in broken]
        return failed

    def _run(self, step: SymbolStep, symbol: str) -> Any:
        """The result of an asset; None when there is too little history for it."""
        context = _StepContext(symbol, self.context.run, self.context.log)
        resources = {"settings": self.settings, "database": self.database, "exchange": self.exchange}
        return step.run(context, resources, self._config(step.asset))

    def _config(self, asset: str) -> dict[str, Any]:
        if asset == PRICES:
            return {"origin": self.origin}
        return {"incremental": True} if asset in {"price_gap", "momentum"} else {}


def _events(asset: str, symbol: str, made: dg.MaterializeResult[Any]) -> Iterator[Any]:
    """What Dagster records of an asset that was made."""
    key = dg.AssetKey(asset)
    yield dg.AssetMaterialization(key, metadata=made.metadata, partition=symbol)
    for result in made.check_results or ():
        assert result.check_name is not None
        yield dg.AssetCheckEvaluation(
            key,
            result.check_name,
            result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
            blocking=result.severity is dg.AssetCheckSeverity.ERROR,
            partition=symbol,
        )


def _broken(made: dg.MaterializeResult[Any]) -> list[str]:
    """Names of the blocking checks that failed."""
    results = made.check_results or ()
    return [str(one.check_name) for one in results if one.severity is dg.AssetCheckSeverity.ERROR and not one.passed]


def update_job(steps: Mapping[str, SymbolStep]) -> dg.JobDefinition:
    """The job; `steps`: how each asset of a symbol is made."""

    @dg.op(out=dg.Out(dg.Nothing))
    def update(
        context: dg.OpExecutionContext,
        config: SymbolUpdates,
        settings: SettingsResource,
        database: DatabaseResource,
        exchange: ExchangeResource,
    ) -> Iterator[Any]:
        """Update symbols one after the other. Raises dg.Failure at the end when one failed."""
        context.instance.optimize_for_webserver(**POOL)
        run = _Update(context, steps, settings, database, exchange, config.origin)
        failed = []
        for symbol in config.symbols:
            failed += yield from run.update(symbol)
        if failed:
            raise dg.Failure("; ".join(failed))

    @dg.job(
        name=UPDATE_JOB,
        description="Update many symbols: store new bars, rebuild what depends on them, check it, publish it. The "
        "models of moves are rebuilt weekly unless they answer. Requested by `backfill` and `rebuild_what_changed`.",
        tags=UPDATES_TAG,
    )
    def updates() -> None:
        update()

    return updates


def update_requests(symbols: Sequence[str], origin: str | None = None, key: str | None = None) -> list[dg.RunRequest]:
    """One run per batch of symbols: as many as run at a time, unless they would be small or large.

    `key`: of the schedule's tick, None without one.
    """
    size = min(LARGEST_BATCH, max(SMALLEST_BATCH, -(-len(symbols) // RUNS_AT_A_TIME)))
    batches = [list(symbols[first : first + size]) for first in range(0, len(symbols), size)]
    return [
        dg.RunRequest(
            run_key=None if key is None else f"{key} {batch[0]}",
            run_config={"ops": {"update": {"config": {"symbols": batch, "origin": origin}}}},
            tags=queued(Queue.BUILDS if origin is None else Queue.IMPORTS),
        )
        for batch in batches
    ]


def symbols_in(runs: Iterable[dg.DagsterRun]) -> set[str]:
    """The symbols of runs of this job."""
    configs: Iterable[Any] = (run.run_config for run in runs)
    return {symbol for config in configs for symbol in config["ops"]["update"]["config"]["symbols"]}


def registered_symbols(instance: dg.DagsterInstance, settings: SettingsResource) -> list[str]:
    """Symbols with bars that are configured: the partition of a removed symbol stays, with its history."""
    assert SYMBOLS.name is not None
    return [symbol for symbol in instance.get_dynamic_partitions(SYMBOLS.name) if symbol in settings.values.symbols]
