"""The daily backfill of markets through Dagster and the command, against a local exchange."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from market_messages import candle_2026, event, market_2026
from market_server import PREFIX, MarketServer, serving_in_thread
from schedules import ticked
from system import System

from pipelines.service.instance import register_symbols
from pipelines.service.job_runner import run_job
from pipelines.storage.postgres.connection import Role

EVENT = "KXBTCD-E2E"
SCHEDULE, AT = "daily_market_backfill", datetime(2026, 1, 4, 0, 50, tzinfo=UTC)
CLOSE = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
ASSETS = {"market", "market_fee", "market_candle"}
CHECKS = {
    "closed_markets_are_settled",
    "results_match_the_index",
    "results_of_an_event_agree",
    "ladder_monotone",
    "candles_not_crossed",
    "minutes_have_candles",
    "quotes_not_crossed",
    "quotes_are_recent",
    "partitions_are_ahead",
}


@pytest.fixture(autouse=True)
def _no_markets(in_system: System) -> None:
    with in_system.database.connect("test", None) as connection:
        connection.execute("TRUNCATE market_data.market, market_data.market_candle, market_data.market_fee CASCADE")


@pytest.fixture
def exchange(in_system: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[MarketServer]:
    """An exchange with one settled event of two strikes, which the settings select."""
    life = {"open_time": (CLOSE - timedelta(hours=1)).isoformat(), "close_time": CLOSE.isoformat()}
    rows = [
        market_2026(strike, EVENT, **life, status="finalized", result=result, expiration_value="118600.00")
        for strike, result in (("118499.99", "yes"), ("118749.99", "no"))
    ]
    server = MarketServer(events=[event(rows, EVENT)], rows_per_page=1000)
    server.series["KXBTCD"] = {"ticker": "KXBTCD", "fee_type": "quadratic", "fee_multiplier": 1}
    for row in rows:
        ends = (int(CLOSE.timestamp()) - 60 * left for left in range(60))
        server.candles[row["ticker"]] = [candle_2026(end) for end in ends]
    with serving_in_thread(server):
        monkeypatch.setenv("STRIKECAST_MARKETS__SOURCE", "kalshi")
        monkeypatch.setenv("STRIKECAST_MARKETS__URL", f"{server.url}{PREFIX}")
        yield server


def checks(instance: dg.DagsterInstance) -> dict[str, bool]:
    """Results of the newest run's checks."""
    [record] = instance.get_run_records(dg.RunsFilter(job_name="backfill_markets"), limit=1)
    logs = instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.get_dagster_event().asset_check_evaluation_data for entry in logs]
    return {one.check_name: one.passed for one in found}


def test_results_fees_and_candles_are_stored_and_checked(
    exchange: MarketServer, in_system: System, instance: dg.DagsterInstance
) -> None:
    found = run_job("backfill_markets", "BTC")
    assert set(found) == ASSETS
    assert (found["market"]["source"], found["market"]["listed"], found["market"]["settled"]) == ("kalshi", 2, 2)
    assert found["market"]["dagster/row_count"] == 2
    assert found["market_fee"]["periods"] == 1
    assert (found["market_candle"]["fetched"], found["market_candle"]["inserted"]) == (2, 120)
    assert (found["market_candle"]["minutes"], found["market_candle"]["stored"]) == (120, 120)
    assert "dagster/row_count" not in found["market_candle"], "years of candles are not counted each night"
    lineage = found["market_candle"]["dagster/column_lineage"]
    assert {dep.column_name for dep in lineage.deps_by_column["yes_ask_close"]} == {"no_bid"}
    assert checks(instance) == dict.fromkeys(CHECKS, True)
    again = run_job("backfill_markets", "BTC")["market_candle"]
    assert (again["fetched"], again["inserted"], again["stored"]) == (0, 0, 120)


def test_minutes_that_are_missing_warn(exchange: MarketServer, in_system: System, instance: dg.DagsterInstance) -> None:
    for candles in exchange.candles.values():
        del candles[:9]
    run_job("backfill_markets", "BTC")
    assert {name for name, passed in checks(instance).items() if not passed} == {"minutes_have_candles"}


def test_contradicting_results_fail_their_check_and_candles_are_fetched(
    exchange: MarketServer, in_system: System, instance: dg.DagsterInstance
) -> None:
    for row, result in zip(exchange.markets(), ("no", "yes"), strict=True):
        row |= {"result": result, "expiration_value": ""}
    assert run_job("backfill_markets", "BTC")["market_candle"]["inserted"] == 120
    assert {name for name, passed in checks(instance).items() if not passed} == {"results_of_an_event_agree"}


def test_without_a_source_the_schedule_skips_and_a_run_succeeds(
    in_system: System, instance: dg.DagsterInstance
) -> None:
    register_symbols(instance, ["BTC"])
    assert ticked(instance, SCHEDULE, AT) == "no source of markets: markets.source is none"
    found = run_job("backfill_markets", "BTC")
    assert {name: metadata["source"] for name, metadata in found.items()} == dict.fromkeys(ASSETS, "none")


def test_the_schedule_requests_a_run_per_symbol(exchange: MarketServer, instance: dg.DagsterInstance) -> None:
    register_symbols(instance, ["BTC"])
    assert "2026-01-04T00:50:00+00:00 BTC" in ticked(instance, SCHEDULE, AT)


def test_the_command_prints_what_was_done_and_what_is_missing(exchange: MarketServer, in_system: System) -> None:
    exchange.candles[f"{EVENT}-T118749.99"] = []
    source = {"STRIKECAST_MARKETS__SOURCE": "kalshi", "STRIKECAST_MARKETS__URL": f"{exchange.url}{PREFIX}"}
    printed = in_system.invoke("markets", "backfill", "--symbol", "BTC", **source)
    assert printed.returncode == 0, printed.stderr
    assert "candles inserted   60\n" in printed.stdout
    assert "missing 60 minutes of 1 markets: the exchange has no candle, and no quotes were stored" in printed.stdout
    result = in_system.invoke("markets", "backfill", "--symbol", "BTC", "--json", **source)
    report = json.loads(result.stdout)
    [symbol] = report["symbols"]
    assert report["failures"] == []
    assert (symbol["symbol"], symbol["source"], symbol["series"]) == ("BTC", "kalshi", ["KXBTCD"])
    assert (symbol["markets"]["listed"], symbol["candles"]["fetched"]) == (2, 0)
    assert symbol["candles"]["missing"] == [
        {"reason": "the exchange has no candle, and no quotes were stored", "markets": 1, "minutes": 60}
    ]
    with in_system.database.connect("test", Role.READER) as connection:
        assert connection.execute("SELECT count(*) FROM market_data.market_candle").fetchone() == (60,)


def test_the_command_fails_with_what_failed(exchange: MarketServer, in_system: System) -> None:
    without = in_system.invoke("markets", "backfill")
    assert without.returncode == 1
    assert without.stderr.strip() == "strikecast: markets.source is none: set it to kalshi or simulated"
    gone = {"STRIKECAST_MARKETS__SOURCE": "kalshi", "STRIKECAST_MARKETS__URL": f"{exchange.url}/other"}
    failed = in_system.invoke("markets", "backfill", "--symbol", "BTC", "--json", **gone)
    assert failed.returncode == 1
    report = json.loads(failed.stdout)
    assert report["symbols"][0]["markets"] is None
    assert [one for one in report["failures"] if "markets of KXBTCD" in one]
    assert "strikecast: BTC: " in failed.stderr
