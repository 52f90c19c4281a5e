"""The feed of markets against a local server: boards, hand-over from event to event, and results."""

import asyncio
from datetime import timedelta

from market_feeds import BTC, ETH, NEXT_EVENT, START, ladder, running
from market_messages import EVENT
from market_server import PREFIX, MarketServer


def polls(server: MarketServer) -> list[str]:
    return [one for one in server.requests if one.startswith(f"{PREFIX}/markets?") and "tickers=" in one]


def test_the_board_has_the_whole_event_and_the_nearest_markets_stay_fresh() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until(lambda: len(polls(server)) >= 3)
            board = feed.board()
            assert (board.event_ticker, board.closes_at) == (EVENT, START + timedelta(minutes=30))
            assert board.title == "Bitcoin price on Mar 21, 2026?"
            assert (board.failure, board.problems, board.trading) == (None, (), True)
            assert len(board.markets) == 30
            newest = max(one.received_at for one in board.markets)
            fresh = [one for one in board.markets if one.received_at == newest]
            assert len(fresh) == 21
            strikes = sorted(float(one.listing.market.floor_strike or 0) for one in fresh)
            assert (strikes[0], strikes[-1]) == (77_999.99, 82_999.99)
            assert len(polls(server)[0].split("%2C")) == 21
            assert feed.received
            assert all(symbol == "BTC" for symbol, _, _ in feed.received)

    asyncio.run(run())


def test_new_quotes_reach_the_board() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(lambda board: len(board.markets) == 30)
            row = server.events[0]["markets"][8]
            row |= {"yes_bid_dollars": "0.5300", "no_ask_dollars": "0.4700", "yes_bid_size_fp": "9.00"}

            def arrived() -> bool:
                [one] = [one for one in feed.board().markets if one.listing.market.ticker == row["ticker"]]
                quotes = one.listing.quotes
                return quotes.yes_bid is not None and str(quotes.yes_bid.price) == "0.5300"

            await feed.until(arrived)
            assert any(row["ticker"] in {one.listing.market.ticker for one in board.markets} for board in feed.boards)

    asyncio.run(run())


def test_the_markets_of_all_series_are_asked_for_together() -> None:
    server = MarketServer(events=[ladder(), ladder("KXETHD-26MAR2106")])

    async def run() -> None:
        async with running(server, (BTC, ETH)) as feed:
            await feed.until(lambda: any("KXBTCD" in one and "KXETHD" in one for one in polls(server)))
            both = next(one for one in polls(server) if "KXBTCD" in one and "KXETHD" in one)
            assert len(both.split("%2C")) == 42
            for plan, name in ((BTC, EVENT), (ETH, "KXETHD-26MAR2106")):
                board = feed.board(plan)
                assert board.event_ticker == name
                assert {one.listing.market.event_ticker for one in board.markets} == {name}

    asyncio.run(run())


def test_the_board_hands_over_at_the_close_and_results_are_followed() -> None:
    server = MarketServer(events=[ladder(), ladder(NEXT_EVENT, "10:00", "11:00", status="initialized")])
    close = START + timedelta(minutes=30)

    async def run() -> None:
        async with running(server, start=close - timedelta(seconds=20)) as feed:
            await feed.until_board(lambda board: board.event_ticker == EVENT)
            await feed.until(lambda: any(NEXT_EVENT in one for one in server.requests))
            await feed.until(lambda: feed.clock() >= close)
            assert feed.board().event_ticker == NEXT_EVENT
            for row in server.events[0]["markets"]:
                row |= {"status": "finalized", "result": "yes", "settlement_value_dollars": "1.0000"}
            await feed.until(lambda: len(feed.received_with(lambda market: market.is_settled)) == 30)
            assert f"KXBTCD: event {NEXT_EVENT} until 11:00:00 UTC" in feed.logged

    asyncio.run(run())
