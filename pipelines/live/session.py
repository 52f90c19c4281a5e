"""A live session: one process that refreshes the files of all symbols until its market closes and another takes over.

Until it is its turn it waits, warm: it follows ticks and generations, and writes nothing. Then it holds the session
lock (see `succession`), refreshes each file at least once a second, and keeps a record of itself.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.domain.prices.ticks import EPOCH, QuoteValidator
from pipelines.errors import NoDataError, ServerUnavailableError, StrikecastError
from pipelines.live.cancellation import repeat_lost_cancellations
from pipelines.live.feeds.base import Feed
from pipelines.live.feeds.factory import FeedFactory
from pipelines.live.feeds.replay import REPLAY
from pipelines.live.feeds.runner import SourceRunner
from pipelines.live.file_writer import ProbabilityFileWriter, remove_leftovers
from pipelines.live.leadership import Leadership, take_leadership, wait_for_leadership
from pipelines.live.metrics import SessionMetrics, added
from pipelines.live.refresh_loop import RefreshLoop
from pipelines.live.session_state import crashed_state, live_state
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.storage.live.sessions import (
    end_session,
    latest_totals,
    leader_connection,
    read_lock_state_async,
    record_heartbeat,
)
from pipelines.storage.live.state_store import SnapshotType, save_state
from pipelines.storage.live.tick_writer import TickWriter
from pipelines.storage.postgres.connection import (
    AsyncConnection,
    Database,
    DriverError,
    OperationalError,
    Role,
    full_message,
    is_connection_error,
)

APPLICATION = "live session"
STATEMENT_TIMEOUT_SECONDS = 5
HEARTBEAT_SECONDS = 1.0
#: Between two looks whether a successor waits, once the market has closed.
HAND_OVER_CHECK_SECONDS = 0.1
#: A cancelled session has this long to say goodbye.
LEAVE_SECONDS = 1.5
REPORT_EVERY_MINUTES = 10
HANDED_OVER = "its market closed and its successor waited"
ONCE = "one refresh was asked for"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionReport:
    """A session so far; `ended`: why it ended, None while it runs; `totals`: counts with those of the ones before."""

    session: int
    feed: str
    started_at: datetime
    metrics: SessionMetrics
    totals: Mapping[str, float]
    ended: str | None


class LiveSession:
    """Refreshes the probability files of `tiers_usd`'s symbols (symbol -> distance of strikes in USD).

    `period`: it hands over at each whole multiple of it, an hour for hourly markets.
    `wait`: wait for the session that runs to end, rather than raise AlreadyRunningError.
    """

    def __init__(
        self,
        database: Database,
        output_dir: Path,
        tiers_usd: Mapping[str, float],
        feed: FeedFactory,
        *,
        run_id: str | None = None,
        period: timedelta = timedelta(hours=1),
        wait: bool = False,
        log: Log = _logger.info,
        on_start: Callable[[Leadership], None] = lambda _: None,
        on_first_file: Log = lambda _: None,
        on_report: Callable[[SessionReport], None] = lambda _: None,
    ) -> None:
        self._database = replace(database, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS)
        self._make_feed = feed
        self._run_id = run_id
        self._period = period
        self._wait = wait
        self._log = log
        self._on_start = on_start
        self._on_report = on_report
        self.metrics = SessionMetrics()
        self._files = ProbabilityFileWriter(output_dir)
        self.refreshers = {
            symbol: SymbolRefresher(symbol, tier, self._files, self.metrics) for symbol, tier in tiers_usd.items()
        }
        self._refresh_loop = RefreshLoop(self._database, APPLICATION, self.refreshers, self.metrics, log, on_first_file)
        self._signal: signal.Signals | None = None
        self._leaving = False
        #: Counts of the sessions before; None while they are not known.
        self._totals_before: Mapping[str, Any] | None = None
        self._last_report: SessionReport | None = None

    @property
    def cycles(self) -> int:
        """Refreshes so far, of all symbols together."""
        return self.metrics.cycles

    def run(self, *, once: bool = False) -> None:
        """Refresh until the hand-over or a signal, or one time.

        Raises AlreadyRunningError when another session runs and this one is not to wait, ServerUnavailableError when
        there is no server or it goes away, SupersededError when another took over meanwhile. A signal is raised again
        when everything is in order.
        """
        handlers = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            try:
                asyncio.run(self._main(once))
            finally:  # the lock has been given back: a successor writes already
                with suppress(ValueError):  # not the main thread
                    for sign, handler in handlers.items():
                        signal.signal(sign, handler)
                self._tell(self._last_report)
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            signal.raise_signal(self._signal)
        except BaseExceptionGroup as group:
            raise _first_of(group) from group
        except OperationalError as error:
            raise _lost(error) from error
        finally:
            self._files.close()

    async def _main(self, once: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        repeat_lost_cancellations()
        for sign in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError, RuntimeError):  # not the main thread: whoever owns that handles signals
                asyncio.get_running_loop().add_signal_handler(sign, self._interrupt, sign, task)
        async with leader_connection(self._database, APPLICATION, self._run_id) as connection:
            feed = await asyncio.to_thread(self._new_feed)
            self._refresh_loop.replayed = feed.name == REPLAY
            await self._refresh_loop.load_champions()
            async with self._refresh_loop.pool, asyncio.TaskGroup() as group:
                await self._refresh_loop.catch_up()
                background = [group.create_task(work) for work in self._waiting_work(feed)]
                try:
                    await feed.prepare()
                    self.metrics.ready()
                    await wait_for_leadership(connection, self._database, APPLICATION, wait=self._wait, log=self._log)
                    await self._serve(connection, feed, once)
                finally:
                    for one in background:
                        one.cancel()
                    await feed.close()

    def _interrupt(self, sign: signal.Signals, task: "asyncio.Task[None]") -> None:
        if self._signal is None and not self._leaving:
            self._signal = sign
            task.cancel()

    def _new_feed(self) -> Feed:
        with self._database.connect(APPLICATION, Role.LIVE) as connection:
            return self._make_feed(connection)

    async def _serve(self, connection: AsyncConnection, feed: Feed, once: bool) -> None:
        now = datetime.now(UTC)
        hands_over_at = _next_multiple(now, self._period)
        leadership = await take_leadership(connection, list(self.refreshers), self._run_id, feed.name, hands_over_at)
        ended: str | None = None
        tick_writer = TickWriter(connection, feed.name)
        try:
            await self._try("counts of the sessions before", self._look_at_totals(leadership))
            self._files.claim(leadership.session, leadership.identity)
            self._log(f"session {leadership.session}: {', '.join(self.refreshers)}, prices by {feed.name}")
            await self._refresh_loop.begin(leadership.session, tick_writer, feed)
            if once:
                ended = ONCE
                return
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in self._work(leadership, feed, tick_writer)]
                ended = await self._until_hand_over(hands_over_at)
                for task in tasks:
                    task.cancel()
        except BaseException as error:
            ended = self._reason(error)
            raise
        finally:
            self._leaving = True
            await self._leave(leadership, feed, tick_writer, ended or "it failed")

    def _waiting_work(self, feed: Feed) -> list[Coroutine[Any, Any, None]]:
        """What goes on from the start, so that a session whose turn comes knows everything."""
        return [
            *self._sources(feed, early=True),
            self._refresh_loop.follow(),
            self._refresh_loop.listen(),
            self._refresh_loop.look_for_champions(),
        ]

    def _work(self, leadership: Leadership, feed: Feed, tick_writer: TickWriter) -> list[Coroutine[Any, Any, None]]:
        """What goes on once it is its turn."""
        return [
            *self._sources(feed, early=False),
            *(self._refresh_loop.refresh_forever(symbol) for symbol in self.refreshers),
            tick_writer.run(),
            self._beat(leadership),
            self._keep_record(leadership, feed),
        ]

    def _sources(self, feed: Feed, *, early: bool) -> list[Coroutine[Any, Any, None]]:
        gates = {symbol: QuoteValidator(one.ticks.latest) for symbol, one in self.refreshers.items()}
        runners = [
            SourceRunner(one, gates, self.metrics, self._refresh_loop.deliver, self._log)
            for one in feed.sources
            if one.starts_early is early
        ]
        self._refresh_loop.runners = [*self._refresh_loop.runners, *runners]
        return [runner.run() for runner in runners]

    async def _until_hand_over(self, hands_over_at: datetime) -> str:
        """Return once the market has closed and a successor waits; without one, go on: better late than a gap."""
        while (left := (hands_over_at - datetime.now(UTC)).total_seconds()) > 0:
            await asyncio.sleep(min(left, 60.0))  # by the clock, which may be set
        said = False
        while True:
            waiting = 0
            with suppress(DriverError):  # a lost server ends the session elsewhere
                async with self._refresh_loop.pool.connection() as connection:
                    waiting = (await read_lock_state_async(connection)).waiting
            if waiting:
                return HANDED_OVER
            if not said:
                said = True
                self._log("its market closed, but no successor waits: the session goes on until one does")
            await asyncio.sleep(HAND_OVER_CHECK_SECONDS)

    async def _beat(self, leadership: Leadership) -> None:
        """Say that the session lives. Without its connection, or its row, it has been replaced, and ends."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                alive = await record_heartbeat(leadership.connection, leadership.session, self.metrics.cycles)
            except OperationalError as error:
                if leadership.connection.closed:
                    raise
                self._log(f"heartbeat: {full_message(error)}")
                continue
            if not alive:
                raise NoDataError(f"session {leadership.session} is no longer recorded as running: it ends")

    async def _keep_record(self, leadership: Leadership, feed: Feed) -> None:
        """Snapshots and reports. None of them is worth a missed second: what fails is said, and done without."""
        await self._try("the books of sessions before", self._close_books(leadership.dead, leadership.connection))
        await self._try("snapshot", self._snapshot(leadership, feed, SnapshotType.INITIAL, "running"))
        await self._try("what sessions before left", asyncio.to_thread(self._on_start, leadership))
        await self._try("leftovers", asyncio.to_thread(remove_leftovers, self._files.folder))
        minutes = 0
        while True:
            minute = datetime.now(UTC).replace(second=0, microsecond=0)
            await asyncio.sleep((minute + timedelta(minutes=1) - datetime.now(UTC)).total_seconds())
            self.metrics.close_minute(minute)
            if self._totals_before is None:
                await self._try("counts of the sessions before", self._look_at_totals(leadership))
            await self._try("snapshot", self._snapshot(leadership, feed, SnapshotType.PERIODIC, "running"))
            minutes += 1
            if minutes == 1 or minutes % REPORT_EVERY_MINUTES == 0:
                await asyncio.to_thread(self._tell, self._report(leadership, feed, None))

    async def _try(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 (a lost connection ends the session by its heartbeat)
            self._log(f"{what}: {type(error).__name__}: {full_message(error)}")

    def _tell(self, report: SessionReport | None) -> None:
        try:
            if report is not None:
                self._on_report(report)
        except Exception as error:  # noqa: BLE001 (whoever listens has no say in prices)
            self._log(f"report: {type(error).__name__}: {full_message(error)}")

    async def _look_at_totals(self, leadership: Leadership) -> None:
        """Go on from the counts of the sessions before."""
        self._totals_before = await latest_totals(leadership.connection) or {}

    async def _close_books(self, dead: Sequence[int], connection: AsyncConnection) -> None:
        """Save a last snapshot of each session that died."""
        for session in dead:
            state = await asyncio.to_thread(crashed_state, self._database, APPLICATION, session)
            if state is not None:
                await save_state(connection, state, SnapshotType.ON_STOP)

    async def _snapshot(self, leadership: Leadership, feed: Feed, kind: SnapshotType, status: str) -> None:
        totals = self._totals()
        config = {
            "feed": feed.name,
            "symbols": {symbol: one.tier_usd for symbol, one in self.refreshers.items()},
            "dagster_run_id": self._run_id,
            **self.metrics.as_saved(),
        }
        known = None if self._totals_before is None else totals
        state = live_state(leadership.session, leadership.started_at, config, known, int(totals["cycles"]), status)
        await save_state(leadership.connection, state, kind)

    async def _leave(self, leadership: Leadership, feed: Feed, tick_writer: TickWriter, ended: str) -> None:
        """Last words, as far as they still can be said."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                if ended not in (HANDED_OVER, ONCE):
                    self._refresh_loop.write_last(f"the live session ended: {ended}")
                self.metrics.close_minute(datetime.now(UTC).replace(second=0, microsecond=0))
                await self._snapshot(leadership, feed, SnapshotType.ON_STOP, "stopped")
                await end_session(leadership.connection, leadership.session, self.metrics.cycles, ended)
                await tick_writer.flush()
                for problem in tick_writer.problems:
                    self._log(problem)
        except (DriverError, TimeoutError, StrikecastError, OSError) as error:
            self._log(f"session {leadership.session} could not say goodbye: {full_message(error)}")
        self._last_report = self._report(leadership, feed, ended)
        self._log(f"session {leadership.session} ended after {self.metrics.cycles} refreshes: {ended}")

    def _report(self, leadership: Leadership, feed: Feed, ended: str | None) -> SessionReport:
        return SessionReport(leadership.session, feed.name, leadership.started_at, self.metrics, self._totals(), ended)

    def _totals(self) -> dict[str, float]:
        return added(self.metrics.counters(), self._totals_before or {})

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, asyncio.CancelledError) and self._signal is not None:
            return f"stopped by {self._signal.name}"
        first = _first_of(error) if isinstance(error, BaseExceptionGroup) else error
        return (
            f"{type(first).__name__}: {full_message(first)}" if isinstance(first, Exception) else type(first).__name__
        )


def _next_multiple(now: datetime, period: timedelta) -> datetime:
    """The next whole multiple of a period since 1970 UTC; of an hour, the next market close."""
    return EPOCH + ((now - EPOCH) // period + 1) * period


def _lost(error: OperationalError) -> ServerUnavailableError:
    what = "lost the database" if is_connection_error(error) else "the database did not do it"
    return ServerUnavailableError(f"{what}: {full_message(error)}")


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error behind a group of them; what the others say follows from it."""
    leaves: Sequence[BaseException] = [group]
    while any(isinstance(leaf, BaseExceptionGroup) for leaf in leaves):
        leaves = [
            inner for leaf in leaves for inner in (leaf.exceptions if isinstance(leaf, BaseExceptionGroup) else [leaf])
        ]
    ours = [leaf for leaf in leaves if isinstance(leaf, StrikecastError)]
    lost = [leaf for leaf in leaves if isinstance(leaf, OperationalError)]
    return ours[0] if ours else _lost(lost[0]) if lost else leaves[0]
