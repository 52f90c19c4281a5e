"""Questions for markets that come together share a request."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from exchange_server import status
from market_feeds import ladder
from market_messages import EVENT
from market_server import MarketServer, serving

from pipelines.domain.markets.listings import Listings
from pipelines.errors import MarketError
from pipelines.markets.client import MarketClient
from pipelines.markets.market_requests import MarketRequests


def ask(server: MarketServer, questions: Callable[[MarketRequests], Awaitable[object]]) -> None:
    async def run() -> None:
        server.rows_per_page = 1000
        async with serving(server), MarketClient(server.settings(attempts=1)) as client:
            requests = MarketRequests(client, 5.0)
            running = asyncio.create_task(requests.run())
            await questions(requests)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(run())


def names(server: MarketServer, first: int, last: int) -> tuple[str, ...]:
    return tuple(row["ticker"] for row in server.events[0]["markets"][first:last])


def received(found: Listings) -> tuple[str, ...]:
    return tuple(one.market.ticker for one in found.listings)


def test_each_question_gets_its_own_markets() -> None:
    server = MarketServer(events=[ladder(count=60)])
    first, second = names(server, 0, 21), names(server, 21, 42)

    async def questions(requests: MarketRequests) -> None:
        one, two = await asyncio.gather(requests.markets(first), requests.markets((*second, "KXBTCD-GONE")))
        assert (received(one), received(two)) == (first, second)
        assert one.refused == ()
        assert [refused.ticker for refused in two.refused] == ["KXBTCD-GONE"]
        assert one.received_at is not None

    ask(server, questions)
    assert len(server.requests) == 1


def test_no_request_has_more_than_a_hundred_tickers() -> None:
    server = MarketServer(events=[ladder(count=180)])
    parts = [names(server, start, start + 45) for start in range(0, 180, 45)]

    async def questions(requests: MarketRequests) -> None:
        found = await asyncio.gather(*(requests.markets(part) for part in parts))
        assert [received(one) for one in found] == parts

    ask(server, questions)
    assert len(server.requests) == 2


def test_a_refused_request_is_split_and_only_its_cause_fails() -> None:
    server = MarketServer(events=[ladder(count=60)])
    parts = [names(server, 0, 20), names(server, 20, 40), names(server, 40, 60)]
    server.refused_tickers = {parts[1][3]}

    async def questions(requests: MarketRequests) -> None:
        one, two, three = await asyncio.gather(*map(requests.markets, parts), return_exceptions=True)
        assert isinstance(one, Listings)
        assert isinstance(three, Listings)
        assert (received(one), received(three)) == (parts[0], parts[2])
        assert isinstance(two, MarketError)
        assert str(two).startswith("markets: BadRequest")

    ask(server, questions)
    assert len(server.requests) == 4


def test_an_outage_fails_every_question_without_more_requests() -> None:
    server = MarketServer(events=[ladder(count=40)])
    server.fail("/markets", status(503))

    async def questions(requests: MarketRequests) -> None:
        found = await asyncio.gather(
            requests.markets(names(server, 0, 20)), requests.markets(names(server, 20, 40)), return_exceptions=True
        )
        assert all(isinstance(one, MarketError) for one in found)

    ask(server, questions)
    assert len(server.requests) == 1


def test_a_question_without_tickers_has_no_markets_and_does_not_disturb_another() -> None:
    server = MarketServer(events=[ladder(count=40)])

    async def questions(requests: MarketRequests) -> None:
        assert received(await requests.markets(())) == ()
        assert received(await requests.markets(names(server, 0, 20))) == names(server, 0, 20)

    ask(server, questions)
    assert len(server.requests) == 1


def test_a_question_that_nobody_waits_for_does_not_disturb_another() -> None:
    server = MarketServer(events=[ladder(count=40)])

    async def questions(requests: MarketRequests) -> None:
        left = asyncio.create_task(requests.markets(names(server, 0, 20)))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert received(await requests.markets(names(server, 20, 40))) == names(server, 20, 40)

    ask(server, questions)
    assert all(EVENT in one for one in server.requests)
