"""Backfill from an exchange or from ticks: only finished minutes, once, resumable after failures."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from exchange_server import Exchange, garbage, other_shape, stall, status
from live_sessions import insert_tick

from pipelines.errors import FeedError
from pipelines.ingestion.backfill import MINUTE, BackfillReport, backfill_from_exchange, backfill_from_ticks
from pipelines.storage.postgres.connection import Database, Role

MARKETS = {"coinbaseexchange": "BTC/USD", "kraken": "BTC/USD", "binance": "BTC/USDT"}


def bars(database: Database, symbol: str) -> dict[int, tuple[float, ...]]:
    """Stored bars by minute since 1970."""
    with database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM opened_at)::bigint / 60, open, high, low, close, volume "
            "FROM historical_data.price_history WHERE symbol = %s ORDER BY opened_at",
            [symbol],
        ).fetchall()
    return {row[0]: tuple(row[1:]) for row in rows}


def minute(instant: datetime) -> int:
    return int(instant.timestamp() // 60)


def fill(
    database: Database,
    exchange: Exchange,
    symbol: str,
    now: datetime,
    since: datetime | None = None,
    name: str = "coinbaseexchange",
    **changes: object,
) -> BackfillReport:
    """Backfill at `now`, by our clock and the exchange's, independent of its duration."""
    exchange.stopped_at = now.timestamp()
    return backfill_from_exchange(database, symbol, exchange.settings(name, **changes), MARKETS[name], since, now)


@pytest.mark.embedded_only
@pytest.mark.parametrize("name", list(MARKETS))
def test_finished_minutes_are_stored_and_the_current_minute_is_not(
    database: Database, exchange: Exchange, name: str
) -> None:
    symbol = name[:8].upper()
    began = datetime.now(UTC)
    report = fill(database, exchange, symbol, began, began - timedelta(minutes=700), name)
    stored = bars(database, symbol)
    first, last = minute(began) - 700, minute(began) - 1
    assert set(stored) == set(range(first, last + 1)), "the current minute is not stored"
    assert all(stored[m] == exchange.candle(m) for m in stored)
    assert report.inserted == len(stored) == report.requested_minutes
    assert report.still_missing_minutes == 0


def test_a_second_run_requests_only_new_minutes(database: Database, exchange: Exchange) -> None:
    now = datetime.now(UTC)
    fill(database, exchange, "AGAIN", now, now - timedelta(minutes=50))
    before = bars(database, "AGAIN")
    exchange.requests.clear()
    report = fill(database, exchange, "AGAIN", now + MINUTE)
    requests = [path for path in exchange.requests if "/candles" in path]
    assert report.requested_minutes == len(requests) == 1
    assert before.items() <= bars(database, "AGAIN").items()


@pytest.mark.embedded_only
def test_gaps_are_filled_and_remaining_gaps_are_counted(database: Database, exchange: Exchange) -> None:
    now = datetime.now(UTC)
    since = now - timedelta(minutes=60)
    first = minute(since)
    exchange.quiet = {*range(first + 10, first + 20), first + 40}
    report = fill(database, exchange, "GAPS", now, since)
    assert report.still_missing_minutes == 11
    exchange.quiet = {first + 40}
    report = fill(database, exchange, "GAPS", now, since)
    assert (report.inserted, report.still_missing_minutes) == (10, 1)
    assert first + 40 not in bars(database, "GAPS")


def test_an_exchange_with_short_history_fills_what_it_has(database: Database, exchange: Exchange) -> None:
    exchange.kraken_depth = 100
    now = datetime.now(UTC)
    report = fill(database, exchange, "SHORT", now, now - timedelta(minutes=500), "kraken")
    assert report.inserted == 99, "the hundredth minute has not finished"
    assert report.still_missing_minutes == report.requested_minutes - report.inserted


@pytest.mark.embedded_only
def test_minutes_unfinished_by_the_exchanges_clock_are_not_stored(database: Database, exchange: Exchange) -> None:
    exchange.clock_offset_seconds = -150.0
    now = datetime.now(UTC)
    fill(database, exchange, "AHEAD", now, now - timedelta(minutes=30))
    assert max(bars(database, "AHEAD")) < int(exchange.now() // 60)


def test_failed_requests_are_retried(database: Database, exchange: Exchange) -> None:
    exchange.fail("/coinbase/products/BTC-USD/candles", status(429), garbage, stall, other_shape)
    now = datetime.now(UTC)
    report = fill(database, exchange, "FAULTS", now, now - timedelta(minutes=40), timeout_seconds=1.0)
    assert report.still_missing_minutes == 0


def test_batches_before_a_failure_stay_stored_and_the_next_run_resumes(
    database: Database, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.ingestion.backfill.BATCH_BARS", 300)
    monkeypatch.setattr("pipelines.ingestion.backfill.ATTEMPTS", 1)
    now = datetime.now(UTC)
    since = now - timedelta(minutes=1000)
    served = 0

    async def fails(request: object) -> object:
        del request
        return await status(500)(None)  # type: ignore[arg-type]

    async def succeeds(request: object) -> object:
        nonlocal served
        served += 1
        first = int(datetime.fromisoformat(request.query["start"]).timestamp() // 60)  # type: ignore[attr-defined]
        from aiohttp import web

        rows = [[m * 60, low, h, o, c, v] for m, (o, h, low, c, v) in exchange.candles(first, first + 299)]
        return web.json_response(rows[::-1])

    exchange.fail("/coinbase/products/BTC-USD/candles", succeeds, succeeds, fails)
    with pytest.raises(FeedError, match="coinbaseexchange: candles of BTC/USD"):
        fill(database, exchange, "RESUME", now, since)
    assert served == 2
    assert len(bars(database, "RESUME")) == 600
    exchange.requests.clear()
    report = fill(database, exchange, "RESUME", now)
    assert report.requested_minutes == 400
    assert set(bars(database, "RESUME")) == set(range(minute(since), minute(now)))


def test_minutes_missing_within_the_last_day_are_requested_again(database: Database, exchange: Exchange) -> None:
    now = datetime.now(UTC)
    last = minute(now)
    exchange.quiet = set(range(last - 40, last - 30))
    fill(database, exchange, "LATER", now, now - timedelta(minutes=60))
    exchange.quiet = set()
    report = fill(database, exchange, "LATER", now)
    assert report.inserted == 10
    assert set(bars(database, "LATER")) == set(range(last - 60, last))


def test_a_symbol_without_bars_is_backfilled_for_thirty_days(database: Database, exchange: Exchange) -> None:
    report = fill(database, exchange, "FRESH", datetime.now(UTC), None, "binance")
    assert report.requested_minutes == 30 * 1440
    assert report.still_missing_minutes == 0


def test_producer_ticks_become_bars_and_replayed_ticks_do_not(
    database: Database, exchange: Exchange, tmp_path: Path
) -> None:
    del exchange, tmp_path
    now = datetime.now(UTC)
    last = now.replace(second=0, microsecond=0) - MINUTE
    for begin, seconds, base in (
        (last - 2 * MINUTE, (1, 20, 40, 59), 100.0),
        (last - MINUTE, (1, 20), 200.0),
        (last, (0.5, 60), 300.0),
    ):
        for i, second in enumerate(seconds):
            insert_tick(database, "TICKS", base + i, begin + timedelta(seconds=second))
    insert_tick(database, "TICKS", 999.0, now)
    insert_tick(database, "TICKS", 1.0, last - 2 * MINUTE + timedelta(seconds=59.5))  # not the minute's close
    with database.connect("producer", Role.LIVE) as connection:
        connection.execute(
            "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('TICKS', %s, 5.0, 'replay')",
            [last - 2 * MINUTE + timedelta(seconds=30)],
        )
    report = backfill_from_ticks(database, "TICKS", now)
    stored = bars(database, "TICKS")
    assert stored == {
        minute(last - 2 * MINUTE): (100.0, 103.0, 100.0, 103.0, 0.0),
        minute(last): (300.0, 301.0, 300.0, 301.0, 0.0),
    }, "a minute without ticks in its last quarter has no bar"
    assert report.inserted == 2
    assert backfill_from_ticks(database, "TICKS", now).inserted == 0


def test_a_minute_without_prices_costs_that_minute_only(database: Database, exchange: Exchange) -> None:
    began = datetime.now(UTC)
    empty = minute(began) - 30
    usual = exchange.candle
    exchange.candle = lambda m: (None, None, None, None, 0) if m == empty else usual(m)  # type: ignore[assignment,return-value,method-assign]
    report = fill(database, exchange, "NULLS", began, began - timedelta(minutes=60))
    assert set(bars(database, "NULLS")) == set(range(minute(began) - 60, minute(began))) - {empty}
    assert (report.inserted, report.still_missing_minutes) == (59, 1)


def test_candles_in_another_order_and_twice_are_stored_once(database: Database, exchange: Exchange) -> None:
    began = datetime.now(UTC)
    usual = exchange.candles

    def shuffled(first: int, last: int) -> list[tuple[int, tuple[float, float, float, float, float]]]:
        page = usual(first, last)
        return page[::2] + page[::-1]

    exchange.candles = shuffled  # type: ignore[method-assign]
    report = fill(database, exchange, "ORDER", began, began - timedelta(minutes=60))
    assert report.inserted == 60
    assert all(found == exchange.candle(m) for m, found in bars(database, "ORDER").items())


def test_a_repeated_page_and_conflicting_candles_are_errors(
    database: Database, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.ingestion.backfill.ATTEMPTS", 1)
    began = datetime.now(UTC)
    usual, start = exchange.candles, minute(began) - 700
    exchange.candles = lambda _first, _last: usual(start, start + 290)  # type: ignore[method-assign]
    with pytest.raises(FeedError, match="none of 291 candles is from .* or later"):
        fill(database, exchange, "REPEAT", began, began - timedelta(minutes=700))
    exchange.candles = lambda first, last: [*usual(first, last), (first, (1.0, 2.0, 1.0, 2.0, 1.0))]  # type: ignore[method-assign]
    with pytest.raises(FeedError, match="two different candles of"):
        fill(database, exchange, "TWO", began, began - timedelta(minutes=700))


def test_an_exchange_that_ignores_the_start_ends_the_range_and_the_missing_minutes_are_counted(
    database: Database, exchange: Exchange
) -> None:
    began = datetime.now(UTC)
    usual, newest = exchange.candles, minute(began) - 1
    exchange.candles = lambda _first, _last: usual(newest - 99, newest)  # type: ignore[method-assign]
    report = fill(database, exchange, "NEWEST", began, began - timedelta(minutes=700))
    assert set(bars(database, "NEWEST")) == set(range(newest - 99, newest + 1))
    assert report.still_missing_minutes == 600
