"""Requests for candles, against a local server in the exchange's shapes and with its faults."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from exchange_server import status
from market_messages import FIRST_MINUTE, candle_2025, candle_2026, candle_historical, ticker
from market_server import MarketServer, serving
from simulated_exchange import BTC, fixed, simulated_exchange, walk_until

from pipelines.domain.markets.candles import MINUTE, MarketCandles, MinuteRange, wanted_minutes
from pipelines.domain.markets.listings import Listing
from pipelines.errors import MarketError
from pipelines.markets.client import ClientSettings, MarketClient

R = TypeVar("R")
FIRST = datetime(2026, 3, 21, 9, 1, tzinfo=UTC)
HOUR = MinuteRange(FIRST, FIRST + 59 * MINUTE)


def ask(server: MarketServer, question: Callable[[MarketClient], Awaitable[R]], **changes: Any) -> R:
    async def run() -> R:
        async with serving(server), MarketClient(server.settings(**changes)) as client:
            return await question(client)

    return asyncio.run(run())


def test_candles_of_several_markets_in_one_request() -> None:
    a, b, gone = ticker("80199.99"), ticker("80449.99"), ticker("1.99")
    minutes = [FIRST_MINUTE + 60 * i for i in range(-2, 70)]
    server = MarketServer(candles={a: [candle_2026(end) for end in minutes], b: [candle_2025()]})
    found = ask(server, lambda client: client.candles([a, gone, b, a], HOUR))
    assert [one.ticker for one in found] == [a, gone, b]
    assert [one.ends_at for one in found[0].candles] == [FIRST + i * MINUTE for i in range(60)]
    assert found[0].refused == ()
    assert [one.reason for one in found[1].refused] == ["not in the exchange's answer"]
    assert len(found[2].candles) == 1
    assert len(server.requests) == 1
    assert "period_interval=1" in server.requests[0]


def test_more_markets_than_fit_are_asked_for_in_parts() -> None:
    names = [ticker(f"{80_000 + i}.99") for i in range(150)]
    minutes = [candle_2026(FIRST_MINUTE + 60 * i) for i in range(120)]
    server = MarketServer(candles=dict.fromkeys(names, minutes))
    found = ask(server, lambda client: client.candles(names, MinuteRange(FIRST, FIRST + 119 * MINUTE)))
    assert [len(one.candles) for one in found] == [120] * 150
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("series", "row", "path"),
    [
        ("KXBTCD", candle_2026(), f"/series/KXBTCD/markets/{ticker()}/candlesticks"),
        (None, candle_historical(), f"/historical/markets/{ticker()}/candlesticks"),
    ],
)
def test_candles_of_one_market_also_of_the_historical_part(series: str | None, row: dict[str, Any], path: str) -> None:
    server = MarketServer(candles={ticker(): [row]})
    found = ask(server, lambda client: client.candles_of(ticker(), series, HOUR))
    assert [one.ends_at for one in found.candles] == [FIRST]
    assert path in server.requests[0]


def test_failures_name_what_was_asked() -> None:
    server = MarketServer(candles={ticker(): [candle_2026()]})
    server.fail("/markets/candlesticks", status(503), status(429))
    assert len(ask(server, lambda client: client.candles([ticker()], HOUR))[0].candles) == 1
    server.fail("/markets/candlesticks", status(400))
    with pytest.raises(MarketError, match=r"^candles: BadRequest"):
        ask(server, lambda client: client.candles([ticker()], HOUR))
    with pytest.raises(MarketError, match=r"^candles of KXBTCD-GONE: BadSymbol"):
        ask(server, lambda client: client.candles_of("KXBTCD-GONE", "KXBTCD", HOUR))
    with pytest.raises(MarketError, match=r"^ticker 'A/../B': expected letters"):
        ask(server, lambda client: client.candles_of("A/../B", None, HOUR))


def test_candles_of_the_simulated_exchange_are_whole() -> None:
    now = datetime(2026, 7, 22, 17, 30, tzinfo=UTC)

    async def run() -> tuple[list[Listing], list[MarketCandles]]:
        prices = {"BTC": walk_until(now, hours=3)}
        async with (
            simulated_exchange(prices, [BTC], clock=fixed(now)) as url,
            MarketClient(ClientSettings(url, requests_per_second=1000.0)) as client,
        ):
            closed = (await client.markets("KXBTCD", None, closing=(now - 60 * MINUTE, now))).listings
            one = closed[0].market
            minutes = wanted_minutes(one.opens_at, one.closes_at)
            return list(closed), await client.candles([each.market.ticker for each in closed], minutes)

    closed, found = asyncio.run(run())
    assert len(closed) >= 40
    assert [one.ticker for one in found] == [one.market.ticker for one in closed]
    assert all(len(one.candles) == 60 and not one.refused for one in found)
    closes = [one.candles[29] for one in sorted(found, key=lambda one: float(one.ticker.rpartition("T")[2]))]
    bids = [candle.yes_bid.close for candle in closes if candle.yes_bid.close is not None]
    assert bids == sorted(bids, reverse=True), "the price falls with the strike"
    assert len(bids) >= 20
