"""Ask for the events and the quotes of one series."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipelines.domain.markets.board import EventBoard
from pipelines.domain.markets.listings import Listing
from pipelines.errors import MarketError
from pipelines.log import Log
from pipelines.markets.client import MarketClient, MarketFilter
from pipelines.markets.market_requests import MarketRequests
from pipelines.markets.polling import PollPolicy, is_due
from pipelines.markets.results import OnListings, ResultFollower
from pipelines.markets.series_events import KnownEvent, SeriesEvents
from pipelines.sources.retries import Retrier


@dataclass(frozen=True)
class Surroundings:
    """What the feeds of all series share.

    `sleep` waits for seconds of `clock` (aware UTC). `problems`: of the exchange and the clock, for every board.
    """

    client: MarketClient
    requests: MarketRequests
    follower: ResultFollower
    price_of: Callable[[str], float | None]
    on_board: Callable[[EventBoard], None]
    on_listings: OnListings
    problems: Callable[[], list[str]]
    log: Log
    clock: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]]
    policy: PollPolicy


class SeriesFeed:
    """Asks for the quotes, the events and the fees of one series, each independently of the others."""

    def __init__(self, events: SeriesEvents, shared: Surroundings) -> None:
        self.events = events
        self._shared = shared
        series = events.plan.series_ticker
        self._quotes, self._search, self._whole, self._fees = (
            Retrier(f"{what} of {series}", MarketError, shared.log, shared.policy.retry, self.announce, shared.sleep)
            for what in ("quotes", "search for events", "whole events", "fees")
        )
        self._shown: str | None = None
        self._ended_at: datetime | None = None
        self._searched_at: datetime | None = None
        self._open_searched_at: datetime | None = None
        self._fees_at: datetime | None = None
        self._whole_at: dict[str, datetime] = {}

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll_quotes())
            tasks.create_task(self._repeat(self._search, self._is_search_due, self._find_events))
            tasks.create_task(self._repeat(self._whole, self._is_event_due, self._load_events))
            tasks.create_task(self._repeat(self._fees, self._are_fees_due, self._load_fees))

    def board(self) -> EventBoard:
        """What is known now."""
        now = self._shared.clock()
        asked = [self._quotes.failure] if self.events.current(now) else [self._search.failure, self._whole.failure]
        failure = next((one for one in asked if one is not None), None)
        others = [self._search.failure, self._whole.failure, self._fees.failure]
        problems = [one for one in others if one is not None and one != failure]
        if self.events.fees is None:
            problems.append(f"fees of {self.events.plan.series_ticker} are not known yet: the standard fee is assumed")
        return self.events.board(now, failure, [*self._shared.problems(), *problems])

    def announce(self) -> None:
        """Give the board to the caller of the feed."""
        self._shared.on_board(self.board())

    def hand_over(self) -> None:
        """Replace an event that is over by the next one, and follow its markets until their results are final."""
        now = self._shared.clock()
        for closed_at, tickers in self.events.take_ended(now):
            self._ended_at, self._searched_at = now, None
            plan = self.events.plan
            self._shared.follower.follow(plan.symbol, tickers, min(closed_at, now), plan.series_ticker)
        current = self.events.current(now)
        shown = None if current is None else current.ticker
        if shown != self._shown:
            self._shown = shown
            what = "no event is open" if current is None else f"event {shown} until {current.closes_at:%H:%M:%S} UTC"
            self._shared.log(f"{self.events.plan.series_ticker}: {what}")
            self.announce()

    def seconds_to_close(self) -> float:
        """Seconds to the close of the current event, infinite without one."""
        now = self._shared.clock()
        current = self.events.current(now)
        return float("inf") if current is None else (current.closes_at - now).total_seconds()

    async def _repeat(
        self, retrier: Retrier, is_due: Callable[[datetime], bool], step: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            if is_due(self._shared.clock()):
                await retrier.call(step)
            await self._shared.sleep(self._shared.policy.poll_seconds)

    async def _poll_quotes(self) -> None:
        policy = self._shared.policy
        while True:
            since = (self._shared.clock().timestamp() - policy.phase_seconds) % policy.poll_seconds
            await self._shared.sleep(policy.poll_seconds - since)
            if self.events.current(self._shared.clock()) is not None:
                await self._quotes.call(self._load_quotes)

    async def _load_quotes(self) -> None:
        """Ask for the markets of the current event that are nearest to the price, while there is one."""
        shared, plan = self._shared, self.events.plan
        event = self.events.current(shared.clock())
        if event is None:
            return
        wanted = event.nearest(shared.price_of(plan.symbol), shared.policy.nearest_markets)
        if not wanted:
            raise MarketError(f"event {event.ticker}: no market closes with it")
        found = await shared.requests.markets(wanted)
        listings = tuple(one.of_series(plan.series_ticker) for one in found.listings)
        received_at = found.received_at or shared.clock()
        self.events.take_quotes(event, wanted, replace(found, listings=listings), received_at)
        self._deliver(listings, received_at)

    async def _find_events(self) -> None:
        """Search for the event that closes next, or for the one after it."""
        now, shared = self._shared.clock(), self._shared
        _, after = self._next_search(now)
        until = after + timedelta(seconds=shared.policy.horizon_seconds)
        found = await shared.client.markets(self.events.plan.series_ticker, None, closing=(after, until))
        received_at = found.received_at or now
        self.events.take_found(found, received_at)
        self._searched_at = now
        self._deliver(found.listings, received_at)
        if self.events.current(now) is None and is_due(self._open_searched_at, now, shared.policy.whole_seconds):
            await self._find_open_events()
            self._open_searched_at = now

    def _is_search_due(self, now: datetime) -> bool:
        return is_due(self._searched_at, now, self._next_search(now)[0])

    def _next_search(self, now: datetime) -> tuple[float, datetime]:
        """Seconds since the last search after which another one is due, and from which close on it looks."""
        policy, current = self._shared.policy, self.events.current(now)
        horizon = timedelta(seconds=policy.horizon_seconds)
        if current is None:
            return policy.search_seconds, now
        if current.closes_at > now + horizon:
            # An event of a later hour, while the one of this hour is not listed yet.
            is_late = is_due(self._ended_at, now, policy.late_seconds)
            return policy.whole_seconds if is_late else policy.search_seconds, now
        following = self.events.closing_after(current, now)
        is_missing = following is None or following.closes_at > current.closes_at + horizon
        if is_missing and current.closes_at <= now + timedelta(seconds=policy.whole_seconds):
            return policy.search_seconds, current.closes_at + timedelta(seconds=1)
        return policy.whole_seconds if current.is_outdated else policy.all_search_seconds, now

    async def _find_open_events(self) -> None:
        """Take the open events that close later than a search looks."""
        events, refused = await self._shared.client.events(self.events.plan.series_ticker, MarketFilter.OPEN)
        self.events.refuse({one.ticker: one.reason for one in refused})
        for event in events:
            received_at = event.markets.received_at or self._shared.clock()
            try:
                self.events.take_event(event, received_at)
            except MarketError as error:
                self.events.refuse({event.ticker: str(error).removeprefix(f"event {event.ticker}: ")})
            else:
                self._deliver(event.markets.listings, received_at)

    def _due_events(self, now: datetime) -> list[KnownEvent]:
        """The current event and the next one, as far as all their markets are to be asked for."""
        current = self.events.current(now)
        if current is None:
            return []
        due = [current] if self._is_whole_due(current, now) else []
        following = self.events.closing_after(current, now)
        if following is not None and (following.event is None or self._is_outdated(following, now)):
            due.append(following)
        return due

    def _is_event_due(self, now: datetime) -> bool:
        return bool(self._due_events(now))

    async def _load_events(self) -> None:
        """Ask for all markets of the events that are due."""
        for event in self._due_events(self._shared.clock()):
            await self._load_event(event)

    async def _load_event(self, known: KnownEvent) -> None:
        now = self._shared.clock()
        event = await self._shared.client.event(known.ticker)
        received_at = event.markets.received_at or now
        self.events.take_event(event, received_at)
        self._whole_at = {ticker: at for ticker, at in self._whole_at.items() if self.events.is_known(ticker)}
        self._whole_at[known.ticker] = now
        self._deliver(event.markets.listings, received_at)

    def _is_whole_due(self, event: KnownEvent, now: datetime) -> bool:
        """Whether all markets of the current event are due: each minute, at its start, and a minute before its end."""
        at = self._whole_at.get(event.ticker)
        if at is None or self._is_outdated(event, now):
            return True
        starts = [self._ended_at, event.closes_at - timedelta(seconds=self._shared.policy.whole_seconds)]
        is_new = any(start is not None and at < start <= now for start in starts)
        return is_new or is_due(at, now, self._shared.policy.whole_seconds)

    def _is_outdated(self, event: KnownEvent, now: datetime) -> bool:
        at = self._whole_at.get(event.ticker)
        return event.is_outdated and is_due(at, now, self._shared.policy.search_seconds)

    def _are_fees_due(self, now: datetime) -> bool:
        return is_due(self._fees_at, now, self._shared.policy.fees_seconds)

    async def _load_fees(self) -> None:
        now = self._shared.clock()
        self.events.fees = await self._shared.client.fee_schedule(self.events.plan.series_ticker)
        self._fees_at = now
        self.announce()

    def _deliver(self, listings: Sequence[Listing], received_at: datetime) -> None:
        if listings:
            self._shared.on_listings(self.events.plan.symbol, listings, received_at)
        self.hand_over()
        self.announce()
