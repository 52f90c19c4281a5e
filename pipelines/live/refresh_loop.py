"""The refresh loop of a live session: ticks and champions in, probability files out, in one event loop."""

import asyncio
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from pipelines.domain.prices.ticks import Tick
from pipelines.errors import NoDataError, StrikecastError
from pipelines.live.champions import Champion, load_new_champions
from pipelines.live.feeds.base import Feed
from pipelines.live.feeds.runner import SourceRunner
from pipelines.live.metrics import SessionMetrics
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.storage.live.sessions import APPLICATION
from pipelines.storage.live.tick_writer import MAX_QUEUED, TickRecord, TickWriter
from pipelines.storage.live.ticks import GENERATION_CHANNEL, Notification, notifications, read_new_ticks
from pipelines.storage.postgres.connection import Database, DriverError, OperationalError, Role, full_message

#: A file is refreshed this long after the last time, even without a tick. It must be at least once a second; the rest
#: is for the turns of up to 200 symbols.
REFRESH_SECONDS = 0.65
MAX_GAP_SECONDS = 1.0
#: Ticks and champions are also polled, since a NOTIFY may be lost.
TICK_POLL_SECONDS = 1.0
CHAMPION_POLL_SECONDS = 5.0
#: The longest lag of momentum, with its tolerance.
HISTORY = timedelta(minutes=33)
TICK_BATCH_SIZE = 20_000
#: A tick that is further ahead comes from a wrong clock.
MAX_CLOCK_SKEW = timedelta(seconds=1)
FAILURES = (DriverError, OSError, ValueError, KeyError, ArithmeticError, NoDataError)
#: Exponential backoff with full jitter: up to 0.1, 0.2, 0.4 ... 5 s.
BACKOFF = wait_random_exponential(multiplier=0.1, max=5.0)


@dataclass
class _SymbolState:
    """The loop's state of one symbol; `arrived_at` and `written_at` are by the performance counter."""

    refresher: SymbolRefresher
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: Arrival of the first tick that the file does not show yet.
    arrived_at: float | None = None
    written_at: float | None = None
    #: Minute of the last answer that was stored.
    stored_minute: datetime | None = None
    #: The newest tick of the session's own feed while it waits for the leadership.
    pending_tick: Tick | None = None
    failure: str | None = None
    clock_problem: str | None = None
    champion_problem: str | None = None


@dataclass
class RefreshLoop:
    """Refreshes the files of all symbols. Reads through its own pool; writes through the leader's TickWriter."""

    database: Database
    refreshers: InitVar[Mapping[str, SymbolRefresher]]
    metrics: SessionMetrics
    log: Log
    on_first_file: Callable[[str], None]
    runners: list[SourceRunner] = field(default_factory=list)
    #: Whether the session's prices are replayed. It ignores ticks of the other kind, which are another market's.
    replayed: bool = False

    def __post_init__(self, refreshers: Mapping[str, SymbolRefresher]) -> None:
        self._symbols = {symbol: _SymbolState(refresher) for symbol, refresher in refreshers.items()}
        self.pool = self.database.async_pool(APPLICATION, Role.LIVE)
        #: None while this session waits for the leadership.
        self._tick_writer: TickWriter | None = None
        self._leading_since = datetime.max.replace(tzinfo=UTC)
        self._notified_symbols: set[str] = set()
        self._ticks_notified = asyncio.Event()
        self._champion_notified = asyncio.Event()
        self._read_problem: str | None = None
        #: Features of ticks of other producers, to be stored once this session leads.
        self._unstored_features: deque[TickRecord] = deque(maxlen=MAX_QUEUED)

    async def lead(self, session: int, tick_writer: TickWriter, feed: Feed) -> None:
        """Become the writer: catch up with the ticks, warm up the feed, write all files."""
        self._tick_writer = tick_writer
        for state in self._symbols.values():
            state.refresher.session = session
            state.arrived_at = None  # the previous leader has answered these ticks
        await self.catch_up()
        tick_writer.add_features(list(self._unstored_features))
        self._leading_since = datetime.now(UTC)
        for symbol, state in self._symbols.items():
            await self._try_refresh(state)
            warm_up = feed.warm_up(symbol, self._leading_since)
            records = [self._record(state, tick) for tick in warm_up if state.refresher.add_tick(tick)]
            tick_writer.add_ticks(records)
            if state.pending_tick is not None:
                self.deliver([(symbol, state.pending_tick)], self._leading_since)
            if records:
                await self._try_refresh(state)

    def write_final_files(self, reason: str) -> None:
        """Write into every file that it will not be refreshed, and why."""
        for state in self._symbols.values():
            state.refresher.write_final(datetime.now(UTC), reason)

    # Champions

    async def load_champions(self) -> None:
        """Use newly published champions."""
        current = {symbol: state.refresher.generation for symbol, state in self._symbols.items()}
        found = await asyncio.to_thread(load_new_champions, self.database, current, replayed=self.replayed)
        for symbol, state in self._symbols.items():
            new = found.get(symbol)
            if isinstance(new, Champion):
                state.refresher.use_champion(new)
                state.wake.set()
                self.log(f"{symbol}: generation {new.version.generation}")
            elif new is not None and new != state.champion_problem:  # the current champion stays in use
                self.log(f"{symbol}: {new}")
            state.champion_problem = new if isinstance(new, str) else None

    async def watch_champions(self) -> None:
        """Call `load_champions` when one is published, and every CHAMPION_POLL_SECONDS; forever."""
        while True:
            await _wait(self._champion_notified, CHAMPION_POLL_SECONDS)
            self._champion_notified.clear()
            try:
                await self.load_champions()
            except (StrikecastError, DriverError) as error:  # the heartbeat ends a session that lost its server
                self.log(f"published generations cannot be read: {full_message(error)}")

    # Ticks

    async def listen(self) -> None:
        """Receive notifications of ticks and generations; reconnect when the connection breaks."""
        async for attempt in AsyncRetrying(retry=retry_if_exception_type(OperationalError), wait=BACKOFF):
            with attempt:
                async for notification in notifications(self.database):
                    self._on_notification(notification)

    def _on_notification(self, notification: Notification) -> None:
        if notification.channel == GENERATION_CHANNEL:
            self._champion_notified.set()
            return
        is_own = self._tick_writer is not None and notification.pid == self._tick_writer.connection.info.backend_pid
        state = self._symbols.get(notification.payload)
        if state is not None and not is_own:
            state.arrived_at = state.arrived_at or time.perf_counter()
            self._notified_symbols.add(notification.payload)
            self._ticks_notified.set()

    async def follow_ticks(self) -> None:
        """Read ticks of other producers when notified, and every TICK_POLL_SECONDS; forever."""
        while True:
            await _wait(self._ticks_notified, TICK_POLL_SECONDS)
            symbols = list(self._notified_symbols) or list(self._symbols)
            self._ticks_notified.clear()
            self._notified_symbols.clear()
            await self._try_read_ticks(symbols)

    async def catch_up(self) -> None:
        """Read all ticks of the last half hour that are not known yet."""
        while await self._try_read_ticks(list(self._symbols)):
            pass

    async def _try_read_ticks(self, symbols: Sequence[str]) -> bool:
        """As `_read_ticks`; a failure is reported in the files, and returns False."""
        try:
            more = await self._read_ticks(symbols)
        except FAILURES as error:  # the heartbeat ends a session that lost its server
            self._read_problem = f"ticks cannot be read: {full_message(error)}"
            return False
        self._read_problem = None
        return more

    async def _read_ticks(self, symbols: Sequence[str]) -> bool:
        """Read ticks newer than the newest known; return whether there are more."""
        started, now = time.perf_counter(), datetime.now(UTC)
        newest = {symbol: self._symbols[symbol].refresher.ticks.latest for symbol in symbols}
        since = [(symbol, now - HISTORY if tick is None else tick.at) for symbol, tick in newest.items()]
        async with self.pool.connection() as connection:
            rows = await read_new_ticks(connection, since, TICK_BATCH_SIZE, replayed=self.replayed)
        read_at = time.perf_counter()
        records = []
        for symbol in symbols:
            self._symbols[symbol].clock_problem = None
        for symbol, ticked_at, price, received_at, lacks_features in rows:
            state, tick = self._symbols[symbol], Tick(ticked_at, price)
            if ticked_at - now > MAX_CLOCK_SKEW:
                ahead = (ticked_at - now).total_seconds()
                state.clock_problem = f"there are prices dated {ahead:.0f} s ahead of this machine's clock"
                continue
            if not state.refresher.add_tick(tick):
                continue
            if lacks_features:
                records.append(self._record(state, tick))
            if received_at > self._leading_since:
                state.arrived_at = state.arrived_at or started
                self.metrics.ticks += 1
                self.metrics.record("feed", max(0.0, (received_at - ticked_at).total_seconds()))
                self.metrics.record("read", read_at - state.arrived_at)
            state.wake.set()
        for symbol in symbols:
            if not self._symbols[symbol].wake.is_set():
                self._symbols[symbol].arrived_at = None  # the notification brought no new tick
        if self._tick_writer is None:
            self._unstored_features.extend(records)
        else:
            self._tick_writer.add_features(records)
        return any(count >= TICK_BATCH_SIZE for count in Counter(row[0] for row in rows).values())

    def deliver(self, ticks: Sequence[tuple[str, Tick]], received_at: datetime) -> None:
        """Add ticks of the session's own feed and store them. While it waits for the leadership, keep the newest."""
        if self._tick_writer is None:
            for symbol, tick in ticks:
                self._symbols[symbol].pending_tick = tick
            return
        arrived_at = time.perf_counter()
        for symbol, tick in ticks:
            state = self._symbols[symbol]
            if state.refresher.add_tick(tick):
                self._tick_writer.add_ticks([self._record(state, tick)])
                self.metrics.ticks += 1
                self.metrics.record("feed", max(0.0, (received_at - tick.at).total_seconds()))
                self.metrics.record("read", time.perf_counter() - arrived_at)
                state.arrived_at = arrived_at
                state.wake.set()

    def _record(self, state: _SymbolState, tick: Tick) -> TickRecord:
        """The newest tick with its features."""
        features = state.refresher.ticks.features()
        assert features is not None
        return TickRecord(state.refresher.symbol, tick, features)

    # Files

    async def refresh_forever(self, symbol: str) -> None:
        """Refresh a symbol's file after each tick and at least once a second; retry failures."""
        state = self._symbols[symbol]
        retrying = AsyncRetrying(retry=retry_if_exception_type(Exception), wait=BACKOFF)
        while True:
            elapsed = 0.0 if state.written_at is None else time.perf_counter() - state.written_at
            await _wait(state.wake, max(0.0, REFRESH_SECONDS - elapsed))
            state.wake.clear()
            await retrying(self._refresh, state)
            if state.failure is not None:
                state.failure = None
                self.log(f"{symbol}: refreshing again")

    async def _try_refresh(self, state: _SymbolState) -> None:
        with suppress(Exception):  # reported; other symbols are not affected
            await self._refresh(state)

    async def _refresh(self, state: _SymbolState) -> None:
        """Write the file. A failure is logged if it is new, written into the file, and raised.

        Any exception is a failure of this symbol only; the log has the place of an unexpected one.
        """
        try:
            await self._write_file(state)
        except Exception as error:
            symbol, failure = state.refresher.symbol, f"{type(error).__name__}: {full_message(error)}"
            if failure != state.failure:
                state.failure = failure
                frame = traceback.extract_tb(error.__traceback__)[-1]
                place = (
                    "" if isinstance(error, FAILURES) else f" ({frame.name}, line {frame.lineno} of {frame.filename})"
                )
                self.log(f"{symbol}: {failure}{place}")
            with suppress(OSError, ValueError):
                state.refresher.write_failure(datetime.now(UTC), failure)
                state.written_at = time.perf_counter()
            raise

    async def _write_file(self, state: _SymbolState) -> None:
        arrived_at, state.arrived_at = state.arrived_at, None
        status = await state.refresher.refresh(self.pool, datetime.now(UTC), self._problems(state))
        if status is None:
            return
        previous, state.written_at = state.written_at, time.perf_counter()
        self.metrics.cycles += 1
        if arrived_at is not None:
            self.metrics.record("total", state.written_at - arrived_at)
        if previous is None:
            self.on_first_file(state.refresher.symbol)
        else:
            gap = state.written_at - previous
            self.metrics.overruns += gap > MAX_GAP_SECONDS
            self.metrics.longest_gap_seconds = max(self.metrics.longest_gap_seconds, gap)
            self.metrics.seconds_stale += gap if status == "stale" else 0.0
        answer = state.refresher.answer
        if answer is not None and self._tick_writer is not None:  # for scoring, the first answer of each minute
            minute = answer["answered_at"].replace(second=0, microsecond=0)
            if minute != state.stored_minute:
                self._tick_writer.add_answer(answer)
                state.stored_minute = minute

    def _problems(self, state: _SymbolState) -> list[str]:
        """Messages about a symbol's prices, for its file."""
        problems = [problem for runner in self.runners for problem in runner.problems(state.refresher.symbol)]
        others = (state.clock_problem, state.champion_problem, self._read_problem)
        problems += [problem for problem in others if problem is not None]
        return problems if self._tick_writer is None else problems + self._tick_writer.problems


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event for at most so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
