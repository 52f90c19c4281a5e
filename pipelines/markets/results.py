"""Follow closed markets until their results are final."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.markets.listings import Listing
from pipelines.log import Log
from pipelines.markets.client import MarketClient
from pipelines.markets.polling import PollPolicy, is_due
from pipelines.markets.tickers import MARKETS_PER_QUESTION
from pipelines.sources.retries import Retrier

OnListings = Callable[[str, Sequence[Listing], datetime], None]


@dataclass
class _Closed:
    symbol: str
    closed_at: datetime
    series_ticker: str | None
    asked_at: datetime | None = None
    wait_seconds: float = 0.0


class ResultFollower:
    """Asks for closed markets by ticker, at growing intervals, until each is finalized with a result.

    `on_listings`: called with each answer. Markets that are without a final result after the policy's hours are
    reported and left.
    """

    def __init__(
        self,
        client: MarketClient,
        on_listings: OnListings,
        retrier: Retrier,
        policy: PollPolicy,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
        log: Log,
    ) -> None:
        self._client = client
        self._on_listings = on_listings
        self._retrier = retrier
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._log = log
        self._closed: dict[str, _Closed] = {}

    def follow(
        self, symbol: str, tickers: Iterable[str], closed_at: datetime, series_ticker: str | None = None
    ) -> None:
        """Follow markets of a symbol, those asked for already as before.

        `series_ticker`: theirs; without it, the beginning of the event's ticker.
        """
        for ticker in tickers:
            self._closed.setdefault(ticker, _Closed(symbol, closed_at, series_ticker))

    async def run(self) -> None:
        """Ask for results, until cancelled."""
        while True:
            if self._due(self._clock()):
                await self._retrier.call(self._ask)
            await self._sleep(self._policy.poll_seconds)

    async def _ask(self) -> None:
        """Ask for the markets that are due."""
        now = self._clock()
        due = self._due(now)[:MARKETS_PER_QUESTION]
        found = await self._client.markets_of(due)
        received_at = found.received_at or now
        by_symbol: dict[str, list[Listing]] = {}
        for listing in found.listings:
            ticker = listing.market.ticker
            closed = self._closed[ticker]
            own = listing if closed.series_ticker is None else listing.of_series(closed.series_ticker)
            by_symbol.setdefault(closed.symbol, []).append(own)
            if listing.market.is_settled:
                del self._closed[ticker]
        self._schedule(due, now)
        for symbol, listings in by_symbol.items():
            self._on_listings(symbol, listings, received_at)

    def _due(self, now: datetime) -> list[str]:
        return [ticker for ticker, one in self._closed.items() if is_due(one.asked_at, now, one.wait_seconds)]

    def _schedule(self, asked: Iterable[str], now: datetime) -> None:
        """When those without a final result are asked for again; the oldest are left."""
        policy, left = self._policy, []
        for ticker in asked:
            if ticker not in self._closed:
                continue
            closed = self._closed[ticker]
            since = now - closed.closed_at
            if since >= timedelta(hours=policy.result_hours):
                left.append(ticker)
                del self._closed[ticker]
                continue
            seconds = min(max(since.total_seconds() / 12, policy.result_seconds), policy.longest_result_seconds)
            closed.asked_at, closed.wait_seconds = now, seconds
        if left:
            more = "" if len(left) == 1 else f" and {len(left) - 1} more"
            self._log(
                f"{left[0]}{more}: no final result {policy.result_hours:g} hours after the close, not asked again"
            )
