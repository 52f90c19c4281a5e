"""The feed of markets on the simulated exchange: whole lives of events, with its incidents."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from market_feeds import BTC, FastClock, RunningFeed, feeding
from simulated_exchange import BTC as BTC_SERIES
from simulated_exchange import QUARTERS, RANGES, ahead, simulated_exchange, walk

from pipelines.domain.markets.contracts import MarketResult
from pipelines.domain.prices.ticks import milliseconds_of
from pipelines.markets.client import ClientSettings
from pipelines.markets.series_events import SeriesPlan
from pipelines.markets.simulation.incidents import CALM, Incidents

#: 17:00 Eastern, when an event closes that has been open for 25 hours.
CLOSE = datetime(2026, 7, 22, 21, tzinfo=UTC)
ALL = (BTC, SeriesPlan("BTC", "KXBTC", 250.0), SeriesPlan("BTC", "KXBTC15M", 250.0))
PRICES = walk(CLOSE - timedelta(hours=3), 5 * 3600)


@asynccontextmanager
async def simulated(
    start: datetime,
    plans: Sequence[SeriesPlan] = (BTC,),
    incidents: Incidents = CALM,
    speed: float = 20.0,
    ahead_seconds: float = 0.0,
) -> AsyncIterator[RunningFeed]:
    clock = FastClock(start, speed)
    series = (BTC_SERIES, RANGES, QUARTERS)
    async with simulated_exchange(
        {"BTC": PRICES}, series, incidents=incidents, clock=ahead(clock, ahead_seconds)
    ) as url:
        settings = ClientSettings(url, attempts=1, requests_per_second=1000.0)
        async with feeding(settings, clock, plans, price_of=lambda _: 118_000.0) as feed:
            yield feed


@pytest.mark.parametrize(
    ("incidents", "results"),
    [(CALM, {MarketResult.YES, MarketResult.NO}), (Incidents(0.0, 0.0, 0.0, 1.0), {MarketResult.VOID})],
    ids=["calm", "void"],
)
def test_every_market_of_a_closed_event_gets_its_result_and_the_next_event_follows(
    incidents: Incidents, results: set[MarketResult]
) -> None:
    async def run() -> None:
        async with simulated(CLOSE - timedelta(seconds=90), ALL, incidents) as feed:
            closed = set[str]()
            for plan in ALL:
                board = await feed.until_board(lambda board: board.closes_at == CLOSE and board.title, plan)
                closed |= {one.listing.market.ticker for one in board.markets}
            assert len(closed) > 80
            for plan in ALL:
                await feed.until_board(lambda board: board.closes_at and board.closes_at > CLOSE, plan)
            await feed.until(lambda: closed <= feed.received_with(lambda market: market.is_settled))
            settled = {
                one.market.ticker: one.market.result
                for _, listings, _ in feed.received
                for one in listings
                if one.market.is_settled
            }
            assert {settled[ticker] for ticker in closed} == results
            found = {problem.partition(" ")[0] for board in feed.boards for problem in board.problems}
            assert found <= {"fees"}, "not read yet"

    asyncio.run(run())


def test_at_17_eastern_the_event_that_opens_takes_over_and_not_that_of_the_next_day() -> None:
    async def run() -> None:
        async with simulated(CLOSE - timedelta(seconds=30)) as feed:
            board = await feed.until_board(
                lambda board: board.closes_at == CLOSE and len(board.markets) > 21 and not board.problems
            )
            assert board.failure is None
            closed = {one.listing.market.ticker for one in board.markets}
            board = await feed.until_board(
                lambda board: board.closes_at == CLOSE + timedelta(hours=1) and len(board.markets) > 21 and board.title
            )
            assert "simulated" in board.title
            await feed.until(lambda: closed <= feed.received_with(lambda market: market.is_settled))
            results = [one.market.result for _, listings, _ in feed.received for one in listings if one.market.result]
            assert {MarketResult.YES, MarketResult.NO} <= set(results)

    asyncio.run(run())


def test_ranges_and_quarter_hours_have_boards_of_their_own() -> None:
    async def run() -> None:
        async with simulated(CLOSE - timedelta(minutes=40), ALL) as feed:
            for plan, count in zip(ALL, (22, 22, 1), strict=True):
                board = await feed.until_board(lambda board, count=count: len(board.markets) >= count, plan)  # type: ignore[misc]
                assert board.series_ticker == plan.series_ticker
                assert {one.listing.market.series_ticker for one in board.markets} == {plan.series_ticker}
            assert feed.board(ALL[2]).closes_at == CLOSE - timedelta(minutes=30)
            assert feed.board(ALL[0]).closes_at == CLOSE

    asyncio.run(run())


def test_an_event_that_closes_early_leaves_the_board_and_is_settled() -> None:
    early = Incidents(pause=0.0, halt=0.0, early_close=1.0, void=0.0)
    scheduled = CLOSE + timedelta(hours=1)
    opens_ms, closes_ms = milliseconds_of(CLOSE), milliseconds_of(scheduled)
    ends_ms = early.early_close_of(0, BTC_SERIES.event_ticker(scheduled), opens_ms, closes_ms)
    assert ends_ms is not None

    async def run() -> None:
        start = CLOSE + timedelta(milliseconds=ends_ms - opens_ms) - timedelta(seconds=20)
        async with simulated(start, incidents=early) as feed:
            board = await feed.until_board(lambda board: len(board.markets) > 21)
            first = {one.listing.market.ticker for one in board.markets}
            await feed.until_board(lambda later: later.event_ticker != board.event_ticker)
            await feed.until(lambda: first <= feed.received_with(lambda market: market.is_settled))

    asyncio.run(run())


def test_a_pause_of_the_exchange_is_shown_and_ends() -> None:
    paused = Incidents(pause=1.0, halt=0.0, early_close=0.0, void=0.0)

    async def run() -> None:
        async with simulated(CLOSE - timedelta(minutes=59), incidents=paused, speed=100.0) as feed:
            board = await feed.until_board(lambda board: not board.trading)
            assert len(board.markets) > 21
            await feed.until_board(lambda board: board.trading)

    asyncio.run(run())


def test_an_exchange_whose_clock_is_three_seconds_ahead_is_noticed() -> None:
    async def run() -> None:
        async with simulated(CLOSE - timedelta(minutes=40), speed=2.0, ahead_seconds=3.0) as feed:
            board = await feed.until_board(lambda board: board.markets and board.problems)
            await feed.until(
                lambda: any("behind the exchange's: set it by NTP" in one for one in feed.board().problems)
            )
            assert board.failure is None

    asyncio.run(run())
