"""A market feed with the real client against a local server, with a clock that runs faster than time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from market_messages import EVENT, event, market_2026
from market_server import MarketServer, serving
from waiting import TIMEOUT_SECONDS

from pipelines.domain.markets.board import EventBoard, MarketSource
from pipelines.domain.markets.contracts import Market
from pipelines.domain.markets.listings import Listing
from pipelines.markets.client import ClientSettings, MarketClient
from pipelines.markets.feed import MarketFeed
from pipelines.markets.polling import PollPolicy
from pipelines.markets.series_events import SeriesPlan
from pipelines.sources.retries import RetryPolicy

#: Half an hour before the close of the event of `market_messages`.
START = datetime(2026, 3, 21, 9, 30, tzinfo=UTC)
NEXT_EVENT = "KXBTCD-26MAR2107"
BTC = SeriesPlan("BTC", "KXBTCD", 250.0)
ETH = SeriesPlan("ETH", "KXETHD", 20.0)
#: Failures are waited for in real time.
QUICK = RetryPolicy(stall_seconds=2.0, max_failures=3, pause_seconds=1, max_wait_seconds=0.2)


class FastClock:
    """A clock that starts at `start` and runs `speed` times as fast as time."""

    def __init__(self, start: datetime = START, speed: float = 20.0) -> None:
        self._start, self._speed, self._began = start, speed, time.monotonic()

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=(time.monotonic() - self._began) * self._speed)

    def step(self, by: timedelta) -> None:
        """Set it forwards, or back."""
        self._start += by

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of this clock."""
        await asyncio.sleep(seconds / self._speed)


@dataclass
class RunningFeed:
    """A feed with what it delivered and logged."""

    feed: MarketFeed
    clock: FastClock
    task: asyncio.Task[None]
    boards: list[EventBoard] = field(default_factory=list)
    received: list[tuple[str, tuple[Listing, ...], datetime]] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def board(self, plan: SeriesPlan = BTC) -> EventBoard:
        return self.feed.board(plan.symbol, plan.series_ticker)

    def received_with(self, condition: Callable[[Market], object]) -> set[str]:
        """The tickers of the markets that were received in a state."""
        return {one.market.ticker for _, listings, _ in self.received for one in listings if condition(one.market)}

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.005)

    async def until_board(self, condition: Callable[[EventBoard], object], plan: SeriesPlan = BTC) -> EventBoard:
        """Wait for a board that fulfils a condition."""
        await self.until(lambda: condition(self.board(plan)))
        return self.board(plan)


def strikes(count: int = 30, lowest: float = 78_000.0, tier: float = 250.0) -> list[str]:
    """The floors of a ladder."""
    return [f"{lowest + index * tier - 0.01:.2f}" for index in range(count)]


def ladder(
    name: str = EVENT, opens: str = "09:00", closes: str = "10:00", count: int = 30, **changes: Any
) -> dict[str, Any]:
    """An event of `count` markets on 2026-03-21."""
    times = {"open_time": f"2026-03-21T{opens}:00Z", "close_time": f"2026-03-21T{closes}:00Z"}
    markets = [market_2026(strike, name, **times, **changes) for strike in strikes(count)]
    return event(markets, name, series_ticker=name.partition("-")[0])


@asynccontextmanager
async def feeding(
    settings: ClientSettings,
    clock: FastClock,
    plans: Sequence[SeriesPlan] = (BTC,),
    *,
    price_of: Callable[[str], float | None] = lambda _: 80_000.0,
    unfinished: Sequence[tuple[str, str, datetime]] = (),
    series_of: Mapping[str, str] | None = None,
    policy: PollPolicy | None = None,
) -> AsyncIterator[RunningFeed]:
    """Run a feed."""
    async with MarketClient(settings, clock) as client:
        boards: list[EventBoard] = []
        received: list[tuple[str, tuple[Listing, ...], datetime]] = []
        logged: list[str] = []
        feed = MarketFeed(
            client,
            MarketSource.SIMULATED,
            plans,
            price_of,
            on_board=boards.append,
            on_listings=lambda symbol, listings, at: received.append((symbol, tuple(listings), at)),
            unfinished=unfinished,
            series_of=series_of,
            log=logged.append,
            clock=clock,
            sleep=clock.sleep,
            policy=policy or PollPolicy(retry=QUICK),
        )
        task = asyncio.create_task(feed.run())
        try:
            yield RunningFeed(feed, clock, task, boards, received, logged)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


@asynccontextmanager
async def running(
    server: MarketServer,
    plans: Sequence[SeriesPlan] = (BTC,),
    *,
    start: datetime = START,
    speed: float = 20.0,
    max_pages: int = 50,
    **options: Any,
) -> AsyncIterator[RunningFeed]:
    """Run a feed of a local server."""
    clock = FastClock(start, speed)
    server.rows_per_page = 1000
    for plan in plans:
        terms = {"ticker": plan.series_ticker, "fee_type": "quadratic", "fee_multiplier": 1}
        server.series.setdefault(plan.series_ticker, terms)
    if server.clock is None:
        server.clock = clock
    async with serving(server):
        settings = server.settings(attempts=1, max_pages=max_pages)
        async with feeding(settings, clock, plans, **options) as feed:
            yield feed
