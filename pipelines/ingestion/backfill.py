"""Backfill missing history: finished minutes from the exchange, or from the ticks of other producers.

Candles pass the same validation and quarantine as files. Each batch is stored before the next one is requested, so that
an interrupted run resumes where it stopped.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipelines.configuration.sections import ExchangeSettings
from pipelines.errors import FeedError
from pipelines.ingestion.ingest import IngestReport, ingest_candles
from pipelines.log import Log, heartbeat
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.history import Candle, bars_of_ticks, latest_bars, missing_ranges, newest_bar_at

MINUTE = timedelta(minutes=1)
#: Range filled for a symbol without bars when no start is given.
FIRST_DAYS = 30
#: Exchanges sometimes deliver missing minutes later.
LOOK_BACK = timedelta(days=1)
#: Candles per request where ccxt does not know the exchange's limit.
PAGE_MINUTES = 300
BATCH_BARS = 6_000
ATTEMPTS = 6
BACKOFF = wait_random_exponential(multiplier=1.0, max=30.0)

Range = tuple[datetime, datetime]
Result = TypeVar("Result")


@dataclass(frozen=True)
class BackfillReport:
    """Result of a backfill between two instants (UTC): minutes requested, bars stored, minutes still missing."""

    origin: str
    since: datetime
    until: datetime
    requested_minutes: int
    inserted: int
    corrected: int
    quarantined: int
    still_missing_minutes: int


def backfill_from_exchange(
    database: Database,
    symbol: str,
    exchange: ExchangeSettings,
    market: str,
    since: datetime | None,
    now: datetime,
    log: Log = lambda _: None,
) -> BackfillReport:
    """Store the finished minutes missing since an instant, by default since a day before the newest bar.

    The earlier of `now` (aware UTC) and the exchange's clock decides which minutes have finished. Raises FeedError when
    the exchange fails after all retries, and the errors of `ingest_candles`; batches stored before stay stored.
    """
    since = _floor(since or _default_start(database, symbol, now))
    with heartbeat(log) as doing:
        return asyncio.run(_Backfill(database, symbol, exchange, market, log, doing).run(since, now))


def backfill_from_ticks(database: Database, symbol: str, now: datetime, log: Log = lambda _: None) -> BackfillReport:
    """Store bars made from other producers' ticks since the newest bar; replayed ticks are ignored.

    A minute needs ticks in its first and in its last quarter. Volumes are zero, because ticks have none.
    """
    since, until = _after_newest_bar(database, symbol, now), _floor(now)
    with database.connect("backfill", Role.PIPELINE) as connection:
        candles = bars_of_ticks(connection, symbol, since, until)
    stored = [ingest_candles(database, symbol, f"ticks of {symbol}", candles, now, log)] if candles else []
    requested = max(0, (until - since) // MINUTE)
    return _report("ticks", since, until, requested, stored, _missing_ranges(database, symbol, since, until))


@dataclass(frozen=True)
class _Backfill:
    database: Database
    symbol: str
    exchange: ExchangeSettings
    market: str
    log: Log
    doing: Log

    async def run(self, since: datetime, now: datetime) -> BackfillReport:
        # ccxt takes 80 MB, which other runs do not need.
        from pipelines.ingestion.exchange import load_markets, new_client, require_market

        name = self.exchange.name
        client = new_client(self.exchange)
        stored = []
        try:
            self.doing(f"requesting the markets of {name}")
            await self._retry(partial(load_markets, client, name))
            require_market(client, name, self.market)
            until = min(_floor(now), _floor(await self._exchange_time(client, now)))
            ranges = _missing_ranges(self.database, self.symbol, since, until)
            requested = _minutes(ranges)
            self.log(f"{self.symbol}: {requested:,} minutes are missing since {since:%Y-%m-%d %H:%M} UTC")
            async for batch in self._batches(client, ranges):
                label = f"{name} {self.market} from {batch[0][0]:%Y-%m-%d %H:%M}"
                ingest = partial(ingest_candles, self.database, self.symbol, label, batch, now, self.log)
                stored.append(await asyncio.to_thread(ingest))
        finally:
            await client.close()
        missing = _missing_ranges(self.database, self.symbol, since, until)
        return _report(name, since, until, requested, stored, missing)

    async def _exchange_time(self, client: Any, now: datetime) -> datetime:
        from pipelines.ingestion.exchange import as_feed_error, utc_from_ms

        if not client.has.get("fetchTime"):
            return now

        async def fetch_time() -> datetime:
            with as_feed_error(f"{self.exchange.name}: time"):
                return utc_from_ms(await client.fetch_time()) or now

        return await self._retry(fetch_time)

    async def _batches(self, client: Any, ranges: Sequence[Range]) -> AsyncIterator[list[Candle]]:
        batch: list[Candle] = []
        for start, stop in ranges:
            async for page in self._pages(client, start, stop):
                batch += page
                if len(batch) >= BATCH_BARS:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def _pages(self, client: Any, start: datetime, stop: datetime) -> AsyncIterator[list[Candle]]:
        """Pages of one range, skipping those without candles: no trades, or older than the exchange's history."""
        limit = client.feature_value(self.market, "fetchOHLCV", "limit", PAGE_MINUTES)
        cursor = start
        while cursor < stop:
            self.doing(f"requesting candles of {self.market} from {cursor:%Y-%m-%d %H:%M} UTC")
            page = await self._retry(partial(self._page, client, cursor, limit))
            inside = [candle for candle in page if cursor <= candle[0] < stop]
            if inside:
                yield inside
                cursor = inside[-1][0] + MINUTE
            elif page and page[-1][0] >= stop:
                self.log(
                    f"{self.exchange.name} has no candles from {cursor:%Y-%m-%d %H:%M} to {stop:%Y-%m-%d %H:%M} UTC"
                )
                return
            else:
                cursor += limit * MINUTE

    async def _page(self, client: Any, since: datetime, limit: int) -> list[Candle]:
        from pipelines.ingestion.exchange import fetch_candles

        return await fetch_candles(client, self.exchange.name, self.market, since, limit)

    async def _retry(self, request: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat a request that raises FeedError, with exponential backoff, up to ATTEMPTS times."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(FeedError),
            wait=BACKOFF,
            stop=stop_after_attempt(ATTEMPTS),
            reraise=True,
            before_sleep=self._log_retry,
        )
        return await retrying(request)

    def _log_retry(self, attempt: RetryCallState) -> None:
        assert attempt.outcome is not None
        self.log(f"{attempt.outcome.exception()}; retrying")


def _report(
    origin: str, since: datetime, until: datetime, requested: int, stored: Sequence[IngestReport], missing: list[Range]
) -> BackfillReport:
    return BackfillReport(
        origin,
        since,
        until,
        requested,
        inserted=sum(report.inserted for report in stored),
        corrected=sum(report.corrected for report in stored),
        quarantined=sum(report.quarantined for report in stored),
        still_missing_minutes=_minutes(missing),
    )


def _after_newest_bar(database: Database, symbol: str, now: datetime) -> datetime:
    with database.connect("backfill", Role.PIPELINE) as connection:
        newest = newest_bar_at(connection, symbol)
    return _floor(now - timedelta(days=FIRST_DAYS)) if newest is None else newest + MINUTE


def _default_start(database: Database, symbol: str, now: datetime) -> datetime:
    """LOOK_BACK before the newest bar, but not before the first bar."""
    with database.connect("backfill", Role.PIPELINE) as connection:
        bars = latest_bars(connection, symbol, LOOK_BACK // MINUTE)
    return max(bars[0].opened_at, bars[-1].opened_at - LOOK_BACK) if bars else _after_newest_bar(database, symbol, now)


def _missing_ranges(database: Database, symbol: str, since: datetime, until: datetime) -> list[Range]:
    if since >= until:
        return []
    with database.connect("backfill", Role.PIPELINE) as connection:
        return missing_ranges(connection, symbol, since, until)


def _minutes(ranges: Sequence[Range]) -> int:
    return sum((stop - start) // MINUTE for start, stop in ranges)


def _floor(instant: datetime) -> datetime:
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(second=0, microsecond=0)
