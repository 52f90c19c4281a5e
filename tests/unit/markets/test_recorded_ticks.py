"""Recorded order-book updates of one event through the feed: what is received is what was recorded, and nothing is lost."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import recorded_markets
from market_feeds import BTC, running
from market_messages import event
from market_server import MarketServer

from pipelines.domain.markets.board import MarketSource
from pipelines.domain.markets.listings import Listing
from pipelines.markets.series_events import SeriesEvents
from pipelines.markets.wire import read_listings

pytestmark = pytest.mark.real_data

EVENT = "KXBTCD-25MAY2016"
CLOSE = datetime(2025, 5, 20, 20, tzinfo=UTC)
MARKETS = {f"{EVENT}-T{strike}" for strike in ("104999.99", "105499.99", "106499.99")}


def quoted(listing: Listing) -> tuple[int, float, int, float]:
    """Best bids in cents with their sizes, 0 for no bid."""
    yes, no = (
        (0, 0.0) if bid is None else (int(bid.price * 100), float(bid.contracts or 0))
        for bid in (listing.quotes.yes_bid, listing.quotes.no_bid)
    )
    return (*yes, *no)


def test_every_update_reaches_the_board_and_the_final_books_are_those_of_the_recording() -> None:
    recorded = recorded_markets.updates(EVENT, CLOSE)
    expected = {name: recorded.of(name) for name in MARKETS}
    events = SeriesEvents(BTC, MarketSource.KALSHI)
    seen = Counter[str]()
    for at, row in recorded.rows():
        events.take_found(read_listings([row], "KXBTCD"), at)
        name = row["ticker"]
        [shown] = [one for one in events.board(at, None).markets if one.listing.market.ticker == name]
        assert (shown.received_at, quoted(shown.listing)) == (at, expected[name][seen[name]])
        seen[name] += 1
    assert seen == {name: len(own) for name, own in expected.items()}
    assert sum(seen.values()) == 41_378
    final = {one.listing.market.ticker: quoted(one.listing) for one in events.board(at, None).markets}
    assert final == {name: own[-1] for name, own in expected.items()}


def test_polled_at_twenty_times_speed_each_answer_is_what_the_exchange_had() -> None:
    recorded = recorded_markets.updates(EVENT, CLOSE)
    expected = {name: recorded.of(name) for name in MARKETS}
    start = CLOSE - timedelta(minutes=2)
    changes = list(recorded.rows())
    before = {row["ticker"]: row for at, row in changes if at <= start}
    changes = [(at, row) for at, row in changes if at > start]
    listed = event(list(before.values()), EVENT)
    server = MarketServer(events=[listed])

    async def run() -> None:
        async with running(server, start=start) as feed:
            waiting = iter(changes)
            upcoming = next(waiting, None)
            while upcoming is not None:
                while upcoming is not None and upcoming[0] <= feed.clock():
                    number = [row["ticker"] for row in listed["markets"]].index(upcoming[1]["ticker"])
                    listed["markets"][number] = upcoming[1]
                    upcoming = next(waiting, None)
                await asyncio.sleep(0.002)
            for row in listed["markets"]:
                row.update(status="finalized", result="yes")
            await feed.until(lambda: feed.received_with(lambda market: market.is_settled) == MARKETS)
            received = [one for _, listings, _ in feed.received for one in listings]
            newest = dict[str, int]()
            for one in received:
                name, number = one.market.ticker, int(one.volume)
                assert quoted(one) == expected[name][number - 1]
                assert number >= newest.get(name, 0)
                newest[name] = number
            assert newest == {name: len(own) for name, own in expected.items()}

    asyncio.run(run())
