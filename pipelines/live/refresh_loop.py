"""The cycle of all symbols: prices in, files out. One event loop, nothing shared with other threads."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pipelines.domain.prices.ticks import Tick
from pipelines.errors import NoDataError, StrikecastError
from pipelines.live.feeds.base import Feed
from pipelines.live.feeds.runner import SourceRunner
from pipelines.live.metrics import SessionMetrics
from pipelines.live.model_loading import load_new_champions
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.storage.live.tick_writer import MAX_QUEUED, TickRecord, TickWriter
from pipelines.storage.live.ticks import GENERATION_CHANNEL, Notification, notifications, read_new_ticks
from pipelines.storage.postgres.connection import Database, DriverError, OperationalError, Role, full_message

#: A file is renewed after this long without a tick: at least once a second, with room for 200 symbols' turns.
REFRESH_SECONDS = 0.65
MOST_BETWEEN_REFRESHES_SECONDS = 1.0
#: Should a NOTIFY have been lost.
POLL_SECONDS = 1.0
CHAMPION_POLL_SECONDS = 5.0
#: As far back as momentum and its tolerance reach.
HISTORY = timedelta(minutes=33)
ROWS_AT_ONCE = 20_000
#: Further ahead, a price is from a clock that is wrong.
TOLERATED_FUTURE = timedelta(seconds=1)
FAILURES = (DriverError, OSError, ValueError, KeyError, ArithmeticError, NoDataError)
#: Backoff with full jitter: up to 0.1, 0.2, 0.4 ... 5 s.
BACKOFF = wait_random_exponential(multiplier=0.1, max=5.0)


class RefreshLoop:
    """What a session does over and over. Reads through a pool of its own; ticks and answers go through a TickWriter."""

    def __init__(
        self,
        database: Database,
        application: str,
        refreshers: Mapping[str, SymbolRefresher],
        metrics: SessionMetrics,
        log: Log,
        on_first_file: Log,
    ) -> None:
        self._database = database
        self._application = application
        self._refreshers = refreshers
        self._metrics = metrics
        self._log = log
        self._on_first_file = on_first_file
        #: Whether the session's prices are replayed; the ticks of the other kind are another market's.
        self.replayed = False
        self.pool = database.async_pool(application, Role.LIVE)
        self.runners: Sequence[SourceRunner] = ()
        self._tick_writer: TickWriter | None = None
        self._began_at = datetime.max.replace(tzinfo=UTC)
        self._wake = {symbol: asyncio.Event() for symbol in refreshers}
        self._ticked = asyncio.Event()
        self._published = asyncio.Event()
        self._ticked_symbols: set[str] = set()
        self._arrived: dict[str, float] = {}
        self._written: dict[str, float] = {}
        self._sampled: dict[str, datetime] = {}
        self._failing: dict[str, str] = {}
        #: What is wrong, by symbol: with the clock of its ticks, with its generation; and with reading ticks at all.
        self._ahead: dict[str, str] = {}
        self._unreadable: Mapping[str, str] = {}
        self._deaf: str | None = None
        #: While this session waits: the newest tick of our own feed, and ticks of others without features.
        self._held: dict[str, Tick] = {}
        self._bare: deque[TickRecord] = deque(maxlen=MAX_QUEUED)

    async def catch_up(self) -> None:
        """Read the ticks of the last half hour, or what is new of them."""
        while await self._try_read_ticks(list(self._refreshers)):
            pass

    async def begin(self, session: int, tick_writer: TickWriter, feed: Feed) -> None:
        """From now on this session writes: catch up with the ticks, warm up the feed, write all files once."""
        self._tick_writer = tick_writer
        self._arrived.clear()  # what came while the session before this one answered it
        for refresher in self._refreshers.values():
            refresher.session = session
        await self.catch_up()
        tick_writer.add_features(list(self._bare))
        self._began_at = datetime.now(UTC)
        for symbol, refresher in self._refreshers.items():
            await self._try_refresh(symbol)
            warm = [self._described(symbol, t) for t in feed.warm_up(symbol, self._began_at) if refresher.take(t)]
            tick_writer.add_ticks(warm)
            if symbol in self._held:
                await self.deliver([(symbol, self._held[symbol])], self._began_at)
            if warm:
                await self._try_refresh(symbol)

    def write_last(self, why: str) -> None:
        """Say in every file that nobody will renew it."""
        for refresher in self._refreshers.values():
            refresher.write_last(datetime.now(UTC), why)

    # Generations

    async def load_champions(self) -> None:
        """Take over generations that were published."""
        used = {
            symbol: None if one.champion is None else one.champion.version.generation
            for symbol, one in self._refreshers.items()
        }
        found = await asyncio.to_thread(
            load_new_champions,
            self._database,
            self._application,
            list(self._refreshers),
            used,
            replayed=self.replayed,
        )
        for symbol, champion in found.loaded.items():
            self._refreshers[symbol].use(champion)
            self._wake[symbol].set()
            self._log(f"{symbol}: generation {champion.version.generation}")
        for symbol, problem in found.unreadable.items():
            if self._unreadable.get(symbol) != problem:  # the one in use goes on
                self._log(f"{symbol}: {problem}")
        self._unreadable = found.unreadable

    async def look_for_champions(self) -> None:
        """As `load_champions`, when one is announced, and now and then without: a NOTIFY may have been lost."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHAMPION_POLL_SECONDS):
                    await self._published.wait()
            self._published.clear()
            try:
                await self.load_champions()
            except (StrikecastError, DriverError) as error:  # a lost server ends the session elsewhere
                self._log(f"published generations cannot be read: {full_message(error)}")

    # Ticks

    async def listen(self) -> None:
        """Hear of ticks and generations, over a new connection whenever the last one broke."""
        async for attempt in AsyncRetrying(retry=retry_if_exception_type(OperationalError), wait=BACKOFF):
            with attempt:
                async for notification in notifications(self._database, self._application):
                    self._hear(notification)

    def _hear(self, notification: Notification) -> None:
        if notification.channel == GENERATION_CHANNEL:
            self._published.set()
        elif self._tick_writer is not None and notification.pid == self._tick_writer.connection.info.backend_pid:
            return  # our own ticks
        elif notification.payload in self._refreshers:
            self._arrived.setdefault(notification.payload, time.perf_counter())
            self._ticked_symbols.add(notification.payload)
            self._ticked.set()

    async def follow(self) -> None:
        """Read the ticks of other producers as they are announced, and now and then without."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._ticked.wait()
            symbols = list(self._ticked_symbols) or list(self._refreshers)
            self._ticked.clear()
            self._ticked_symbols.clear()
            await self._try_read_ticks(symbols)

    async def _try_read_ticks(self, symbols: Sequence[str]) -> bool:
        """As `_read_ticks`; what fails is told in the files, and there is no more for now."""
        try:
            more = await self._read_ticks(symbols)
        except FAILURES as error:  # `follow` tries again; a lost server ends the session elsewhere
            self._deaf = f"ticks cannot be read: {full_message(error)}"
            return False
        self._deaf = None
        return more

    async def _read_ticks(self, symbols: Sequence[str]) -> bool:
        """Take in ticks that are newer than the newest; whether there are more."""
        began, now = time.perf_counter(), datetime.now(UTC)
        newest = {symbol: self._refreshers[symbol].ticks.latest for symbol in symbols}
        since = [(symbol, now - HISTORY if tick is None else tick.at) for symbol, tick in newest.items()]
        async with self.pool.connection() as connection:
            rows = await read_new_ticks(connection, since, ROWS_AT_ONCE, replayed=self.replayed)
        read = time.perf_counter()
        described, counted = [], Counter(row[0] for row in rows)
        for symbol in symbols:
            self._ahead.pop(symbol, None)
        for symbol, ticked_at, price, received_at, bare in rows:
            if ticked_at - now > TOLERATED_FUTURE:
                ahead = (ticked_at - now).total_seconds()
                self._ahead.setdefault(symbol, f"there are prices dated {ahead:.0f} s ahead of this machine's clock")
                continue
            tick = Tick(ticked_at, price)
            if not self._refreshers[symbol].take(tick):
                continue
            if bare:
                described.append(self._described(symbol, tick))
            if received_at > self._began_at:
                self._metrics.ticks += 1
                self._metrics.record("feed", max(0.0, (received_at - ticked_at).total_seconds()))
                self._metrics.record("read", read - self._arrived.setdefault(symbol, began))
            self._wake[symbol].set()
        for symbol in symbols:
            if not self._wake[symbol].is_set():
                self._arrived.pop(symbol, None)  # nothing new came of it
        if self._tick_writer is None:
            self._bare.extend(described)
        else:
            self._tick_writer.add_features(described)
        return any(count >= ROWS_AT_ONCE for count in counted.values())

    async def deliver(self, ticks: Sequence[tuple[str, Tick]], arrived_at: datetime) -> None:
        """Take in ticks of our own feed, have them stored and answered; while the session waits, keep the newest."""
        if self._tick_writer is None:
            self._held.update(ticks)
            return
        arrived = time.perf_counter()
        taken = [self._described(symbol, tick) for symbol, tick in ticks if self._refreshers[symbol].take(tick)]
        if not taken:
            return
        self._tick_writer.add_ticks(taken)
        self._metrics.ticks += len(taken)
        for one in taken:
            self._metrics.record("feed", max(0.0, (arrived_at - one.tick.at).total_seconds()))
            self._metrics.record("read", time.perf_counter() - arrived)
            self._arrived[one.symbol] = arrived
            self._wake[one.symbol].set()

    def _described(self, symbol: str, tick: Tick) -> TickRecord:
        features = self._refreshers[symbol].ticks.features()
        assert features is not None
        return TickRecord(symbol, tick, features)

    # Files

    async def refresh_forever(self, symbol: str) -> None:
        """Renew a symbol's file with each tick and at least once a second; what goes wrong is said and tried again."""
        wake = self._wake[symbol]
        while True:
            left = REFRESH_SECONDS - (time.perf_counter() - self._written.get(symbol, 0.0))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left) if symbol in self._written else REFRESH_SECONDS):
                    await wake.wait()
            wake.clear()
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(FAILURES), wait=BACKOFF, before_sleep=lambda s: self._retry(symbol, s)
            ):
                with attempt:
                    await self._refresh(symbol)
            if self._failing.pop(symbol, None) is not None:
                self._log(f"{symbol}: refreshing again")

    async def _try_refresh(self, symbol: str) -> None:
        try:
            await self._refresh(symbol)
        except FAILURES as error:  # one symbol's failure is no other's
            self._failed(symbol, error)

    async def _refresh(self, symbol: str) -> None:
        refresher = self._refreshers[symbol]
        arrived = self._arrived.pop(symbol, None)
        status = await refresher.refresh(self.pool, datetime.now(UTC), self._problems(symbol))
        if status is None:
            return
        written = time.perf_counter()
        before = self._written.get(symbol)
        self._written[symbol] = written
        self._metrics.cycles += 1
        if arrived is not None:
            self._metrics.record("total", written - arrived)
        if before is None:
            self._on_first_file(symbol)
        else:
            gap = written - before
            self._metrics.overruns += gap > MOST_BETWEEN_REFRESHES_SECONDS
            self._metrics.longest_gap_seconds = max(self._metrics.longest_gap_seconds, gap)
            self._metrics.seconds_stale += gap if status == "stale" else 0.0
        self._keep_answer(symbol)

    def _keep_answer(self, symbol: str) -> None:
        """Keep the first answer of each minute, to be scored when its hour has passed."""
        answer = self._refreshers[symbol].answer
        if answer is None or self._tick_writer is None:
            return
        minute: datetime = answer["answered_at"].replace(second=0, microsecond=0)
        if self._sampled.get(symbol) != minute:
            self._tick_writer.add_answer(answer)
            self._sampled[symbol] = minute

    def _problems(self, symbol: str) -> list[str]:
        """What is wrong with a symbol's prices, in plain words."""
        problems = [problem for runner in self.runners for problem in runner.problems(symbol)]
        known = (self._ahead.get(symbol), self._unreadable.get(symbol), self._deaf)
        problems += [problem for problem in known if problem is not None]
        return problems if self._tick_writer is None else problems + self._tick_writer.problems

    def _retry(self, symbol: str, attempt: RetryCallState) -> None:
        assert attempt.outcome is not None
        error = attempt.outcome.exception()
        assert isinstance(error, Exception)
        self._failed(symbol, error)

    def _failed(self, symbol: str, error: Exception) -> None:
        """Say the first failure of a row, and put each into the file."""
        text = f"{type(error).__name__}: {full_message(error)}"
        if self._failing.get(symbol) != text:
            self._failing[symbol] = text
            self._log(f"{symbol}: {text}")
        with suppress(OSError, ValueError):
            self._refreshers[symbol].write_failure(datetime.now(UTC), text)
            self._written[symbol] = time.perf_counter()
