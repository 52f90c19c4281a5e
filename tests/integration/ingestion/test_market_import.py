"""Import of recorded markets: exact, in one transaction, without effect when repeated."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from market_listings import listing
from recorded_markets import recording
from small_recordings import (
    CLOSES_AT,
    EVENT,
    OPENS_AT,
    TICKERS,
    candle,
    candle_recording,
    candle_rows,
    market_rows,
    tick,
    tick_recording,
    write,
)
from stored_markets import read_event
from waiting import wait_until

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import MarketError
from pipelines.ingestion.markets.checks import with_ids
from pipelines.ingestion.markets.importing import ImportReport, MarketCounts, import_recording, preview_recording
from pipelines.storage.markets.candles import CandleCounts
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.markets.quotes import QuoteCounts
from pipelines.storage.postgres.connection import Database, Role

SERIES = {"KXBTCD": "BTC"}
TABLES = ("market", "market_quote", "market_candle", "market_import")


@pytest.fixture(autouse=True)
def empty(database: Database) -> None:
    """Remove what other tests have stored."""
    with database.connect("test", None) as connection:
        for table in TABLES:
            connection.execute(f"DELETE FROM market_data.{table}")


def state(database: Database) -> list[tuple[Any, ...]]:
    """Rows of all tables with xmin and ctid, so that rewriting a row without changes is detected."""
    with database.connect("test", Role.READER) as connection:
        return [
            row
            for table in TABLES[:3]
            for row in connection.execute(
                f"SELECT '{table}', xmin::text, ctid::text, to_jsonb(t) FROM market_data.{table} AS t ORDER BY 1, 3"
            ).fetchall()
        ]


def counts(database: Database) -> dict[str, int]:
    with database.connect("test", Role.READER) as connection:
        return {
            table: row[0]
            for table in TABLES
            if (row := connection.execute(f"SELECT count(*) FROM market_data.{table}").fetchone())
        }


def imported(database: Database, path: Path, symbol: str | None = None) -> ImportReport:
    return import_recording(database, path, SERIES, symbol)


def stored_market(**changes: Any) -> MarketRecord:
    """The first market as the exchange has described it before."""
    one = Market(
        ticker=TICKERS[0],
        event_ticker=EVENT,
        series_ticker="KXBTCD",
        strike_type=StrikeType.GREATER,
        floor_strike=Decimal("118499.99"),
        cap_strike=None,
        opens_at=OPENS_AT,
        closes_at=CLOSES_AT,
        price_ranges=(),
        status=MarketStatus.CLOSED,
    )
    return MarketRecord("BTC", SettlementRule.MEAN_60S, listing(replace(one, **changes)))


def store(database: Database, record: MarketRecord) -> None:
    with database.connect("test", Role.LIVE) as connection:
        upsert_markets(connection, "kalshi", [record])


def test_candles_and_markets_are_stored_exactly(database: Database, tmp_path: Path) -> None:
    report = imported(database, candle_recording(tmp_path / "any name"))
    assert report.markets == MarketCounts(inserted=2)
    assert report.candles == CandleCounts(inserted=61)
    assert (report.rows_read, report.rows_rejected) == (63, 0)
    with database.connect("test", Role.READER) as connection:
        low, high = read_event(connection, "kalshi", EVENT)
        rows = connection.execute(
            "SELECT ticker, ends_at, yes_bid_close, yes_ask_open, volume, open_interest, is_derived"
            " FROM market_data.market_candle JOIN market_data.market USING (market_id)"
            " WHERE ends_at = %s ORDER BY ticker",
            [CLOSES_AT],
        ).fetchall()
        [logged] = connection.execute("SELECT symbol, rows_read, rows_stored FROM market_data.market_import").fetchall()
    assert low.market == replace(stored_market().listing.market, status=MarketStatus.FINALIZED, result=MarketResult.YES)
    assert (high.market.result, high.symbol, high.settlement) == (MarketResult.NO, "BTC", SettlementRule.MEAN_60S)
    assert rows == [
        (TICKERS[0], CLOSES_AT, Decimal("0.40"), Decimal("0.42"), Decimal(3), Decimal(9), False),
        (TICKERS[1], CLOSES_AT, None, None, Decimal(3), Decimal(9), False),
    ]
    assert logged == ("BTC", 63, 63)


def test_the_same_recording_twice_changes_nothing(database: Database, tmp_path: Path) -> None:
    candles = candle_recording(tmp_path / "candles")
    ticks = tick_recording(tmp_path / "ticks", [tick(second, 40 + second % 3, 44) for second in range(0, 300, 7)])
    for path in (candles, ticks):
        imported(database, path)
    before = state(database)
    assert len(before) > 100
    for path in (candles, ticks):
        report = imported(database, path)
        assert report.markets == MarketCounts(unchanged=2)
        assert (report.candles.inserted, report.candles.corrected, report.candles_derived) == (0, 0, 0)
        assert (report.quotes.inserted, report.quotes.contradicting) == (0, 0)
    assert state(database) == before


def test_corrected_candles_replace_the_stored_ones(database: Database, tmp_path: Path) -> None:
    imported(database, candle_recording(tmp_path / "first"))
    corrected = [candle(TICKERS[0], 7, bid=39), *candle_rows()[1:6], candle(TICKERS[0], 60)]
    report = imported(database, candle_recording(tmp_path / "second", corrected))
    assert report.candles == CandleCounts(corrected=1, unchanged=6)


def test_quotes_become_candles_where_there_are_none(database: Database, tmp_path: Path) -> None:
    ticks = [tick(10, 40, 44), tick(20, 40, 44), tick(70, 45, 50), tick(3599, 99, None)]
    report = imported(database, tick_recording(tmp_path, ticks))
    assert (report.quotes, report.quotes_unchanged, report.candles_derived) == (QuoteCounts(inserted=3), 1, 3)
    with database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT ends_at, yes_bid_close, yes_ask_close, is_derived FROM market_data.market_candle ORDER BY ends_at"
        ).fetchall()
    assert rows == [
        (OPENS_AT + timedelta(minutes=1), Decimal("0.4"), Decimal("0.44"), True),
        (OPENS_AT + timedelta(minutes=2), Decimal("0.45"), Decimal("0.5"), True),
        (CLOSES_AT, Decimal("0.99"), None, True),
    ]


def test_quotes_that_stay_the_same_are_stored_at_the_end_of_each_minute(database: Database, tmp_path: Path) -> None:
    ticks = [tick(second + 0.4, 41 if second >= 90 else 40, 44) for second in range(150)]
    imported(database, tick_recording(tmp_path, ticks))
    with database.connect("test", Role.READER) as connection:
        stored = connection.execute("SELECT quoted_at FROM market_data.quote ORDER BY 1").fetchall()
        ages = connection.execute(
            "SELECT extract(epoch FROM ends_at - quoted_at)::float8 FROM market_data.market_candle ORDER BY ends_at"
        ).fetchall()
    assert [(at - OPENS_AT).total_seconds() for (at,) in stored] == [0.4, 58.4, 90.4, 118.4]
    assert ages == [(1.6,), (1.6,)]


def test_rows_of_markets_that_are_not_stored_are_refused() -> None:
    frame = pl.DataFrame({"ticker": [TICKERS[0], "OTHER"], "ends_at": [CLOSES_AT] * 2})
    schema = pl.Schema({"market_id": pl.Int64(), "ends_at": pl.Datetime("us", "UTC")})
    with pytest.raises(MarketError, match="1 rows of markets that are not stored, such as OTHER"):
        with_ids(frame, {TICKERS[0]: 1}, schema)


def without_openings() -> list[dict[str, Any]]:
    """Markets of a shape that has no opening times."""
    return [
        {
            "ticker": ticker,
            "close_time": CLOSES_AT,
            "floor_strike": one["floor_strike"],
            "result": one["result"],
            "settlement_value": None,
        }
        for ticker, one in zip(TICKERS, market_rows(), strict=True)
    ]


def test_candles_of_markets_without_openings_are_stored_as_previewed(database: Database, tmp_path: Path) -> None:
    rows = [candle(TICKERS[0], minute) for minute in range(8, 61)]
    folder = candle_recording(tmp_path, rows, without_openings())
    previewed = preview_recording(folder, SERIES)
    report = imported(database, folder)
    assert report.candles == previewed.candles == CandleCounts(inserted=53)
    assert report.rejected == previewed.rejected
    assert [(one.reason, one.rows) for one in report.rejected] == [
        ("a market with neither an opening time nor a quote or candle", 1)
    ]
    with database.connect("test", Role.READER) as connection:
        [one] = read_event(connection, "kalshi", EVENT)
    assert one.market.opens_at == OPENS_AT + timedelta(minutes=7)
    assert imported(database, folder).candles == CandleCounts(unchanged=53)


def test_quotes_of_stored_markets_need_no_description(database: Database, tmp_path: Path) -> None:
    quotes = [
        {"received_at": "2026-07-22T13:30:00.5-04:00", "ticker": TICKERS[0], "yes_bid": 0, "yes_ask": 3},
        {"received_at": "2026-07-22T13:30:01.5-04:00", "ticker": TICKERS[0], "yes_bid": 70, "yes_ask": 100},
        {"received_at": "2026-07-22T13:30:02.5-04:00", "ticker": TICKERS[1], "yes_bid": 70, "yes_ask": 80},
    ]
    path = write(tmp_path / "quotes.csv", quotes)
    with pytest.raises(MarketError, match="nothing in it can be stored: 3 rows of quotes.csv: the market is described"):
        imported(database, path)
    store(database, stored_market())
    report = imported(database, path)
    assert (report.quotes.inserted, report.rows_rejected, report.symbols) == (2, 1, ("BTC",))
    with database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT quoted_at, yes_bid, yes_ask FROM market_data.quote ORDER BY quoted_at"
        ).fetchall()
    assert rows == [
        (OPENS_AT + timedelta(minutes=30, seconds=0.5), None, Decimal("0.03")),
        (OPENS_AT + timedelta(minutes=30, seconds=1.5), Decimal("0.70"), None),
    ]


def test_a_recording_completes_what_the_exchange_has_not_said(database: Database, tmp_path: Path) -> None:
    store(database, stored_market())
    report = imported(database, candle_recording(tmp_path))
    assert report.markets == MarketCounts(inserted=1, changed=1)
    with database.connect("test", Role.READER) as connection:
        [low, _] = read_event(connection, "kalshi", EVENT)
    assert low.market.is_settled
    assert low.market.result is MarketResult.YES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"closes_at": CLOSES_AT - timedelta(minutes=5)},
            "closes_at 2026-07-22 18:00:00.*, stored 2026-07-22 17:55:00",
        ),
        ({"result": MarketResult.NO, "status": MarketStatus.FINALIZED}, "result yes, stored no"),
        ({"floor_strike": Decimal("118499.98")}, "floor_strike 118499.99, stored 118499.98"),
    ],
)
def test_a_recording_that_contradicts_the_database_is_refused_whole(
    database: Database, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    store(database, stored_market(**changes))
    before = state(database)
    with pytest.raises(MarketError, match=f"{TICKERS[0]}: the recording contradicts the database: {message}"):
        imported(database, candle_recording(tmp_path))
    assert state(database) == before


def test_markets_of_another_symbol_are_refused(database: Database, tmp_path: Path) -> None:
    store(database, replace(stored_market(), symbol="ETH"))
    with pytest.raises(MarketError, match="is stored as a market of ETH, not BTC"):
        imported(database, candle_recording(tmp_path))


def test_quotes_that_contradict_stored_ones_are_counted_and_not_stored(database: Database, tmp_path: Path) -> None:
    imported(database, tick_recording(tmp_path / "first", [tick(10, 40, 44), tick(20, 41, 44)]))
    report = imported(database, tick_recording(tmp_path / "second", [tick(10, 39, 44), tick(20, 41, 44)]))
    assert report.quotes == QuoteCounts(unchanged=1, contradicting=1)


KILLED = """
import sys
from pathlib import Path
from pipelines.ingestion.markets import importing
from pipelines.storage.postgres.connection import Database
def stop(*_):
    print("stored", flush=True)
    sys.stdin.read()
importing.record_import = stop
importing.import_recording(Database(sys.argv[1]), Path(sys.argv[2]), {"KXBTCD": "BTC"})
"""


def test_a_killed_import_leaves_nothing(database: Database, tmp_path: Path) -> None:
    ticks = [tick(second, 40 + second % 3, 44) for second in range(0, 300, 7)]
    folder = tick_recording(tmp_path, ticks)
    command = [sys.executable, "-c", KILLED, database.url, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stored\n"
        process.kill()
    assert counts(database) == dict.fromkeys(TABLES, 0)

    def ended() -> bool:
        with database.connect("test", None) as connection:
            query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'strikecast import' AND datname = current_database()"
            return connection.execute(query).fetchone() is None

    wait_until(ended, "the end of the killed import's connection")
    assert imported(database, folder).quotes.inserted == len(ticks)


@pytest.mark.real_data
def test_the_recorded_year_of_minutes_is_stored_whole(database: Database) -> None:
    folder = recording("kxbtcd_hourly_1m_2025-04")
    report = imported(database, folder)
    assert (report.markets.inserted, report.candles.inserted, report.rows_rejected) == (5_371, 370_303, 0)
    recorded = pl.read_parquet(folder / "candles.parquet")
    with database.connect("test", Role.READER) as connection:
        sums = connection.execute(
            "SELECT sum(coalesce(yes_bid_low, 0)) * 100, sum(coalesce(yes_ask_high, 1)) * 100, sum(volume), max(ends_at)"
            " FROM market_data.market_candle"
        ).fetchone()
        results = dict(connection.execute("SELECT result, count(*) FROM market_data.market GROUP BY result").fetchall())
    assert sums == (
        recorded["yes_bid_low_cents"].sum(),
        recorded["yes_ask_high_cents"].sum(),
        recorded["volume"].sum(),
        recorded["ts"].max(),
    )
    assert results == dict(pl.read_parquet(folder / "markets.parquet").group_by("result").len().iter_rows())


@pytest.mark.real_data
def test_recorded_updates_are_stored_as_quotes_and_candles(database: Database) -> None:
    report = imported(database, recording("kxbtcd_hourly_ticks_2025-05"))
    assert report.quotes == QuoteCounts(inserted=148_251)
    assert (report.quotes_unchanged, report.superseded, report.rows_rejected) == (559_793, 812, 76_603)
    assert 148_251 + 559_793 + 812 + 76_603 == 785_459
    assert {one.reason.split(" of")[0].split(" neither")[0] for one in report.rejected} == {
        "at or after the close",
        "the market is described",
    }
    assert report.candles_derived > 1_500


@pytest.mark.real_data
def test_the_other_recordings_are_stored(database: Database) -> None:
    quarter = imported(database, recording("kxbtc15m_book1s_2026-05"), "BTC")
    assert (quarter.markets.inserted, quarter.quotes.inserted) == (62, 37_076)
    assert [name for name, _ in quarter.skipped] == ["book_1s.parquet"]
    levels = imported(database, recording("kxbtcd_hourly_book_brti_2025-05-14"))
    assert (levels.markets, levels.index_rows) == (MarketCounts(inserted=7, without_result=7), 2_806)
    up_down = imported(database, recording("polymarket_hourly_updown_2025-07"))
    assert (up_down.exchange, up_down.markets.inserted, up_down.quotes.inserted) == ("polymarket", 109, 5_995)
    with database.connect("test", Role.READER) as connection:
        settled = connection.execute(
            "SELECT count(*), bool_and((index_value >= floor_strike) = (result = 'yes')) FROM market_data.market"
            " WHERE series_ticker = 'KXBTC15M' AND index_value IS NOT NULL"
        ).fetchone()
        rules = dict(
            connection.execute("SELECT exchange, max(settlement) FROM market_data.market GROUP BY 1").fetchall()
        )
    assert settled == (48, True)
    assert rules == {"kalshi": "mean_60s", "polymarket": "last_price"}


def test_markets_may_come_without_quotes(database: Database, tmp_path: Path) -> None:
    report = imported(database, write(tmp_path / "m.csv", market_rows()))
    assert report.markets == MarketCounts(inserted=2)
