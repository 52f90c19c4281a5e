"""Closed markets are asked for by ticker until their results are final."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from exchange_server import status
from market_feeds import START, RunningFeed, ladder, running
from market_messages import EVENT, ticker
from market_server import PREFIX, MarketServer

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus

CLOSED_AT = START - timedelta(minutes=1)
FIRST, SECOND = ticker("77999.99"), ticker("78249.99")


def server(**changes: Any) -> MarketServer:
    """Two markets that closed a minute before START."""
    return MarketServer(events=[ladder(opens="08:29", closes="09:29", count=2, **{"status": "closed", **changes})])


def unfinished(closed_at: datetime = CLOSED_AT) -> list[tuple[str, str, datetime]]:
    return [("BTC", FIRST, closed_at), ("BTC", SECOND, closed_at)]


def settle(found: MarketServer, index: int, **changes: Any) -> None:
    found.events[0]["markets"][index].update({"status": "finalized", "result": "yes", **changes})


def asked(found: MarketServer, name: str) -> int:
    return sum(name in one for one in found.requests if one.startswith(f"{PREFIX}/markets?tickers="))


def last(feed: RunningFeed, name: str) -> Market:
    return [one.market for _, listings, _ in feed.received for one in listings if one.market.ticker == name][-1]


def is_settled(market: Market) -> bool:
    return market.is_settled


def test_markets_that_earlier_sessions_left_are_followed_until_final() -> None:
    found = server()

    async def run() -> None:
        async with running(found, unfinished=unfinished()) as feed:
            await feed.until(lambda: asked(found, FIRST) >= 2)
            settle(found, 0, result="no")
            await feed.until(lambda: feed.received_with(is_settled) == {FIRST})
            final = asked(found, FIRST)
            await feed.until(lambda: asked(found, SECOND) >= final + 2)
            assert asked(found, FIRST) == final
            settle(found, 1, result="void")
            await feed.until(lambda: feed.received_with(is_settled) == {FIRST, SECOND})
            assert (last(feed, FIRST).result, last(feed, SECOND).result) == (MarketResult.NO, MarketResult.VOID)

    asyncio.run(run())


@pytest.mark.parametrize("state", ["determined", "disputed", "amended"])
def test_a_result_that_can_still_change_is_asked_for_again(state: str) -> None:
    found = server(status=state, result="yes")

    async def run() -> None:
        async with running(found, unfinished=unfinished()) as feed:
            await feed.until(lambda: asked(found, FIRST) >= 3)
            assert last(feed, FIRST).status is MarketStatus(state)
            assert last(feed, FIRST).result is MarketResult.YES
            assert not feed.received_with(is_settled)
            settle(found, 0, result="no")
            await feed.until(lambda: last(feed, FIRST).result is MarketResult.NO)

    asyncio.run(run())


def test_each_market_has_its_own_result_whatever_the_order_of_the_answer() -> None:
    found = server()
    settle(found, 0, result="no")
    settle(found, 1, result="yes")
    found.events[0]["markets"].reverse()

    async def run() -> None:
        async with running(found, unfinished=unfinished()) as feed:
            await feed.until(lambda: len(feed.received_with(is_settled)) == 2)
            assert (last(feed, FIRST).result, last(feed, SECOND).result) == (MarketResult.NO, MarketResult.YES)

    asyncio.run(run())


def test_a_market_without_a_final_result_is_left_after_some_hours_and_reported() -> None:
    found = server()
    old = START - timedelta(hours=7)

    async def run() -> None:
        async with running(found, unfinished=unfinished(old)) as feed:
            line = f"{FIRST} and 1 more: no final result 6 hours after the close, not asked again"
            await feed.until(lambda: line in feed.logged)
            assert asked(found, FIRST) == 1
            assert last(feed, FIRST).status is MarketStatus.CLOSED
            await asyncio.sleep(0.3)
            assert asked(found, FIRST) == 1

    asyncio.run(run())


def test_questions_become_rarer_with_the_time_since_the_close() -> None:
    found = server()

    async def run() -> None:
        async with running(found, unfinished=[("BTC", FIRST, CLOSED_AT)], speed=200.0) as feed:
            await feed.until(lambda: feed.clock() > START + timedelta(minutes=5))
            # Each 5 s at first, then after a twelfth of the time since the close: 21 times in 5 minutes, not 60.
            assert 2 <= asked(found, FIRST) <= 30

    asyncio.run(run())


def test_a_market_that_vanished_does_not_stop_the_others() -> None:
    found = server()
    gone = found.events[0]["markets"].pop(0)
    settle(found, 0)

    async def run() -> None:
        async with running(found, unfinished=unfinished()) as feed:
            await feed.until(lambda: feed.received_with(is_settled) == {SECOND})
            await feed.until(lambda: asked(found, FIRST) >= 3)
            found.events[0]["markets"].append(
                gone | {"status": "finalized", "result": "scalar", "settlement_value_dollars": "0.3000"}
            )
            await feed.until(lambda: FIRST in feed.received_with(is_settled))

    asyncio.run(run())


def test_thousands_of_markets_are_asked_for_in_parts() -> None:
    found = MarketServer(events=[ladder(opens="08:29", closes="09:29", count=1200, status="finalized", result="yes")])
    names = [row["ticker"] for row in found.events[0]["markets"]]

    async def run() -> None:
        async with running(found, unfinished=[("BTC", name, CLOSED_AT) for name in names]) as feed:
            await feed.until(lambda: len(feed.received_with(is_settled)) == 1200)

    asyncio.run(run())


def test_failures_are_repeated() -> None:
    found = server(status="finalized", result="yes")
    found.fail("/markets", *[status(503)] * 3)

    async def run() -> None:
        async with running(found, unfinished=unfinished()) as feed:
            await feed.until(lambda: len(feed.received_with(is_settled)) == 2)

    asyncio.run(run())


def test_listings_carry_the_symbol_that_they_were_followed_for() -> None:
    found = server()
    found.events.append(ladder("KXETHD-26MAR2105", "08:29", "09:29", 1, status="closed"))
    other = ticker("77999.99", "KXETHD-26MAR2105")

    async def run() -> None:
        async with running(found, unfinished=[("BTC", FIRST, CLOSED_AT), ("ETH", other, CLOSED_AT)]) as feed:

            def symbols(name: str) -> set[str]:
                return {
                    symbol
                    for symbol, listings, _ in feed.received
                    if any(one.market.ticker == name for one in listings)
                }

            await feed.until(lambda: symbols(FIRST) and symbols(other))
            assert (symbols(FIRST), symbols(other)) == ({"BTC"}, {"ETH"})

    asyncio.run(run())


def test_a_market_keeps_its_series_when_its_ticker_begins_otherwise() -> None:
    found = server(status="finalized", result="yes")

    async def run() -> None:
        async with running(found, unfinished=unfinished(), series_of={FIRST: "BTCHOURLY"}) as feed:
            await feed.until(lambda: feed.received_with(lambda one: one.series_ticker == "BTCHOURLY"))
            assert feed.received_with(lambda one: one.series_ticker == "BTCHOURLY") == {FIRST}

    asyncio.run(run())


def test_results_are_asked_for_after_the_clock_was_set_back() -> None:
    found = server()

    async def run() -> None:
        async with running(found, unfinished=unfinished()) as feed:
            await feed.until(lambda: asked(found, FIRST) >= 1)
            feed.clock.step(timedelta(hours=-1))
            before = asked(found, FIRST)
            await feed.until(lambda: asked(found, FIRST) >= before + 2)

    asyncio.run(run())


def test_the_event_of_closed_markets_is_not_current() -> None:
    found = server()

    async def run() -> None:
        async with running(found, unfinished=unfinished()) as feed:
            await feed.until(lambda: asked(found, FIRST) >= 2)
            assert feed.board().event_ticker != EVENT

    asyncio.run(run())
