"""Scores of stored markets: what is read, what is left out, and what a series that cannot be scored says."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from real_data import real_data
from recorded_markets import recording
from stored_markets import CandleRow, candle_rows, market_event, store_markets
from synthetic_prices import END_MINUTE, ingest_bars, synthetic_bars

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.edge import Dimension, Forecaster, overall
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.prices.bars import instant_of_minute
from pipelines.domain.prices.synthetic_bars import SyntheticBars
from pipelines.errors import NoDataError, SettingsError
from pipelines.evaluation.edge_runs import EdgeReport, read_edge_inputs, score_edge, served_now, store_edge
from pipelines.ingestion.ingest import ingest
from pipelines.ingestion.markets.importing import import_recording
from pipelines.storage.postgres.connection import Database, Role

BARS = synthetic_bars(40, seed=7)
LAST = instant_of_minute(END_MINUTE).replace(minute=0)
YES, NO = MarketResult.YES, MarketResult.NO


@pytest.fixture(scope="module", autouse=True)
def bars(database: Database, tmp_path_factory: pytest.TempPathFactory) -> SyntheticBars:
    ingest_bars(database, "BTC", BARS, tmp_path_factory.mktemp("bars"))
    return BARS


@pytest.fixture(autouse=True)
def _no_markets(database: Database) -> Iterator[None]:
    yield
    with database.connect("test", None) as connection:
        connection.execute(
            "TRUNCATE market_data.market, market_data.market_candle, market_data.market_quote, analytics.edge_run CASCADE"
        )


def close_at(instant: datetime) -> Decimal:
    """The close of the bar that ends at an instant."""
    minute = int(instant.timestamp()) // 60 - 1
    return Decimal(f"{BARS.close[list(BARS.minutes).index(minute)]:.2f}")


def event(closes_at: datetime, *, minutes: int = 60, **options: Any) -> list[Market]:
    return market_event(
        closes_at, close_at(closes_at - timedelta(minutes=minutes)), close_at(closes_at), minutes=minutes, **options
    )


def events(count: int, **options: Any) -> list[Market]:
    return [one for hour in range(count) for one in event(LAST - timedelta(hours=hour), **options)]


def put(database: Database, markets: list[Market], rows: list[CandleRow] | None = None, **options: str) -> None:
    with database.connect("test", None) as connection:
        store_markets(connection, markets, candle_rows(markets) if rows is None else rows, **options)


def scored(database: Database, symbol: str = "BTC", **options: Any) -> EdgeReport:
    with database.connect("test", Role.READER) as connection:
        inputs = read_edge_inputs(connection, symbol, ModelConfig(), **options)
    return score_edge(inputs, ModelConfig())


def why(report: EdgeReport, series: str = "KXBTCD", exchange: str = "kalshi") -> str:
    assert not report.series
    return report.not_scored[exchange, series]


def test_stored_markets_are_scored_and_the_scores_decide_what_is_served(database: Database) -> None:
    put(database, events(30))
    (one,) = (report := scored(database)).series
    pool = overall(one.scores, Forecaster.POOL)
    days = {(LAST - timedelta(hours=hour, seconds=1)).date() for hour in range(30)}
    assert (pool.quotes, pool.events, pool.days) == (900, 30, len(days))
    assert pool.brier.by_event is not None
    assert one.decision.reason == "30 settled events, 200 are needed"
    assert (one.run.model, one.run.settlement) == ("standardised", "mean_60s")
    assert one.run.scored_until == LAST - timedelta(minutes=1)
    assert dict(one.run.left_out) == {}
    with database.connect("test", Role.PIPELINE) as connection:
        assert served_now(connection, report)["kalshi", "KXBTCD"].reason == "the series has not been scored yet"
        store_edge(connection, report, "a run")
        assert served_now(connection, report)["kalshi", "KXBTCD"] == one.decision
    json = one.as_json()
    assert json["by_these_scores"] == {"served": "mid", "reason": "30 settled events, 200 are needed"}
    assert json["scores"][0]["brier"]["by_event"][0] < json["scores"][0]["brier"]["value"]


def test_series_of_any_close_are_scored_by_themselves(database: Database) -> None:
    quarter_hours = [
        one
        for quarter in range(8)
        for one in event(LAST - timedelta(minutes=15 * quarter), series="KXBTC15M", minutes=15, offsets=(0,))
    ]
    put(database, events(3))
    put(database, quarter_hours)
    by_series = {one.run.series_ticker: one for one in scored(database).series}
    assert set(by_series) == {"KXBTCD", "KXBTC15M"}
    assert overall(by_series["KXBTC15M"].scores, Forecaster.MID).events == 8
    levels = {one.level for one in by_series["KXBTC15M"].scores if one.dimension is Dimension.TTC}
    assert levels == {"1-2", "6-10", "11-15"}
    assert [one.run.series_ticker for one in scored(database, series="KXBTC15M").series] == ["KXBTC15M"]


def test_simulated_markets_of_the_same_series_have_scores_of_their_own(database: Database) -> None:
    put(database, events(3))
    put(database, events(2), exchange="simulated")
    counts = {one.run.exchange: one.scores[0].events for one in scored(database).series}
    assert counts == {"kalshi": 3, "simulated": 2}


def test_ranges_and_both_rules_are_scored(database: Database) -> None:
    start = close_at(LAST - timedelta(hours=1))
    value, ticker = close_at(LAST), "KXBTC-RANGES"
    life = (LAST - timedelta(hours=1), LAST, (), MarketStatus.FINALIZED)
    low, high = start - Decimal("0.10"), start + Decimal("0.10")
    cent = Decimal("0.01")
    ranges = [
        Market(f"{ticker}-L", ticker, "KXBTC", StrikeType.LESS, None, low, *life, YES if value < low else NO),
        Market(
            f"{ticker}-B", ticker, "KXBTC", StrikeType.BETWEEN, low, high, *life, YES if low <= value <= high else NO
        ),
        Market(f"{ticker}-G", ticker, "KXBTC", StrikeType.GREATER, high, None, *life, YES if value > high else NO),
    ]
    put(database, ranges, settlement="last_price")
    (one,) = scored(database).series
    assert one.run.settlement == "last_price"
    of_quote = one.forecasts.probabilities[Forecaster.MODEL].reshape(-1, 3)
    assert of_quote.sum(axis=1) == pytest.approx(1.0), "the ranges cover all values to the cent"
    assert one.forecasts.quotes.upper_usd[1] == float(high + cent)


def test_quotes_without_bars_are_left_out_and_counted(database: Database) -> None:
    later = [
        Market(
            f"KXBTCD-LATER-{hour}",
            f"KXBTCD-LATER-{hour}",
            "KXBTCD",
            StrikeType.GREATER,
            Decimal(100),
            None,
            LAST + timedelta(days=9, hours=hour - 1),
            LAST + timedelta(days=9, hours=hour),
            (),
            MarketStatus.FINALIZED,
            YES,
        )
        for hour in range(2)
    ]
    put(database, later)
    assert why(scored(database)) == "it has no quotes to score; 20 quotes without a bar at their minute"
    put(database, events(2))
    (one,) = scored(database).series
    assert one.run.left_out == {"quotes without a bar at their minute": 20}
    assert one.scores[0].events == 2


def test_candles_of_quotes_count_while_their_last_quote_is_fresh(database: Database) -> None:
    """Derived candles of one market: the last quote 1 s, 2 s, 3 s and 59 s before their end, and at an unknown time."""
    market = event(LAST)[:1]
    ends = [LAST - timedelta(minutes=10 * n) for n in range(1, 6)]
    put(database, market, [(0, end, Decimal("0.4"), Decimal("0.45")) for end in ends])
    with database.connect("test", None) as connection:
        connection.execute("UPDATE market_data.market_candle SET is_derived = true")
        for end, age in zip(ends, (1, 2, 3, 59), strict=False):
            connection.execute(
                "UPDATE market_data.market_candle SET quoted_at = %s WHERE ends_at = %s",
                [end - timedelta(seconds=age), end],
            )
    (one,) = scored(database).series
    assert one.forecasts.quotes.ttc_seconds.tolist() == [1200, 600]
    assert one.run.left_out == {"quotes older than 2 s at their minute": 3}


def test_everything_left_out_is_said(database: Database) -> None:
    markets = events(3)
    rows: list[CandleRow] = [(0, LAST - timedelta(minutes=n), None, Decimal("0.5")) for n in (5, 6)]
    rows += [(1, LAST - timedelta(minutes=5), Decimal("0.5"), None), (2, LAST - timedelta(minutes=5), 0.6, 0.4)]
    put(database, markets, rows)
    assert why(scored(database)) == "it has no quotes to score; 3 quotes on one side; 1 crossed or locked quotes"


def test_an_event_with_contradictory_results_is_refused_by_name(database: Database) -> None:
    good, bad = event(LAST), event(LAST - timedelta(hours=1))
    wrong = [
        Market(
            *(
                getattr(market, name)
                for name in market.__dataclass_fields__
                if name not in ("result", "settlement_value", "fee_terms")
            ),
            result,
        )
        for market, result in zip(bad, (NO, NO, YES), strict=True)
    ]
    put(database, [*good, *wrong])
    (one,) = scored(database).series
    assert one.scores[0].events == 1
    assert one.run.refused == (
        f"{bad[0].event_ticker}: no value of the index gives all its results: {bad[0].ticker} no, {bad[2].ticker} yes",
    )


def test_a_market_that_contradicts_itself_is_refused_and_the_others_stay(database: Database) -> None:
    put(database, events(2))
    with database.connect("test", None) as connection:
        (ticker,) = connection.execute(
            "UPDATE market_data.market SET settlement_value = CASE result WHEN 'yes' THEN 0 ELSE 1 END "
            "WHERE market_id = (SELECT min(market_id) FROM market_data.market) RETURNING ticker"
        ).fetchone() or ("",)
    (one,) = scored(database).series
    assert len(one.run.refused) == 1
    assert one.run.refused[0].startswith(f"{ticker}: settlement_value ")
    assert one.scores[0].quotes == 50


def test_two_rules_in_one_series_are_refused(database: Database) -> None:
    put(database, event(LAST))
    put(database, event(LAST - timedelta(hours=1)), settlement="last_price")
    assert why(scored(database)) == "its markets settle on last_price and mean_60s, expected one rule"


def test_one_event_and_one_day_have_no_intervals(database: Database) -> None:
    put(database, event(LAST))
    (one,) = scored(database).series
    model = overall(one.scores, Forecaster.MODEL)
    assert (model.events, model.brier.by_event, model.brier.by_day) == (1, None, None)
    assert one.decision.reason == "1 settled event, 200 are needed"


def test_a_range_selects_markets_by_their_close(database: Database) -> None:
    put(database, events(5))
    found = scored(database, since=LAST - timedelta(hours=3), until=LAST)
    assert found.series[0].scores[0].events == 3
    first = LAST - timedelta(hours=4)
    outside = scored(database, since=LAST + timedelta(days=40))
    assert why(outside) == f"no market closes in the range; they close from {first:%Y-%m-%d} to {LAST:%Y-%m-%d}"
    with pytest.raises(SettingsError, match="the range to score is empty"):
        scored(database, since=LAST, until=LAST)


def test_too_few_bars_before_the_first_quote_are_said(database: Database) -> None:
    first = instant_of_minute(int(BARS.minutes[0]))
    put(database, event(first.replace(minute=0) + timedelta(hours=3)))
    assert why(scored(database)).startswith(f"the bars before {first:%Y-%m-%d} are not enough: ")


def test_symbols_without_markets_and_without_bars(database: Database) -> None:
    assert scored(database) == EdgeReport("BTC", (), {})
    put(database, event(LAST), symbol="ETH")
    with database.connect("test", Role.READER) as connection, pytest.raises(NoDataError, match="ETH has no bars"):
        read_edge_inputs(connection, "ETH", ModelConfig())


@pytest.mark.real_data
def test_an_imported_recording_shows_the_pool_better_than_the_mid(database: Database, tmp_path: Path) -> None:
    bars = pl.scan_parquet(real_data("prices/btc_1m.parquet")).slice(1_400_000, 610_000)
    bars.sink_parquet(tmp_path / "real_1m.parquet")
    ingest(database, "REAL", [tmp_path / "real_1m.parquet"], datetime.now(UTC))
    import_recording(database, recording("kxbtcd_hourly_1m_2025-04"), {"KXBTCD": "REAL"})
    (one,) = scored(database, "REAL").series
    pool = overall(one.scores, Forecaster.POOL)
    assert (pool.quotes, pool.events, pool.days) == (70_158, 304, 20)
    assert pool.brier_difference.value <= -0.0012
    assert pool.brier_difference.by_event is not None
    assert pool.brier_difference.by_day is not None
    assert max(pool.brier_difference.by_event.high, pool.brier_difference.by_day.high) < 0
    assert one.decision.served
    assert one.run.refused == ()
