"""Candles of the simulated exchange, over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from simulated_exchange import BTC, fixed, simulated_exchange, walk

from pipelines.domain.markets.candles import MarketCandles, MinuteRange
from pipelines.markets.client import ClientSettings, MarketClient

#: The event of 14:00 Eastern has closed.
NOW = datetime(2026, 7, 22, 18, 10, tzinfo=UTC)
CLOSE = datetime(2026, 7, 22, 18, 0, tzinfo=UTC)
PRICES = {"BTC": walk(NOW - timedelta(hours=3), 4 * 3600)}
OPEN_TS, CLOSE_TS = int(CLOSE.timestamp()) - 3_600, int(CLOSE.timestamp())
SIDES = ("yes_bid", "yes_ask")


def get(*requests: tuple[str, dict[str, Any]], now: datetime = NOW) -> list[httpx.Response]:
    """The answers of one exchange to requests, in their order."""

    async def run() -> list[httpx.Response]:
        async with simulated_exchange(PRICES, [BTC], clock=fixed(now)) as url, httpx.AsyncClient(base_url=url) as http:
            return [await http.get(path, params=params) for path, params in requests]

    return asyncio.run(run())


def market(place: int = 20) -> str:
    [found] = get(("markets", {"event_ticker": "KXBTCD-26JUL2214"}))
    return str(found.json()["markets"][place]["ticker"])


def path(ticker: str) -> str:
    return f"series/KXBTCD/markets/{ticker}/candlesticks"


def period(minutes: int, start: int = OPEN_TS, end: int = CLOSE_TS) -> dict[str, int]:
    return {"start_ts": start, "end_ts": end, "period_interval": minutes}


def test_a_candle_of_each_minute_ends_with_the_quotes_of_its_end() -> None:
    ticker = market()
    [found] = get((path(ticker), period(1)))
    assert found.json()["ticker"] == ticker
    candles = found.json()["candlesticks"]
    assert [one["end_period_ts"] for one in candles] == list(range(OPEN_TS + 60, CLOSE_TS + 1, 60))
    for number in (4, 30, 58):
        [shown] = get((f"markets/{ticker}", {}), now=datetime.fromtimestamp(candles[number]["end_period_ts"], UTC))
        for side in SIDES:
            assert candles[number][side]["close_dollars"] == shown.json()["market"][f"{side}_dollars"]
        assert candles[number]["open_interest_fp"] == shown.json()["market"]["open_interest_fp"]
    for before, after in pairwise(candles[5:]):
        for side in SIDES:
            assert after[side]["open_dollars"] == before[side]["close_dollars"]
            prices = [float(after[side][f"{name}_dollars"]) for name in ("low", "open", "close", "high")]
            assert prices[0] <= min(prices[1:3])
            assert prices[3] >= max(prices[1:3])
    [whole] = get((f"markets/{ticker}", {}))
    assert sum(float(one["volume_fp"]) for one in candles) == float(whole.json()["market"]["volume_fp"])


def test_an_hour_is_made_of_its_minutes() -> None:
    ticker = market()
    minutes, hour, day = (one.json()["candlesticks"] for one in get(*((path(ticker), period(n)) for n in (1, 60, 1))))
    assert minutes == day
    [hour] = hour
    for side in SIDES:
        assert float(hour[side]["high_dollars"]) == max(float(one[side]["high_dollars"]) for one in minutes)
        assert hour[side]["close_dollars"] == minutes[-1][side]["close_dollars"]


def test_several_markets_in_one_request() -> None:
    first, second = market(20), market(21)
    one, together = get(
        (path(first), period(1)), ("markets/candlesticks", {"market_tickers": f"{first},{second},NONE", **period(1)})
    )
    markets = together.json()["markets"]
    assert [found["market_ticker"] for found in markets] == [first, second]
    assert markets[0]["candlesticks"] == one.json()["candlesticks"]


def test_the_client_reads_them_alike_by_both_ways() -> None:
    tickers = [market(20), market(21)]
    minutes = MinuteRange(CLOSE - timedelta(hours=1), CLOSE)

    async def run() -> tuple[list[MarketCandles], list[MarketCandles]]:
        async with (
            simulated_exchange(PRICES, [BTC], clock=fixed(NOW)) as url,
            MarketClient(ClientSettings(base_url=url)) as client,
        ):
            singly = [await client.candles_of(ticker, "KXBTCD", minutes) for ticker in tickers]
            return await client.candles(tickers, minutes), singly

    together, singly = asyncio.run(run())
    assert together == singly
    assert all(len(one.candles) == 60 and not one.refused for one in together)


def test_only_finished_periods_are_shown() -> None:
    ticker = market()
    [found] = get((path(ticker), period(1)), now=CLOSE - timedelta(minutes=20, seconds=5))
    assert found.json()["candlesticks"][-1]["end_period_ts"] == CLOSE_TS - 21 * 60


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (period(5), "period_interval 5: expected 1, 60, 1440"),
        ({"start_ts": 1, "period_interval": 1}, "end_ts ''"),
        (period(1, start=CLOSE_TS - 60 * 5_001), "5001 periods, at most 5000"),
        ({**period(1), "start_ts": "yesterday"}, "start_ts 'yesterday'"),
    ],
    ids=["period", "missing", "too many", "no number"],
)
def test_requests_that_are_refused(params: dict[str, Any], reason: str) -> None:
    [found] = get((path(market()), params))
    assert found.status_code == 400
    assert found.json()["error"]["message"].startswith(reason)


def test_unknown_markets() -> None:
    answers = get((path("KXBTCD-26JUL2214-T1"), period(1)), (path("NONE"), period(1)))
    assert [answer.status_code for answer in answers] == [404, 404]
