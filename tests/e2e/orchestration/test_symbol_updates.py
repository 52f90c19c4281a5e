"""Runs of many symbols: what is built when prices change, what a failed symbol does to the others, what is logged."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import dagster as dg
import polars as pl
import pytest
from system import System

from assets import analytics
from pipelines.definitions import defs
from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK
from pipelines.errors import BuildError
from pipelines.orchestration.sensors import BUILD_ATTEMPTS, rebuild_what_changed
from pipelines.resources import default_resources
from pipelines.service.builds import write_synthetic_bars
from pipelines.service.job_runner import run_job
from pipelines.storage.models.generations import active_generation
from pipelines.storage.models.refit import CountsUpdate, update_counts
from pipelines.storage.postgres.connection import Connection, Role

QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}
MODELS = ("momentum", "standardised")


def update(instance: dg.DagsterInstance, *symbols: str) -> dg.ExecuteInProcessResult:
    config = {"ops": {"update": {"config": {"symbols": list(symbols)}}}, "loggers": QUIET}
    job = defs.resolve_job_def("update_symbols")
    return job.execute_in_process(run_config=config, instance=instance, raise_on_error=False)


def made(result: dg.ExecuteInProcessResult, symbol: str) -> set[str]:
    """Assets that a run materialized for a symbol."""
    events = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {one.asset_key.to_user_string() for one in events if one.partition == symbol}


def published(system: System, symbol: str) -> dict[str, int]:
    with system.database.connect("test", Role.READER) as connection:
        return {model: active_generation(connection, symbol, model) for model in MODELS}


def request(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=default_resources()) as context:
        found = rebuild_what_changed(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


@pytest.fixture(scope="module")
def eth_bars(system: System) -> list[Path]:
    """20 days of ETH that end three days after a week of it began; an hour more; five days more."""
    offset = crc32(b"ETH") % 7 * MINUTES_PER_DAY
    now = int(datetime.now(UTC).timestamp()) // 60
    begun = (now - 14 * MINUTES_PER_DAY + offset) // MINUTES_PER_WEEK * MINUTES_PER_WEEK - offset
    end = datetime.fromtimestamp((begun + 8 * MINUTES_PER_DAY) * 60, UTC)
    whole = pl.read_parquet(write_synthetic_bars("ETH", 25, 5, end, system.home / "whole.parquet"))
    at, paths = pl.col("timestamp"), []
    first, second = end - timedelta(days=5), end - timedelta(days=5) + timedelta(hours=1)
    for name, part in (
        ("first", whole.filter(at < first)),
        ("hour", whole.filter((at >= first) & (at < second))),
        ("days", whole.filter(at >= second)),
    ):
        part.write_parquet(system.home / f"{name}.parquet")
        paths.append(system.home / f"{name}.parquet")
    return paths


def ingest(path: Path) -> None:
    run_job("ingest_prices", "ETH", {"price_history": {"paths": [str(path)]}})


def test_new_prices_rebuild_what_serves_and_weekly_the_models_of_moves(
    in_system: System, instance: dg.DagsterInstance, eth_bars: list[Path]
) -> None:
    first, hour, days = eth_bars
    assert isinstance(request(instance, None), dg.SkipReason)
    ingest(first)
    wanted = request(instance, None)
    assert isinstance(wanted, dg.SensorResult)
    assert [one.run_config for one in wanted.run_requests or ()] == [
        {"ops": {"update": {"config": {"symbols": ["ETH"], "origin": None}}}}
    ]

    everything = update(instance, "ETH", "BTC")
    assert everything.success
    assert {"fingerprint", "lookup", "active_generation", "active_standardised_generation"} <= made(everything, "ETH")
    assert not made(everything, "BTC"), "its bars have not changed"
    assert isinstance(request(instance, wanted.cursor), dg.SkipReason)

    before = published(in_system, "ETH")
    ingest(hour)
    daily = update(instance, "ETH")
    assert daily.success
    assert made(daily, "ETH") == {
        "price_gap",
        "momentum",
        "volatility",
        "standardised_fingerprint",
        "standardised_lookup",
        "active_standardised_generation",
    }
    after = published(in_system, "ETH")
    assert after["momentum"] == before["momentum"]
    assert after["standardised"] > before["standardised"]

    ingest(days)
    weekly = update(instance, "ETH")
    assert weekly.success, "momentum by increments is that of all bars, or the fingerprint would refuse it"
    assert published(in_system, "ETH")["momentum"] > before["momentum"]


def test_a_daily_update_logs_a_symbol_in_under_40_kb(instance: dg.DagsterInstance) -> None:
    _, daily, _ = instance.get_runs(dg.RunsFilter(job_name="update_symbols"), limit=3)
    events = instance.all_logs(daily.run_id)
    kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    of_assets = [len(dg.serialize_value(event)) for event in events if event.dagster_event_type in kinds]
    assert len(of_assets) == 6 + 8
    assert sum(of_assets) < 40_000
    assert sum(len(dg.serialize_value(event)) for event in events) - sum(of_assets) < 15_000, "once per run"


def test_the_ui_has_a_check_result_for_each_symbol(instance: dg.DagsterInstance) -> None:
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("standardised_lookup"), "cells_complete"), limit=1
    )
    assert [(one.partition, one.status.value) for one in records] == [("ETH", "SUCCEEDED")]


def test_a_symbol_that_fails_leaves_the_others_and_is_tried_once_more(
    in_system: System, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("BTC", "ETH"):
        path = write_synthetic_bars(
            symbol, 1, 9, datetime.now(UTC) - timedelta(days=90), in_system.home / "more.parquet"
        )
        run_job("ingest_prices", symbol, {"price_history": {"paths": [str(path)]}})

    def fail_btc(connection: Connection, symbol: str) -> CountsUpdate:
        if symbol == "BTC":
            raise BuildError("BTC: made to fail")
        return update_counts(connection, symbol)

    monkeypatch.setattr(analytics, "update_counts", fail_btc)
    before, cursor = {symbol: published(in_system, symbol) for symbol in ("BTC", "ETH")}, None
    result = update(instance, "BTC", "ETH")
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.error is not None
    assert failure.error.message.strip().endswith("Failure: BTC: standardised_fingerprint: BTC: made to fail")
    after = {symbol: published(in_system, symbol) for symbol in ("BTC", "ETH")}
    assert after["BTC"]["standardised"] == before["BTC"]["standardised"]
    assert after["ETH"]["standardised"] > before["ETH"]["standardised"]
    assert "standardised_lookup" not in made(result, "BTC")
    assert "active_generation" in made(result, "BTC"), "what does not depend on the failed asset is built"

    for attempt in range(1, BUILD_ATTEMPTS + 1):
        wanted = request(instance, cursor)
        assert isinstance(wanted, dg.SensorResult)
        assert wanted.cursor is not None
        cursor = wanted.cursor
        assert [count for _, count in json.loads(cursor).values()] == [attempt]
    assert isinstance(request(instance, cursor), dg.SkipReason)
