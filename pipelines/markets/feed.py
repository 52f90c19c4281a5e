"""The feed of markets: the current event of each series with its newest quotes, and the results of closed markets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from pipelines.domain.markets.board import EventBoard, MarketSource
from pipelines.errors import MarketError
from pipelines.log import Log
from pipelines.markets.client import MarketClient, utc_now
from pipelines.markets.market_requests import MarketRequests
from pipelines.markets.polling import PollPolicy, poll_settings
from pipelines.markets.results import OnListings, ResultFollower
from pipelines.markets.series_events import SeriesEvents, SeriesPlan
from pipelines.markets.series_feed import SeriesFeed, Surroundings
from pipelines.sources.retries import Retrier

__all__ = ["MarketFeed", "PollPolicy", "SeriesPlan", "poll_settings"]


class MarketFeed:
    """Keeps a board for each series.

    `price_of`: a symbol's price in USD, None while unknown; the markets nearest to it are asked for each second.
    `on_board`: called when a board has changed. `on_listings`: called with a symbol, markets and the instant of their
    arrival, for each answer, those for closed markets too. `unfinished`: symbol, ticker and close of markets without a
    final result, which are followed like those that close while the feed runs; `series_of`: their series by ticker,
    where known. `sleep` waits for seconds of `clock`
    (aware UTC). Both callbacks are called in the event loop.
    """

    def __init__(
        self,
        client: MarketClient,
        source: MarketSource,
        series: Sequence[SeriesPlan],
        price_of: Callable[[str], float | None],
        *,
        on_board: Callable[[EventBoard], None],
        on_listings: OnListings,
        unfinished: Sequence[tuple[str, str, datetime]] = (),
        series_of: Mapping[str, str] | None = None,
        log: Log,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        policy: PollPolicy | None = None,
    ) -> None:
        self._client = client
        self._policy = policy or PollPolicy()
        self._sleep = sleep
        results = Retrier("results of markets", MarketError, log, self._policy.retry, sleep=sleep)
        follower = ResultFollower(client, on_listings, results, self._policy, clock, sleep, log)
        for symbol, ticker, closes_at in unfinished:
            follower.follow(symbol, [ticker], closes_at, (series_of or {}).get(ticker))
        self._status = Retrier("exchange status", MarketError, log, self._policy.retry, self._announce_all, sleep)
        self._shared = Surroundings(
            client,
            MarketRequests(client, self._policy.retry.stall_seconds),
            follower,
            price_of,
            on_board,
            on_listings,
            self._problems,
            log,
            clock,
            sleep,
            self._policy,
        )
        self._series = {
            (plan.symbol, plan.series_ticker): SeriesFeed(SeriesEvents(plan, source), self._shared) for plan in series
        }

    def board(self, symbol: str, series_ticker: str) -> EventBoard:
        """What is known of a series now. Raises KeyError for one that the feed does not have."""
        return self._series[symbol, series_ticker].board()

    async def run(self) -> None:
        """Ask, until cancelled. Raises only what a callback raises: faults of the exchange are on the boards."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._shared.requests.run())
            tasks.create_task(self._shared.follower.run())
            tasks.create_task(self._watch_exchange())
            tasks.create_task(self._watch_closes())
            for series in self._series.values():
                tasks.create_task(series.run())

    async def _watch_closes(self) -> None:
        """Hand each series over at the close of its event."""
        while True:
            for series in self._series.values():
                series.hand_over()
            left = min((series.seconds_to_close() for series in self._series.values()), default=float("inf"))
            await self._sleep(min(max(left, 0.001), self._policy.poll_seconds))

    async def _watch_exchange(self) -> None:
        """Ask whether the exchange trades."""
        while True:
            status = await self._status.call(self._client.exchange_status)
            for series in self._series.values():
                if series.events.exchange != status:
                    series.events.exchange = status
                    series.announce()
            await self._sleep(self._policy.status_seconds)

    def _announce_all(self) -> None:
        for series in self._series.values():
            series.announce()

    def _problems(self) -> list[str]:
        return [one for one in (self._status.failure, self._client.exchange_clock.problem) if one is not None]
