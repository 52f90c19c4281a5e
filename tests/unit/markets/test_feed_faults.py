"""Faults of the exchange and of the network: what the board shows, and what goes on."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from exchange_server import garbage, other_shape, stall, status
from market_feeds import BTC, ETH, NEXT_EVENT, QUICK, START, RunningFeed, ladder, running
from market_messages import EVENT
from market_server import PREFIX, MarketServer, trading

from pipelines.domain.markets.board import EventBoard
from pipelines.markets.polling import PollPolicy
from pipelines.sources.retries import RetryPolicy

ETH_EVENT = "KXETHD-26MAR2106"


def is_complete(board: EventBoard) -> bool:
    return len(board.markets) == 30 and board.failure is None


def newest(board: EventBoard) -> Any:
    return max(one.received_at for one in board.markets)


async def recovers(feed: RunningFeed) -> None:
    """New quotes arrive, and the recovery is logged once."""
    before = newest(feed.board())
    await feed.until_board(lambda board: board.failure is None and newest(board) > before)
    await asyncio.sleep(0.1)
    assert feed.logged.count("quotes of KXBTCD: delivers again") == 1


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (status(429), "RateLimitExceeded"),
        (status(503), "ExchangeNotAvailable"),
        (status(403), "BadRequest"),
        (garbage, "expected a JSON object"),
        (other_shape, "expected a JSON object with 'markets'"),
    ],
)
def test_a_failure_is_shown_with_the_old_quotes_until_new_ones_arrive(fault: Any, shown: str) -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(is_complete)
            server.fail("/markets", *[fault] * 2)
            board = await feed.until_board(lambda board: board.failure is not None)
            assert board.failure is not None
            assert board.failure.startswith("markets: ")
            assert shown in board.failure
            assert len(board.markets) == 30
            assert newest(board) < feed.clock()
            await recovers(feed)
            assert sum(shown in line for line in feed.logged) <= 2

    asyncio.run(run())


def test_a_late_answer_is_not_waited_for() -> None:
    server = MarketServer(events=[ladder()])
    policy = PollPolicy(retry=RetryPolicy(stall_seconds=0.2, max_failures=9, pause_seconds=1, max_wait_seconds=0.1))

    async def run() -> None:
        async with running(server, policy=policy) as feed:
            await feed.until_board(is_complete)
            server.fail("/markets", stall)
            board = await feed.until_board(lambda board: board.failure is not None)
            assert board.failure == "markets: no answer within 0.2 s"
            await recovers(feed)

    asyncio.run(run())


def test_after_several_failures_the_exchange_is_left_alone_for_a_while() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(is_complete)
            server.fail("/markets", *[status(503)] * QUICK.max_failures)
            board = await feed.until_board(lambda board: "paused" in (board.failure or ""))
            assert board.failure is not None
            assert board.failure.endswith(f"(paused for {QUICK.pause_seconds} s after {QUICK.max_failures} failures)")
            await recovers(feed)

    asyncio.run(run())


def test_a_series_whose_request_is_refused_does_not_stop_another() -> None:
    server = MarketServer(events=[ladder(), ladder(ETH_EVENT)])

    async def run() -> None:
        async with running(server, (BTC, ETH)) as feed:
            await feed.until(lambda: is_complete(feed.board(BTC)) and is_complete(feed.board(ETH)))
            server.refused_tickers = {row["ticker"] for row in server.events[1]["markets"]}
            board = await feed.until_board(lambda board: board.failure is not None, ETH)
            assert (board.failure or "").startswith("markets: BadRequest")
            before = newest(feed.board(BTC))
            await feed.until_board(lambda board: newest(board) > before + timedelta(seconds=3))
            assert not any(board.failure for board in feed.boards if board.symbol == "BTC")
            server.refused_tickers.clear()
            await feed.until_board(is_complete, ETH)

    asyncio.run(run())


def test_an_exchange_that_cannot_be_reached_at_the_start_is_asked_again() -> None:
    server = MarketServer(events=[ladder()])
    for path in ("/markets", "/exchange/status", f"/events/{EVENT}", "/series/KXBTCD"):
        server.fail(path, *[status(500)] * 2)

    async def run() -> None:
        async with running(server) as feed:
            board = await feed.until_board(lambda board: board.failure is not None)
            assert (board.event_ticker, board.markets) == (None, ())
            assert (board.failure or "").startswith("markets of KXBTCD: ExchangeNotAvailable")
            await feed.until_board(is_complete)
            board = await feed.until_board(lambda board: board.problems == ())
            assert "search for events of KXBTCD: delivers again" in feed.logged

    asyncio.run(run())


def test_without_fee_terms_the_board_says_that_the_standard_fee_is_assumed() -> None:
    server = MarketServer(events=[ladder()])
    server.fail("/series/KXBTCD", *[status(404)] * 999)

    async def run() -> None:
        async with running(server) as feed:
            board = await feed.until_board(lambda board: is_complete(board) and len(board.problems) == 2)
            assert board.problems[0].startswith("fees of KXBTCD: BadRequest")
            assert board.problems[1] == "fees of KXBTCD are not known yet: the standard fee is assumed"

    asyncio.run(run())


@pytest.mark.parametrize("fault", ["stuck", "endless"])
def test_a_cursor_without_end_is_a_failure_and_not_a_loop(fault: str) -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server, max_pages=3) as feed:
            await feed.until_board(is_complete)
            server.stuck_cursor = "same" if fault == "stuck" else None
            server.endless = fault == "endless"
            board = await feed.until_board(lambda board: board.failure is not None)
            assert "cursor" in (board.failure or "") or "more than 3 pages" in (board.failure or "")
            server.stuck_cursor, server.endless = None, False
            await recovers(feed)

    asyncio.run(run())


def test_an_empty_page_is_a_failure_and_the_quotes_stay() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(is_complete)
            rows, server.events[0]["markets"] = server.events[0]["markets"], []
            board = await feed.until_board(lambda board: board.failure is not None)
            assert (board.failure or "").startswith(f"event {EVENT}: none of 21 markets: ")
            assert len(board.markets) == 30
            board = await feed.until_board(
                lambda board: any(one.startswith(f"event {EVENT}: no markets") for one in board.problems)
            )
            server.events[0]["markets"] = rows
            await recovers(feed)

    asyncio.run(run())


def test_a_halt_is_shown_and_ends() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(lambda board: is_complete(board) and board.trading)
            server.status = trading(trading_active=False)
            board = await feed.until_board(lambda board: not board.trading)
            assert len(board.markets) == 30
            server.status = trading()
            await feed.until_board(lambda board: board.trading)

    asyncio.run(run())


def test_an_unknown_status_of_the_exchange_is_a_problem_and_quotes_arrive() -> None:
    server = MarketServer(events=[ladder()])
    server.fail("/exchange/status", *[other_shape] * 999)

    async def run() -> None:
        async with running(server) as feed:
            board = await feed.until_board(lambda board: is_complete(board) and board.problems)
            assert board.problems[0].startswith("exchange status: exchange_active missing")
            assert board.trading

    asyncio.run(run())


@pytest.mark.parametrize(
    ("seconds", "shown"), [(3.0, "behind the exchange's"), (-3.0, "ahead of the exchange's"), (0.0, "")]
)
def test_a_clock_that_differs_from_the_exchanges_is_a_problem(seconds: float, shown: str) -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server, speed=2.0) as feed:
            server.clock = lambda: feed.clock() + timedelta(seconds=seconds)
            if shown:
                board = await feed.until_board(lambda board: is_complete(board) and board.problems)
                assert any(shown in one and one.startswith("this machine's clock is about ") for one in board.problems)
            else:
                await feed.until(lambda: len(feed.boards) > 8)
                assert not any("clock" in problem for board in feed.boards for problem in board.problems)

    asyncio.run(run())


def changed(server: MarketServer, **changes: Any) -> None:
    for row in server.events[0]["markets"]:
        row.update(changes)


@pytest.mark.parametrize(
    "change",
    [
        lambda server: changed(server, status="closed"),
        lambda server: changed(server, status="finalized", result="void"),
        lambda server: changed(server, close_time="2026-03-21T09:30:01Z"),
    ],
)
def test_an_event_that_ends_early_hands_over_and_its_results_are_followed(
    change: Callable[[MarketServer], None],
) -> None:
    server = MarketServer(events=[ladder(), ladder(NEXT_EVENT, "10:00", "11:00")])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(lambda board: board.event_ticker == EVENT and is_complete(board))
            change(server)
            await feed.until_board(lambda board: board.event_ticker == NEXT_EVENT)
            changed(server, status="finalized", result="void")
            await feed.until(lambda: len(feed.received_with(lambda market: market.is_settled)) == 30)

    asyncio.run(run())


def test_an_event_that_is_renamed_is_found_again() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(is_complete)
            server.events[:] = [ladder("KXBTCD-26MAR2106R")]
            board = await feed.until_board(lambda board: board.event_ticker == "KXBTCD-26MAR2106R")
            await feed.until_board(is_complete)
            assert board.closes_at == START + timedelta(minutes=30)

    asyncio.run(run())


def test_a_close_that_moves_is_followed() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        async with running(server) as feed:
            await feed.until_board(is_complete)
            changed(server, close_time="2026-03-21T10:15:00Z")
            close = START + timedelta(minutes=45)
            board = await feed.until_board(lambda board: is_complete(board) and board.closes_at == close)
            assert board.problems == () or "closes at" not in board.problems[0]

    asyncio.run(run())


def test_a_fault_of_the_caller_is_not_hidden() -> None:
    server = MarketServer(events=[ladder()])

    async def run() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with running(server, price_of=lambda _: 1 / 0) as feed:
                await feed.until(lambda: len(server.requests) > 99)
        assert caught.group_contains(ZeroDivisionError)

    asyncio.run(run())


def test_the_next_event_that_is_listed_late_is_found_after_the_close() -> None:
    server = MarketServer(events=[ladder()])
    close = START + timedelta(minutes=30)

    async def run() -> None:
        async with running(server, start=close - timedelta(seconds=10)) as feed:
            await feed.until_board(is_complete)
            board = await feed.until_board(lambda board: board.event_ticker is None)
            assert (board.failure, board.markets, board.closes_at) == (None, (), None)
            await feed.until(lambda: "KXBTCD: no event is open" in feed.logged)
            server.events.append(ladder(NEXT_EVENT, "10:00", "11:00"))
            await feed.until_board(lambda board: board.event_ticker == NEXT_EVENT and is_complete(board))

    asyncio.run(run())


def test_an_event_of_a_later_hour_is_current_until_that_of_the_hour_is_listed() -> None:
    server = MarketServer(events=[ladder("KXBTCD-26MAR2117", "09:00", "21:00")])

    async def run() -> None:
        async with running(server) as feed:
            board = await feed.until_board(is_complete)
            assert board.event_ticker == "KXBTCD-26MAR2117"
            assert any(one.startswith(f"{PREFIX}/events?") for one in server.requests)
            server.events.append(ladder())
            await feed.until_board(lambda board: board.event_ticker == EVENT)

    asyncio.run(run())


def test_an_event_without_markets_is_named() -> None:
    server = MarketServer(events=[ladder(count=0)])

    async def run() -> None:
        async with running(server) as feed:
            board = await feed.until_board(lambda board: any(EVENT in one for one in board.problems))
            assert f"{EVENT}: no markets" in board.problems
            assert (board.event_ticker, board.markets) == (None, ())

    asyncio.run(run())
