"""Backtests of stored markets: what is read, assumed, stored and refused, and how variants are counted."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter
from real_data import real_data
from recorded_markets import recording
from stored_markets import CandleRow, market_event, store_markets
from synthetic_prices import END_MINUTE, ingest_bars, synthetic_bars

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.rules import DeskRules, Exit, Served
from pipelines.domain.desk.state import DeskState
from pipelines.domain.evaluation.desk_backtest import Assumptions, DeskRun
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus
from pipelines.domain.markets.fees import FeePeriod, FeeSchedule, FeeTerms, FeeType
from pipelines.domain.prices.bars import instant_of_minute
from pipelines.errors import NoDataError, SettingsError
from pipelines.evaluation.desk_runs import (
    ReplayedSeries,
    SeriesBacktest,
    backtest,
    changed_rules,
    check_backtests,
    count_variants,
    read_backtest_inputs,
    replay_series,
    store_backtest,
)
from pipelines.ingestion.ingest import ingest
from pipelines.ingestion.markets.importing import import_recording
from pipelines.storage.markets.fees import store_fees
from pipelines.storage.postgres.connection import Database, Role

BARS = synthetic_bars(40, seed=7)
LAST = instant_of_minute(END_MINUTE).replace(minute=0)
POOL = DeskRules(probability=Served.POOL)
ASSUMED = Assumptions()


@pytest.fixture(scope="module", autouse=True)
def _bars(database: Database, tmp_path_factory: pytest.TempPathFactory) -> None:
    ingest_bars(database, "BTC", BARS, tmp_path_factory.mktemp("bars"))


@pytest.fixture(autouse=True)
def _no_markets(database: Database) -> Iterator[None]:
    yield
    with database.connect("test", None) as connection:
        connection.execute(
            "TRUNCATE market_data.market, market_data.market_candle, market_data.market_quote, market_data.market_fee, "
            "analytics.desk_backtest CASCADE"
        )


def close_at(instant: datetime) -> Decimal:
    """The close of the bar that ends at an instant."""
    minute = int(instant.timestamp()) // 60 - 1
    return Decimal(f"{BARS.close[list(BARS.minutes).index(minute)]:.2f}")


def events(count: int, **options: Any) -> list[Market]:
    """Events of three markets each, the last of which closes with the bars."""
    closes = [LAST - timedelta(hours=hour) for hour in range(count)]
    return [
        one for at in closes for one in market_event(at, close_at(at - timedelta(hours=1)), close_at(at), **options)
    ]


def quoted(markets: list[Market]) -> list[CandleRow]:
    """A quote of each minute of the last hour at 30 and 33 cents, which the model finds too low now and then."""
    return [
        (number, one.closes_at - timedelta(minutes=left), Decimal("0.30"), Decimal("0.33"))
        for number, one in enumerate(markets)
        for left in range(1, 60)
    ]


def put(database: Database, markets: list[Market], **options: str) -> None:
    with database.connect("test", None) as connection:
        store_markets(connection, markets, quoted(markets), **options)


def run(
    database: Database,
    rules: DeskRules = POOL,
    **options: Any,
) -> tuple[list[SeriesBacktest], dict[tuple[str, str], str]]:
    with database.connect("test", Role.READER) as connection:
        inputs = read_backtest_inputs(connection, "BTC", ModelConfig(), **options)
    replayed, refused = replay_series(inputs, ModelConfig())
    return [backtest(one, rules, ASSUMED) for one in replayed], refused


def dumped(found: DeskRun) -> bytes:
    return TypeAdapter(DeskState).dump_json(found.state) + TypeAdapter(list[DeskEvent]).dump_json(list(found.events))


def test_stored_markets_are_traded_and_the_report_is_stored(database: Database) -> None:
    put(database, events(30))
    ((found,), refused) = run(database)
    assert refused == {}
    report = found.report
    assert (report.quotes, report.events, report.boards) == (30 * 3 * 59, 30, 30 * 59)
    assert report.trades > 10
    assert (report.unsettled, report.imbalance_usd) == (0, 0)
    assert [(check.failed, check.total) for check in check_backtests([found])] == [(0, report.signalled), (0, 1)]
    assert report.gain is not None
    assert report.gain.value == pytest.approx(float(report.gain_usd))
    with database.connect("test", Role.PIPELINE) as connection:
        number = store_backtest(connection, found, "a run")
        row = connection.execute(
            "SELECT variants, trades, gain_usd, gain_low_by_event_usd, rules->>'probability', report->'notes'->>0, "
            "dagster_run_id, quoted_until FROM analytics.desk_backtest WHERE desk_backtest_id = %s",
            [number],
        ).fetchone()
    assert report.gain.by_event is not None
    assert row == (
        1,
        report.trades,
        report.gain_usd,
        report.gain.by_event.low,
        "pool",
        "each quote shows 10 contracts: candles have no sizes",
        "a run",
        LAST - timedelta(minutes=1),
    )


def test_variants_of_the_same_quotes_are_counted_once_each(database: Database) -> None:
    put(database, events(6))
    put(database, events(3), exchange="simulated")

    def series(exchange: str = "kalshi", **options: Any) -> ReplayedSeries:
        with database.connect("test", Role.READER) as connection:
            inputs = read_backtest_inputs(connection, "BTC", ModelConfig(), **options)
        return next(one for one in replay_series(inputs, ModelConfig())[0] if one.exchange == exchange)

    def tried(of: ReplayedSeries, rules: DeskRules = POOL, assumed: Assumptions = ASSUMED) -> int:
        found = backtest(of, rules, assumed)
        with database.connect("test", Role.PIPELINE) as connection:
            before = count_variants(connection, found)
            store_backtest(connection, found)
            assert count_variants(connection, found) == before
        return before

    whole, noon = series(), LAST - timedelta(hours=2)
    assert tried(whole) == 1
    assert tried(whole) == 1
    assert tried(whole, replace(POOL, min_edge_usd=Decimal("0.020"))) == 1, "the same number"
    assert tried(whole, replace(POOL, min_edge_usd=Decimal("0.03"))) == 2
    assert tried(whole, POOL, Assumptions(Decimal(20))) == 3
    with database.connect("test", None) as connection:
        connection.execute("UPDATE analytics.desk_backtest SET model = 'former' WHERE variants = 3")
        assert count_variants(connection, backtest(whole, POOL, Assumptions(Decimal(20)))) == 4, "another champion"
        connection.execute("UPDATE analytics.desk_backtest SET model = %s", [whole.model])
    early, late = series(until=noon), series(since=noon)
    assert tried(early, replace(POOL, exit=Exit.EDGE)) == 4, "its quotes overlap with those of the whole"
    assert tried(late) == 3, "the variant of the earlier quotes is not among these"
    assert tried(series("simulated")) == 1


def test_fee_terms_are_those_of_the_event_then_of_the_series_then_the_usual_ones(database: Database) -> None:
    markets = events(4)
    put(database, markets)

    def fees() -> tuple[Decimal, list[str]]:
        ((found,), _) = run(database)
        return found.report.fees_usd, [note for note in found.notes if "fee terms" in note]

    usual, notes = fees()
    assert usual > 0
    assert notes == ["4 events without stored fee terms have the usual ones: quadratic, multiplier 1"]
    free, double = (FeeSchedule((FeePeriod(FeeTerms(FeeType.QUADRATIC, Decimal(each))),)) for each in (0, 2))
    with database.connect("test", None) as connection:
        store_fees(connection, "kalshi", "KXBTCD", free, datetime.now(UTC))
    assert fees() == (0, [])
    with database.connect("test", None) as connection:
        for event in {one.event_ticker for one in markets}:
            store_fees(connection, "kalshi", "KXBTCD", double, datetime.now(UTC), event)
    assert fees()[0] > usual


def test_voids_are_refunded_and_what_has_no_result_is_left_out_and_counted(database: Database) -> None:
    put(database, events(4))
    with database.connect("test", None) as connection:
        connection.execute("UPDATE market_data.market SET result = 'void' WHERE closes_at = %s", [LAST])
        connection.execute(
            "UPDATE market_data.market SET result = NULL, status = %s WHERE closes_at = %s",
            [MarketStatus.CLOSED, LAST - timedelta(hours=1)],
        )
        connection.execute(
            "UPDATE market_data.market SET result = CASE WHEN ticker LIKE '%%-0' THEN 'yes' ELSE 'no' END "
            "WHERE closes_at = %s",
            [LAST - timedelta(hours=2)],
        )
    ((found,), _) = run(database)
    assert found.left_out == {
        "markets without a final result": 3,
        "markets of events whose results contradict each other": 3,
        "quotes of markets that are left out": 6 * 59,
    }
    (refused,) = found.refused
    assert "no value of the index gives all its results" in refused
    assert found.report.events == 2
    voided = [trade for trade in found.desk.trades if trade.closes_at == LAST and trade.entry.filled]
    assert voided
    assert all(trade.gain_usd == -trade.fees_usd and trade.result is MarketResult.VOID for trade in voided)


def test_a_revised_result_changes_the_next_backtest(database: Database) -> None:
    put(database, events(3, offsets=(0,)))
    before = run(database)[0][0].report.gain_usd
    with database.connect("test", None) as connection:
        connection.execute(
            "UPDATE market_data.market SET result = CASE result WHEN 'yes' THEN 'no' ELSE 'yes' END, settlement_value = NULL"
        )
    after = run(database)[0][0].report
    assert after.trades > 0
    assert after.gain_usd != before


def test_series_that_cannot_be_replayed_say_why(database: Database) -> None:
    assert run(database) == ([], {})
    put(database, events(2))
    put(database, events(1, series="KXBTC15M"), settlement="last_price")
    put(database, events(2, series="KXBTC15M")[3:])
    early = instant_of_minute(int(BARS.minutes[0])).replace(minute=0) + timedelta(hours=3)
    put(database, market_event(early, Decimal(100), Decimal(100), series="KXEARLY"))
    (found, refused) = run(database)
    assert [one.run.series_ticker for one in found] == ["KXBTCD"]
    assert refused["kalshi", "KXBTC15M"] == "its markets settle on last_price and mean_60s, expected one rule"
    assert refused["kalshi", "KXEARLY"].startswith("the bars before its first quote are not enough: ")
    (_, refused) = run(database, series="KXBTCD", since=LAST + timedelta(days=9))
    first = LAST - timedelta(hours=1)
    assert refused["kalshi", "KXBTCD"] == (
        f"no market closes in the range; they close from {first:%Y-%m-%d} to {LAST:%Y-%m-%d}"
    )
    with pytest.raises(SettingsError, match="the range of the backtest is empty"):
        run(database, since=LAST, until=LAST)
    put(database, events(1), symbol="ETH", exchange="simulated")
    with database.connect("test", Role.READER) as connection, pytest.raises(NoDataError, match="ETH has no bars"):
        read_backtest_inputs(connection, "ETH", ModelConfig())


def test_the_newest_markets_of_a_series_are_chosen_by_their_close(database: Database) -> None:
    put(database, events(5))
    ((found,), _) = run(database, newest=timedelta(hours=2))
    assert found.report.events == 3


def test_rules_are_changed_by_name_and_refused_when_they_cannot_be() -> None:
    changed = changed_rules(DeskRules(), ["min_edge_usd=0.03", "probability=pool", "positions_per_event=3"])
    assert changed == DeskRules(min_edge_usd=Decimal("0.03"), probability=Served.POOL, positions_per_event=3)
    with pytest.raises(
        SettingsError, match="--set least_edge=1: expected RULE=VALUE, where RULE is one of capital_usd"
    ):
        changed_rules(DeskRules(), ["least_edge=1"])
    for change in (
        "min_edge_usd",
        "min_edge_usd=",
        "min_edge_usd=NaN",
        "stake_usd=-5",
        "exit=later",
        "min_ttc_seconds=1.5",
    ):
        with pytest.raises(SettingsError, match="--set"):
            changed_rules(DeskRules(), [change])


def test_the_pool_is_not_believed_before_it_is_served(database: Database) -> None:
    put(database, events(30))
    ((found,), _) = run(database, DeskRules())
    assert (found.report.signalled, found.report.gain) == (0, None)
    days = len({(LAST - timedelta(hours=hour, minutes=1)).date() for hour in range(31)})
    assert found.notes[-1].startswith(f"the pool is served on 0 of {days} days")


@pytest.mark.real_data
def test_a_recording_replayed_twice_gives_the_same_bytes(database: Database, tmp_path: Path) -> None:
    bars = pl.scan_parquet(real_data("prices/btc_1m.parquet")).slice(1_800_000, 210_000)
    bars.sink_parquet(tmp_path / "real_1m.parquet")
    ingest(database, "REAL", [tmp_path / "real_1m.parquet"], datetime.now(UTC))
    import_recording(database, recording("kxbtcd_hourly_1m_2025-04"), {"KXBTCD": "REAL"})
    since, until = datetime(2025, 4, 15, tzinfo=UTC), datetime(2025, 4, 18, tzinfo=UTC)

    def replayed() -> SeriesBacktest:
        with database.connect("test", Role.READER) as connection:
            inputs = read_backtest_inputs(connection, "REAL", ModelConfig(), since=since, until=until)
        ((series,), _) = replay_series(inputs, ModelConfig())
        return backtest(series, DeskRules(probability=Served.POOL, exit=Exit.EDGE), Assumptions())

    once, again = replayed(), replayed()
    assert once.report.trades > 5
    assert once.report.events > 40
    assert dumped(once.desk) == dumped(again.desk)
    assert [(check.failed, check.name) for check in check_backtests([once])] == [
        (0, "every_trade_has_ended"),
        (0, "books_balance"),
    ]
