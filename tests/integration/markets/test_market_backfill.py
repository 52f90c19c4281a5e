"""Backfill of closed markets: results and candles, once, resumable, one failure beside the others."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from exchange_server import garbage, status
from market_messages import candle_2025, candle_2026, event, market_2025, market_2026
from market_server import MarketServer, serving_in_thread

from pipelines.domain.markets.board import MarketSource
from pipelines.errors import MarketError, SettingsError
from pipelines.markets.backfill import BackfillPlan, backfill_plan, fetch_markets
from pipelines.markets.candle_backfill import QUIET, REFUSED, Missing, fetch_candles
from pipelines.settings import Settings, load_settings
from pipelines.storage.live.day_partitions import create_day_partitions
from pipelines.storage.markets.backfill import ClosedMarket, count_candles, read_closed
from pipelines.storage.postgres.connection import Connection, Database, Role

CLOSE = datetime(2026, 7, 22, 18, tzinfo=UTC)
NOW = CLOSE + timedelta(hours=6)
EVENT = "KXBTCD-26JUL2214"
LATER = "KXBTCD-26JUL2215"


def ticker(strike: str, of: str = EVENT) -> str:
    return f"{of}-T{strike}"


def rows(*strikes: str, of: str = EVENT, closes_at: datetime = CLOSE, **changes: Any) -> list[dict[str, Any]]:
    """Markets that closed, with their results by a value of 118,600."""
    life = {"open_time": (closes_at - timedelta(hours=1)).isoformat(), "close_time": closes_at.isoformat()}
    settled = {"status": "finalized", "expiration_value": "118,600.00"}
    return [
        market_2026(strike, of, **{**life, **settled, "result": "yes" if float(strike) < 118_600 else "no", **changes})
        for strike in strikes
    ]


def minutes(*left: int, closes_at: datetime = CLOSE, **changes: Any) -> list[dict[str, Any]]:
    """Candles of minutes that end so many minutes before the close."""
    at = int(closes_at.timestamp())
    return [candle_2026(at - 60 * each, **changes) for each in left]


@pytest.fixture
def exchange(database: Database) -> Iterator[MarketServer]:
    with database.connect("test", None) as connection:
        connection.execute(
            "TRUNCATE market_data.market, market_data.market_quote, market_data.market_candle, market_data.market_fee CASCADE"
        )
    served = MarketServer(events=[event(rows("118499.99", "118749.99"), EVENT)])
    served.rows_per_page = 1000
    for strike in ("118499.99", "118749.99"):
        served.candles[ticker(strike)] = minutes(*range(60))
    with serving_in_thread(served):
        yield served


def plan(exchange: MarketServer, days: int = 3, **changes: Any) -> BackfillPlan:
    since = NOW - timedelta(days=days)
    return replace(
        BackfillPlan("kalshi", "BTC", ("KXBTCD",), since, NOW, NOW, exchange.settings(attempts=2)), **changes
    )


def query(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.connect("test", Role.READER) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


def candles(database: Database) -> dict[str, int]:
    """Numbers of stored candles by ticker."""
    found = query(
        database,
        "SELECT ticker, count(candle.*) FROM market_data.market LEFT JOIN market_data.market_candle AS candle"
        " USING (market_id) GROUP BY ticker",
    )
    return dict(found)


def test_markets_that_the_feed_did_not_see_are_stored_with_their_own_results(
    database: Database, exchange: MarketServer
) -> None:
    report = fetch_markets(database, plan(exchange))
    assert (report.listed, report.settled, report.unsettled, report.problems) == (2, 2, 0, [])
    stored = query(
        database,
        "SELECT ticker, exchange, symbol, settlement, status, result, index_value::text FROM market_data.market",
    )
    common = ("kalshi", "BTC", "mean_60s", "finalized")
    assert sorted(stored) == [
        (ticker("118499.99"), *common, "yes", "118600.00"),
        (ticker("118749.99"), *common, "no", "118600.00"),
    ]
    again = fetch_markets(database, plan(exchange))
    assert (again.listed, again.settled) == (2, 0)


def test_markets_outside_the_days_are_neither_asked_for_nor_stored(database: Database, exchange: MarketServer) -> None:
    exchange.events.append(event(rows("1.99", of=LATER, closes_at=NOW + timedelta(hours=1)), LATER))
    exchange.events.append(event(rows("2.99", of="KXBTCD-OLD", closes_at=NOW - timedelta(days=4)), "KXBTCD-OLD"))
    assert fetch_markets(database, plan(exchange)).listed == 2
    assert len([one for one in exchange.requests if "min_close_ts" in one]) == 3, "a day at a time"
    assert fetch_markets(database, plan(exchange, days=5)).listed == 3


def test_unlisted_markets_are_asked_for_in_parts_and_keep_their_series(
    database: Database, exchange: MarketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.markets.backfill.MARKETS_PER_QUESTION", 1)
    exchange.events[0]["markets"] = rows("118499.99", "118749.99", result="", status="closed", expiration_value="")
    assert fetch_markets(database, plan(exchange)).unsettled == 2
    with database.connect("test", None) as connection:
        connection.execute("UPDATE market_data.market SET series_ticker = 'HOURLY'")
    exchange.events[0]["markets"] = rows("118499.99", "118749.99")
    exchange.requests.clear()
    report = fetch_markets(database, plan(exchange, series=("HOURLY",)))
    assert (report.settled, report.unsettled, report.problems) == (2, 0, [])
    assert len([one for one in exchange.requests if "tickers=" in one]) == 2
    assert query(database, "SELECT DISTINCT series_ticker FROM market_data.market") == [("HOURLY",)]


def test_a_result_that_comes_later_is_found_by_ticker_also_when_it_is_no_longer_listed(
    database: Database, exchange: MarketServer
) -> None:
    exchange.events[0]["markets"] = rows("118749.99", result="", status="closed", expiration_value="")
    first = fetch_markets(database, plan(exchange))
    assert (first.settled, first.unsettled) == (0, 1)
    # The exchange lists another market first; the one that was stored is asked for by its ticker.
    exchange.events[0]["markets"] = rows("118499.99")
    listed = fetch_markets(database, plan(exchange))
    assert [(one.ticker, one.reason) for one in listed.refused] == [
        (ticker("118749.99"), "not in the exchange's answer")
    ]
    assert (listed.settled, listed.unsettled) == (1, 1)
    exchange.events[0]["markets"] = rows("118499.99", "118749.99")
    last = fetch_markets(database, plan(exchange))
    assert (last.settled, last.unsettled) == (1, 0)
    assert query(database, "SELECT ticker, result FROM market_data.market WHERE result = 'no'") == [
        (ticker("118749.99"), "no")
    ]


def test_a_market_that_cannot_be_used_is_named_and_the_others_are_stored(
    database: Database, exchange: MarketServer
) -> None:
    exchange.events[0]["markets"] += rows("118999.99", strike_type="structured")
    report = fetch_markets(database, plan(exchange))
    assert report.listed == 2
    assert [one.ticker for one in report.refused] == [ticker("118999.99")]


def test_candles_are_stored_once(database: Database, exchange: MarketServer) -> None:
    fetch_markets(database, plan(exchange))
    report = fetch_candles(database, plan(exchange))
    assert (report.fetched, report.inserted, report.minutes, report.missing, report.problems) == (2, 120, 120, [], [])
    assert candles(database) == {ticker("118499.99"): 60, ticker("118749.99"): 60}
    exchange.requests.clear()
    again = fetch_candles(database, plan(exchange))
    assert (again.fetched, again.inserted, again.minutes, again.missing) == (0, 0, 120, [])
    assert exchange.requests == [], "nothing is missing"


def test_candles_are_counted_once_and_those_of_the_exchange_only_where_it_was_not_asked(
    database: Database, exchange: MarketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[int, bool]] = []

    def count(connection: Connection, markets: Sequence[ClosedMarket], *, published: bool = False) -> Counter[int]:
        counted.append((len(markets), published))
        return count_candles(connection, markets, published=published)

    monkeypatch.setattr("pipelines.markets.candle_backfill.count_candles", count)
    fetch_markets(database, plan(exchange))
    assert counted == [], "results need none"
    fetch_candles(database, plan(exchange))
    assert counted == [(2, True), (2, False)]
    fetch_candles(database, plan(exchange))
    assert counted[2:] == [(0, True), (2, False)]


def test_candles_of_the_last_hour_are_counted(database: Database, exchange: MarketServer) -> None:
    exchange.candles[ticker("118499.99")] = minutes(*range(40))
    fetch_markets(database, plan(exchange))
    report = fetch_candles(database, plan(exchange))
    assert (report.minutes, report.stored) == (120, 100)
    with database.connect("test", None) as connection:
        connection.execute(
            "UPDATE market_data.market_candle SET is_derived = true WHERE yes_bid_close < 0.5 AND"
            " date_part('minute', ends_at) = 30"
        )
        connection.execute(
            "INSERT INTO market_data.market_candle (market_id, ends_at) SELECT market_id, closes_at - interval '60 min'"
            " FROM market_data.market"
        )
    with database.connect("test", Role.PIPELINE) as connection:
        closed = read_closed(connection, "kalshi", "BTC", "KXBTCD", CLOSE - timedelta(days=1), CLOSE)
        stored = count_candles(connection, closed)
        published = count_candles(connection, closed, published=True)
    assert [stored[one.market_id] for one in closed] == [40, 60], "none of the hour before"
    assert [published[one.market_id] for one in closed] == [39, 59]


def test_minutes_that_the_exchange_does_not_have_are_counted_and_not_asked_for_again(
    database: Database, exchange: MarketServer
) -> None:
    exchange.candles[ticker("118499.99")] = minutes(*range(0, 60, 2))
    exchange.candles[ticker("118749.99")] = []
    fetch_markets(database, plan(exchange))
    report = fetch_candles(database, plan(exchange))
    assert (report.fetched, report.inserted, report.missing) == (2, 30, [Missing(QUIET, 2, 90)])
    exchange.requests.clear()
    assert fetch_candles(database, plan(exchange)).missing == [Missing(QUIET, 2, 90)]
    assert exchange.requests == []


def test_quotes_give_the_candles_that_the_exchange_does_not_have(database: Database, exchange: MarketServer) -> None:
    exchange.candles[ticker("118499.99")] = minutes(*range(30))
    fetch_markets(database, plan(exchange))
    with database.connect("test", Role.PIPELINE) as connection:
        create_day_partitions(connection, [CLOSE.date()], ["market_quote"])
        connection.execute(
            "INSERT INTO market_data.market_quote (market_id, quoted_at, yes_bid, no_bid)"
            " SELECT market_id, at, 0.30, 0.68 FROM market_data.market,"
            " generate_series(closes_at - interval '3599 s', closes_at - interval '10 s', interval '60 s') AS at"
            " WHERE ticker = %s",
            [ticker("118499.99")],
        )
    report = fetch_candles(database, plan(exchange))
    assert (report.inserted, report.derived, report.missing) == (90, 30, [])
    bids = query(
        database,
        "SELECT is_derived, min(yes_bid_close)::float8, max(yes_bid_close)::float8, count(*) FROM market_data.market_candle"
        " JOIN market_data.market USING (market_id) WHERE ticker LIKE '%118499.99' GROUP BY 1 ORDER BY 1",
    )
    assert bids == [(False, 0.17, 0.17, 30), (True, 0.3, 0.3, 30)]
    assert fetch_candles(database, plan(exchange)).derived == 0


def test_a_refused_candle_keeps_its_market_open_and_the_others_are_stored(
    database: Database, exchange: MarketServer
) -> None:
    bad = minutes(3, yes_bid={"open": 50, "high": 40, "low": 30, "close": 35})
    exchange.candles[ticker("118499.99")] = [*minutes(0, 1, 2), *bad]
    fetch_markets(database, plan(exchange))
    report = fetch_candles(database, plan(exchange))
    assert (report.fetched, report.inserted) == (1, 63)
    reason = "candle 2026-07-22 17:57:00: yes_bid open 0.50, expected from low 0.30 to high 0.40"
    example = f"{ticker('118499.99')}: {reason}"
    assert report.problems == [f"candles of 1 markets of KXBTCD are refused, such as {example}"]
    assert report.missing == [Missing(REFUSED, 1, 57)]
    exchange.candles[ticker("118499.99")] = minutes(*range(60))
    repaired = fetch_candles(database, plan(exchange))
    assert (repaired.fetched, repaired.inserted, repaired.unchanged, repaired.missing) == (1, 57, 3, [])


def test_where_markets_are_refused_together_each_is_asked_for_alone(database: Database, exchange: MarketServer) -> None:
    exchange.events[0]["markets"] += rows("118999.99")
    fetch_markets(database, plan(exchange))
    exchange.fail("/markets/candlesticks", status(400))
    report = fetch_candles(database, plan(exchange))
    assert candles(database) == {ticker("118499.99"): 60, ticker("118749.99"): 60, ticker("118999.99"): 0}
    assert report.fetched == 2
    [missing] = report.missing
    assert (missing.markets, missing.minutes) == (1, 60)
    assert missing.reason.startswith("BadSymbol: ")


def test_an_event_that_the_exchange_has_lost_does_not_stop_older_ones(
    database: Database, exchange: MarketServer
) -> None:
    later = CLOSE + timedelta(hours=1)
    strikes = [f"{118_000 + 10 * i}.99" for i in range(20)]
    exchange.events.append(event(rows(*strikes, of=LATER, closes_at=later), LATER))
    fetch_markets(database, plan(exchange))
    exchange.fail("/markets/candlesticks", status(404))
    report = fetch_candles(database, plan(exchange))
    assert report.fetched == 2
    found = {one.reason: (one.markets, one.minutes) for one in report.missing}
    assert found.pop("not asked, after 5 failures in succession") == (15, 900)
    [(reason, counts)] = found.items()
    assert reason.startswith("BadSymbol: ")
    assert counts == (5, 300)


def test_an_outage_stops_one_event_and_the_next_run_goes_on(database: Database, exchange: MarketServer) -> None:
    late = CLOSE + timedelta(hours=1)
    exchange.events.append(event(rows("118499.99", of=LATER, closes_at=late), LATER))
    exchange.candles[ticker("118499.99", LATER)] = minutes(*range(60), closes_at=late)
    fetch_markets(database, plan(exchange))
    exchange.fail("/markets/candlesticks", status(503), status(503))
    report = fetch_candles(database, plan(exchange))
    assert (report.fetched, report.inserted) == (2, 120)
    [missing] = report.missing
    assert (missing.markets, missing.minutes) == (1, 60)
    assert missing.reason.startswith("candles: ExchangeNotAvailable")
    assert fetch_candles(database, plan(exchange)).missing == []
    assert sum(candles(database).values()) == 180


def test_an_exchange_that_is_down_is_an_error_and_is_not_asked_for_ever(
    database: Database, exchange: MarketServer
) -> None:
    for hour in range(8):
        name, closes_at = f"KXBTCD-E{hour}", CLOSE - timedelta(hours=hour)
        exchange.events.append(event(rows("1.99", of=name, closes_at=closes_at), name))
    fetch_markets(database, plan(exchange))
    exchange.fail("/historical/cutoff", *[status(503)] * 2)
    exchange.fail("/markets/candlesticks", *[status(503)] * 20)
    exchange.requests.clear()
    with pytest.raises(MarketError, match=r"not asked, after 5 failures in succession"):
        fetch_candles(database, plan(exchange))
    assert len(exchange.requests) == 10, "five questions, each asked twice"
    exchange.fail("/markets", *[garbage] * 9)
    with pytest.raises(MarketError, match=r"^2026-07-20 00:00 to 2026-07-21 00:00 UTC: markets of KXBTCD: "):
        fetch_markets(database, plan(exchange))


def test_markets_before_the_historical_cutoff_are_asked_for_in_that_part(
    database: Database, exchange: MarketServer
) -> None:
    exchange.cutoff = (CLOSE + timedelta(minutes=1)).isoformat()
    points = ("open", "high", "low", "close")
    dollars = dict(zip(points, ("0.1700", "0.1800", "0.1600", "0.1700"), strict=True))
    historical = candle_2025(int(CLOSE.timestamp()), yes_bid=dollars, volume="3.00", open_interest="5.00")
    exchange.candles[ticker("118499.99")] = [historical]
    fetch_markets(database, plan(exchange))
    report = fetch_candles(database, plan(exchange))
    assert report.fetched == 2
    assert [one.split("?")[0] for one in exchange.requests if "candlesticks" in one] == [
        f"/trade-api/v2/historical/markets/{ticker(strike)}/candlesticks" for strike in ("118499.99", "118749.99")
    ]
    assert candles(database) == {ticker("118499.99"): 1, ticker("118749.99"): 60}


def test_an_event_of_a_week_is_fetched_for_its_last_hour(database: Database, exchange: MarketServer) -> None:
    [row] = rows("118499.99")
    exchange.events[0]["markets"] = [{**row, "open_time": (CLOSE - timedelta(hours=169)).isoformat()}]
    exchange.candles[ticker("118499.99")] = minutes(*range(600))
    fetch_markets(database, plan(exchange))
    assert fetch_candles(database, plan(exchange)).inserted == 60


def test_shapes_of_2025(database: Database, exchange: MarketServer) -> None:
    exchange.events[0]["markets"] = [
        market_2025(
            "118499.99",
            EVENT,
            open_time=(CLOSE - timedelta(hours=1)).isoformat(),
            close_time=CLOSE.isoformat(),
            status="finalized",
            result="yes",
        )
    ]
    exchange.candles[ticker("118499.99")] = [candle_2025(int(CLOSE.timestamp()))]
    fetch_markets(database, plan(exchange))
    assert fetch_candles(database, plan(exchange)).inserted == 1


def test_the_plan_follows_the_settings(settings: Settings) -> None:
    kalshi = {"source": MarketSource.KALSHI, "url": "http://localhost:1/v2", "requests_per_second": 8.0}
    configured = load_settings(markets=kalshi)
    found = backfill_plan(configured, "ETH", NOW, days=2)
    assert (found.exchange, found.symbol, found.series) == ("kalshi", "ETH", ("KXETHD",))
    assert (found.client.base_url, found.client.requests_per_second) == ("http://localhost:1/v2", 4.0)
    assert found.until == NOW - timedelta(minutes=10)
    assert found.until - found.since == timedelta(days=2)
    with pytest.raises(SettingsError, match="'DOGE' is not configured"):
        backfill_plan(configured, "DOGE", NOW)
    with pytest.raises(MarketError, match="markets.source is none"):
        backfill_plan(settings, "BTC", NOW)
