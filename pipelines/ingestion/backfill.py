"""History that grows by itself: finished minutes from the exchange, or from the ticks of another producer.

Both go through the ingestion of files, with its checks and its quarantine; each batch is stored before the next is
asked for, so that a run that is killed goes on where it was.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipelines.errors import FeedError
from pipelines.ingestion.ingest import ingest
from pipelines.log import Log
from pipelines.settings import ExchangeSettings
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.history import Candle, bars_of_ticks, latest_bars, missing_ranges, newest_bar_at

MINUTE = timedelta(minutes=1)
#: How far back a symbol without any bars is filled when nobody says since when.
FIRST_DAYS = 30
#: Minutes that an exchange did not have when it was asked, it may have later.
LOOK_BACK = timedelta(days=1)
#: Where an exchange does not tell how many candles it gives at once.
PAGE_MINUTES = 300
BATCH_BARS = 6_000
ATTEMPTS = 6
BACKOFF = wait_random_exponential(multiplier=1.0, max=30.0)

Range = tuple[datetime, datetime]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did between two instants (UTC): minutes asked for, bars stored, minutes still missing."""

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
    """Store the finished minutes that are missing since an instant, by default since a day before the newest bar.

    `now` (aware UTC) or the exchange's own clock, whichever is behind, says which minute still runs. Raises FeedError
    when the exchange does not answer, however often it is asked, and what `ingest` raises; batches before stay stored.
    """
    since = _floor(since or _look_back(database, symbol, now))
    return asyncio.run(_Backfill(database, symbol, exchange, market, log).run(since, now))


def backfill_from_ticks(database: Database, symbol: str, now: datetime, log: Log = lambda _: None) -> BackfillReport:
    """Make bars of the ticks of other producers since the newest bar; replayed ticks are no news.

    A minute counts when it has ticks in its first and in its last quarter. Volumes are zero: ticks have none.
    """
    since, until = _since(database, symbol, now), _floor(now)
    with database.connect("backfill", Role.PIPELINE) as connection:
        candles = bars_of_ticks(connection, symbol, since, until)
    counts = _store(database, symbol, f"ticks of {symbol}", candles, now, log) if candles else (0, 0, 0)
    missing = sum(_minutes(one) for one in _missing(database, symbol, since, until))
    return BackfillReport("ticks", since, until, max(0, _minutes((since, until))), *counts, missing)


@dataclass(frozen=True)
class _Backfill:
    database: Database
    symbol: str
    exchange: ExchangeSettings
    market: str
    log: Log

    async def run(self, since: datetime, now: datetime) -> BackfillReport:
        # ccxt weighs 80 MB, which other runs have no use for.
        from pipelines.ingestion.exchange import load_markets, new_client, require_market

        name = self.exchange.name
        client = new_client(self.exchange)
        inserted = corrected = quarantined = 0
        try:
            await self._patiently(lambda: load_markets(client, name))
            require_market(client, name, self.market)
            until = min(_floor(now), _floor(await self._exchange_time(client, now)))
            ranges = _missing(self.database, self.symbol, since, until)
            asked = sum(_minutes(one) for one in ranges)
            self.log(f"{self.symbol}: {asked:,} minutes are missing since {since:%Y-%m-%d %H:%M} UTC")
            async for batch in self._batches(client, ranges):
                label = f"{name} {self.market} from {batch[0][0]:%Y-%m-%d %H:%M}"
                stored = await asyncio.to_thread(_store, self.database, self.symbol, label, batch, now, self.log)
                inserted, corrected, quarantined = (
                    a + b for a, b in zip((inserted, corrected, quarantined), stored, strict=True)
                )
        finally:
            await client.close()
        missing = sum(_minutes(one) for one in _missing(self.database, self.symbol, since, until))
        return BackfillReport(name, since, until, asked, inserted, corrected, quarantined, missing)

    async def _exchange_time(self, client: Any, now: datetime) -> datetime:
        from pipelines.ingestion.exchange import as_feed_error, utc_from_ms

        if not client.has.get("fetchTime"):
            return now

        async def ask() -> datetime:
            with as_feed_error(f"{self.exchange.name}: time"):
                return utc_from_ms(await client.fetch_time()) or now

        return await self._patiently(ask)

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
        """Pages of one range. A page without a candle of the range is passed: quiet, or further back than it goes."""
        limit = client.feature_value(self.market, "fetchOHLCV", "limit", PAGE_MINUTES)
        cursor = start
        while cursor < stop:
            page = await self._patiently(partial(self._page, client, cursor, limit))
            inside = sorted(candle for candle in page if cursor <= candle[0] < stop)
            if inside:
                yield inside
                cursor = inside[-1][0] + MINUTE
            else:
                cursor += limit * MINUTE

    async def _page(self, client: Any, since: datetime, limit: int) -> list[Candle]:
        from pipelines.ingestion.exchange import as_feed_error, fetch_candles

        candles = await fetch_candles(client, self.exchange.name, self.market, since, limit)
        with as_feed_error(f"{self.exchange.name}: candles of {self.market}"):
            return [
                (datetime.fromtimestamp(opened / 1000, UTC), float(o), float(h), float(low), float(c), float(v or 0.0))
                for opened, o, h, low, c, v in candles
            ]

    async def _patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask again when the exchange fails: later and later, and not for ever."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(FeedError),
            wait=BACKOFF,
            stop=stop_after_attempt(ATTEMPTS),
            reraise=True,
            before_sleep=self._log_retry,
        ):
            with attempt:
                return await ask()
        raise AssertionError("the last attempt returns or raises")

    def _log_retry(self, attempt: RetryCallState) -> None:
        assert attempt.outcome is not None
        self.log(f"{attempt.outcome.exception()}; asking again")


def _store(
    database: Database, symbol: str, label: str, candles: Sequence[Candle], now: datetime, log: Log
) -> tuple[int, int, int]:
    """Ingest candles as a file; bars inserted, corrected, quarantined."""
    with _as_file(label, candles) as path:
        report = ingest(database, symbol, [path], now, log=log)
    return report.inserted, report.corrected, report.quarantined


@contextmanager
def _as_file(label: str, candles: Sequence[Candle]) -> Iterator[Path]:
    import polars as pl

    names = ("timestamp", "open", "high", "low", "close", "volume")
    columns = dict(zip(names, zip(*candles, strict=True), strict=True))
    with TemporaryDirectory(prefix="strikecast-") as folder:
        path = Path(folder) / f"{label.replace('/', '-').replace(':', '')}.parquet"
        pl.DataFrame(columns).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC"))).write_parquet(path)
        yield path


def _since(database: Database, symbol: str, now: datetime) -> datetime:
    """After the newest bar."""
    with database.connect("backfill", Role.PIPELINE) as connection:
        newest = newest_bar_at(connection, symbol)
    return _floor(now - timedelta(days=FIRST_DAYS)) if newest is None else newest + MINUTE


def _look_back(database: Database, symbol: str, now: datetime) -> datetime:
    """A day before the newest bar, or from the first bar on."""
    with database.connect("backfill", Role.PIPELINE) as connection:
        bars = latest_bars(connection, symbol, LOOK_BACK // MINUTE)
    return max(bars[0].opened_at, bars[-1].opened_at - LOOK_BACK) if bars else _since(database, symbol, now)


def _missing(database: Database, symbol: str, since: datetime, until: datetime) -> list[Range]:
    """Runs of minutes without a bar, [start, stop)."""
    if since >= until:
        return []
    with database.connect("backfill", Role.PIPELINE) as connection:
        return missing_ranges(connection, symbol, since, until)


def _minutes(span: Range) -> int:
    return (span[1] - span[0]) // MINUTE


def _floor(instant: datetime) -> datetime:
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(second=0, microsecond=0)
