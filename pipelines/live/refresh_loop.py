"""The refresh loop of a live session: ticks and champions in, probability files out, in one event loop."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from pipelines.domain.prices.quote_times import AHEAD_OF_CLOCK
from pipelines.domain.prices.ticks import EPOCH, TOLERATED_DELAY, TOLERATED_SKEW, Tick
from pipelines.errors import StrikecastError
from pipelines.live.champions import Champion, load_new_champions
from pipelines.live.failures import FAILURES, describe
from pipelines.live.feeds.base import Feed
from pipelines.live.feeds.runner import SourceRunner
from pipelines.live.metrics import SessionMetrics
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.storage.live.sessions import APPLICATION
from pipelines.storage.live.tick_writer import TickRecord, TickWriter, max_queued
from pipelines.storage.live.ticks import (
    GENERATION_CHANNEL,
    Notification,
    notifications,
    read_last_ticks,
    read_new_ticks,
    read_price_levels,
)
from pipelines.storage.postgres.connection import Database, DriverError, OperationalError, Role, full_message

#: A file is refreshed this long after the last time, also without a tick: at least once a second, for 200 symbols.
REFRESH_SECONDS = 0.65
MAX_GAP_SECONDS = 1.0
#: Ticks and champions are also polled, since a NOTIFY may be lost.
TICK_POLL_SECONDS = 1.0
CHAMPION_POLL_SECONDS = 5.0
#: The longest lag of momentum, with its tolerance.
HISTORY = timedelta(minutes=33)
TICK_BATCH_SIZE = 20_000
#: Exponential backoff with full jitter: up to 0.1, 0.2, 0.4 ... 5 s.
BACKOFF = wait_random_exponential(multiplier=0.1, max=5.0)


@dataclass
class _SymbolState:
    """The loop's state of one symbol; `arrived_at` and `written_at` are by the performance counter."""

    refresher: SymbolRefresher
    #: Of the sources of its prices.
    runners: list[SourceRunner] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: Arrival of the first tick that the file does not show yet.
    arrived_at: float | None = None
    written_at: float | None = None
    #: Minute of the last answer that was stored.
    stored_minute: datetime | None = None
    #: The newest tick of the session's own feed while it waits for the leadership.
    pending_tick: Tick | None = None
    failure: str | None = None
    #: The newest unexpected failure to add a tick.
    tick_failure: str | None = None
    #: Why the file cannot be written, such as a full disk.
    write_failure: str | None = None
    clock_problem: str | None = None
    #: Why the newest price of another producer was refused.
    price_problem: str | None = None
    #: Ticks until this instant were read, though not used.
    refused_until: datetime = EPOCH
    champion_problem: str | None = None


@dataclass
class RefreshLoop:
    """Refreshes the files of all symbols. Reads through its own pool; writes through the leader's TickWriter."""

    database: Database
    refreshers: InitVar[Mapping[str, SymbolRefresher]]
    metrics: SessionMetrics
    log: Log
    on_first_file: Callable[[str], None]
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
        self._unstored_features: deque[TickRecord] = deque(maxlen=max_queued(len(self._symbols)))

    def add_runner(self, runner: SourceRunner) -> None:
        """Report the problems of a source in the files of its symbols."""
        for symbol in runner.source.symbols:
            self._symbols[symbol].runners.append(runner)

    async def lead(self, session: int, tick_writer: TickWriter, feed: Feed) -> None:
        """Become the writer: catch up with the ticks, warm up the feed, write all files."""
        self._tick_writer = tick_writer
        for state in self._symbols.values():
            state.refresher.session, state.refresher.feed = session, feed
            state.arrived_at = None  # the previous leader has answered these ticks
        await self.catch_up()
        await self._read_last_known()
        tick_writer.add_features(list(self._unstored_features))
        self._leading_since = datetime.now(UTC)
        for symbol, state in self._symbols.items():
            await self._try_refresh(state)
            warm_up = feed.warm_up(symbol, self._leading_since)
            records: list[TickRecord] = []
            for tick in warm_up:
                self._add_tick(state, tick, records)
            if warm_up:
                state.refresher.outliers.level_usd = warm_up[-1].price_usd
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
            await wait_for(self._champion_notified, CHAMPION_POLL_SECONDS)
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
            await wait_for(self._ticks_notified, TICK_POLL_SECONDS)
            symbols = list(self._notified_symbols) or list(self._symbols)
            self._ticks_notified.clear()
            self._notified_symbols.clear()
            await self._try_read_ticks(symbols)

    async def catch_up(self) -> None:
        """Read all ticks of the last half hour that are not known yet, after the level of the prices before them."""
        await self._read_price_levels()
        while await self._try_read_ticks(list(self._symbols)):
            pass

    async def _read_price_levels(self) -> None:
        filters = {symbol: state.refresher.outliers for symbol, state in self._symbols.items()}
        unknown = [symbol for symbol, outliers in filters.items() if outliers.level_usd is None]
        with suppress(*FAILURES):  # without a level, the first price is one
            async with self.pool.connection() as connection:
                before = datetime.now(UTC) - HISTORY
                levels = await read_price_levels(connection, unknown, before, replayed=self.replayed)
            for symbol, level in levels.items():
                filters[symbol].level_usd = level

    async def _read_last_known(self) -> None:
        """Read the last price of each symbol that has none of the last half hour."""
        symbols = [symbol for symbol, state in self._symbols.items() if state.refresher.ticks.latest is None]
        with suppress(*FAILURES):  # only for the files of symbols without a price
            async with self.pool.connection() as connection:
                for symbol, at, price in await read_last_ticks(connection, symbols, replayed=self.replayed):
                    self._symbols[symbol].refresher.last_known = Tick(at, price)

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
        """Read ticks newer than the newest known; return whether there are more.

        A tick that was dated ahead when it was received is never used, also not when its time has come.
        """
        started, now = time.perf_counter(), datetime.now(UTC)
        since = {symbol: self._known_until(symbol, now) for symbol in symbols}
        async with self.pool.connection() as connection:
            asked_at = datetime.now(UTC)
            until = asked_at + TOLERATED_SKEW
            rows = await read_new_ticks(connection, since, until, TICK_BATCH_SIZE, replayed=self.replayed)
        read_at = time.perf_counter()
        records: list[TickRecord] = []
        for symbol in symbols:
            self._symbols[symbol].clock_problem = None
        for symbol, ticked_at, price, since_receipt, lacks_features in rows:
            state, tick, received_at = self._symbols[symbol], Tick(ticked_at, price), asked_at - since_receipt
            if ticked_at > until or ticked_at - received_at > TOLERATED_SKEW:
                ahead = (ticked_at - min(received_at, asked_at)).total_seconds()
                state.clock_problem = f"there are prices dated {ahead:.0f} s {AHEAD_OF_CLOCK}"
                if ticked_at < asked_at - TOLERATED_DELAY:  # a good tick may still arrive with a later instant
                    state.refused_until = ticked_at
                continue
            state.price_problem = state.refresher.outliers.refusal(price)
            if state.price_problem is not None:
                state.refused_until = ticked_at
                self.metrics.refused_quotes += 1
                continue
            if not self._add_tick(state, tick, records if lacks_features else None):
                continue
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
        counts = Counter(row[0] for row in rows)
        return any(
            count >= TICK_BATCH_SIZE and self._known_until(symbol, now) > since[symbol]
            for symbol, count in counts.items()
        )

    def _known_until(self, symbol: str, now: datetime) -> datetime:
        """Instant up to which the ticks of a symbol need not be read again."""
        state = self._symbols[symbol]
        newest = state.refresher.ticks.latest
        return max(now - HISTORY if newest is None else newest.at, state.refused_until)

    def deliver(self, ticks: Sequence[tuple[str, Tick]], received_at: datetime) -> None:
        """Add ticks of the session's own feed and store them. While it waits for the leadership, keep the newest."""
        if self._tick_writer is None:
            for symbol, tick in ticks:
                self._symbols[symbol].pending_tick = tick
            return
        arrived_at = time.perf_counter()
        for symbol, tick in ticks:
            state = self._symbols[symbol]
            records: list[TickRecord] = []
            if self._add_tick(state, tick, records):
                self._tick_writer.add_ticks(records)
                self.metrics.ticks += 1
                self.metrics.record("feed", max(0.0, (received_at - tick.at).total_seconds()))
                self.metrics.record("read", time.perf_counter() - arrived_at)
                state.arrived_at = arrived_at
                state.wake.set()

    def _add_tick(self, state: _SymbolState, tick: Tick, records: list[TickRecord] | None) -> bool:
        """Add a tick to its symbol, and its features to `records`; return whether it is newer than the newest.

        Any exception is a failure of this symbol only, as in `_refresh`; the tick is left out.
        """
        try:
            if not state.refresher.add_tick(tick):
                return False
            if records is not None:
                features = state.refresher.ticks.features()
                assert features is not None
                records.append(TickRecord(state.refresher.symbol, tick, features))
        except Exception as error:  # noqa: BLE001 (the edge of the symbol)
            state.refused_until = tick.at
            state.price_problem, detail = describe(error)
            if state.price_problem != state.tick_failure:
                state.tick_failure = state.price_problem
                self.log(f"{state.refresher.symbol}: {detail}")
            return False
        state.price_problem = None
        return True

    # Files

    @property
    def write_failure(self) -> str | None:
        """Folder of the files, and why one of them cannot be written; None while all can."""
        failures = (state.write_failure for state in self._symbols.values())
        return next((failure for failure in failures if failure is not None), None)

    async def refresh_forever(self, symbol: str) -> None:
        """Refresh a symbol's file after each tick and at least once a second; retry failures."""
        state = self._symbols[symbol]
        retrying = AsyncRetrying(retry=retry_if_exception_type(Exception), wait=BACKOFF)
        while True:
            elapsed = 0.0 if state.written_at is None else time.perf_counter() - state.written_at
            await wait_for(state.wake, max(0.0, REFRESH_SECONDS - elapsed))
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
            state.write_failure = None
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # a timeout has no number
                state.write_failure = f"{state.refresher.files.folder}: {error.strerror}"
            failure, detail = describe(error)
            if failure != state.failure:
                state.failure = failure
                self.log(f"{state.refresher.symbol}: {detail}")
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
        problems = [problem for runner in state.runners for problem in runner.problems(state.refresher.symbol)]
        others = (state.clock_problem, state.price_problem, state.champion_problem, self._read_problem)
        problems += [problem for problem in others if problem is not None]
        return problems if self._tick_writer is None else problems + self._tick_writer.problems


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event for at most so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
