"""A live session: one process that refreshes the files of all symbols until its market closes.

It starts as a standby: it reads ticks and champions, and writes nothing. Once it holds the session lock (see
`leadership`) it leads: it refreshes each file at least once a second and sends heartbeats. It hands over to the next
standby when its market closes.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
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
from pipelines.live.file_writer import ProbabilityFileWriter
from pipelines.live.leadership import Leadership, acquire_session_lock, take_leadership
from pipelines.live.metrics import SessionMetrics
from pipelines.live.refresh_loop import RefreshLoop
from pipelines.live.session_recorder import SessionRecorder, SessionReport, log_errors
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.storage.live.sessions import end_session, leader_connection, read_lock_state_async, record_heartbeat
from pipelines.storage.live.state_store import SnapshotType
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
#: Interval at which a session whose market has closed looks for a standby.
HAND_OVER_CHECK_SECONDS = 0.1
SHUTDOWN_TIMEOUT_SECONDS = 1.5
HANDED_OVER = "handed over when its market closed"
REFRESHED_ONCE = "refreshed once"

_logger = logging.getLogger(__name__)


class LiveSession:
    """Refreshes the probability files of the symbols in `tiers_usd` (symbol -> distance of its strikes in USD).

    `period`: the session hands over at whole multiples of it, an hour for hourly markets. `wait`: wait for the leader
    to end instead of raising AlreadyRunningError. `on_start` is called once it leads, `on_report` every ten minutes and
    at its end.
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
        on_start: Callable[[], None] = lambda: None,
        on_first_file: Log = lambda _: None,
        on_report: Callable[[SessionReport], None] = lambda _: None,
    ) -> None:
        self._database = replace(database, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS)
        self._feed_factory = feed
        self._run_id = run_id
        self._period = period
        self._wait = wait
        self._log = log
        self._on_start = on_start
        self._on_report = on_report
        self.metrics = SessionMetrics()
        self._files = ProbabilityFileWriter(output_dir)
        self._refreshers = {
            symbol: SymbolRefresher(symbol, tier_usd, self._files, self.metrics)
            for symbol, tier_usd in tiers_usd.items()
        }
        self._refresh_loop = RefreshLoop(
            self._database, APPLICATION, self._refreshers, self.metrics, log, on_first_file
        )
        self._signal: signal.Signals | None = None
        self._is_shutting_down = False
        self._final_report: SessionReport | None = None

    def run(self, *, once: bool = False) -> None:
        """Refresh until the hand-over or a signal; with `once`, refresh once.

        Raises AlreadyRunningError when another session leads and this one is not to wait, ServerUnavailableError when
        the server is unavailable or becomes so, SupersededError when another session took over. SIGINT and SIGTERM are
        raised again after an orderly shutdown.
        """
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            try:
                asyncio.run(self._main(once))
            finally:  # the lock has been released: a successor writes already
                with suppress(ValueError):  # not the main thread
                    for number, handler in handlers.items():
                        signal.signal(number, handler)
                if self._final_report is not None:
                    with log_errors(self._log, "report"):
                        self._on_report(self._final_report)
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            signal.raise_signal(self._signal)
        except (BaseExceptionGroup, OperationalError) as error:
            raise _root_error(error) from error
        finally:
            self._files.close()

    async def _main(self, once: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        repeat_lost_cancellations()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError, RuntimeError):  # not the main thread
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number, task)
        async with leader_connection(self._database, APPLICATION, self._run_id) as connection:
            feed = await asyncio.to_thread(self._make_feed)
            self._refresh_loop.replayed = feed.name == REPLAY
            await self._refresh_loop.load_champions()
            async with self._refresh_loop.pool, asyncio.TaskGroup() as group:
                await self._refresh_loop.catch_up()
                tasks = [group.create_task(coroutine) for coroutine in self._standby_tasks(feed)]
                try:
                    await feed.prepare()
                    self.metrics.record_start()
                    await acquire_session_lock(connection, self._database, APPLICATION, wait=self._wait, log=self._log)
                    await self._lead(connection, feed, once)
                finally:
                    for background in tasks:
                        background.cancel()
                    await feed.close()

    def _on_signal(self, number: signal.Signals, task: "asyncio.Task[None]") -> None:
        """Cancel the session; ignore further signals, and all during the shutdown."""
        if self._signal is None and not self._is_shutting_down:
            self._signal = number
            task.cancel()

    def _make_feed(self) -> Feed:
        with self._database.connect(APPLICATION, Role.LIVE) as connection:
            return self._feed_factory(connection)

    async def _lead(self, connection: AsyncConnection, feed: Feed, once: bool) -> None:
        """Record the session, refresh until the hand-over, and shut down."""
        hands_over_at = _next_multiple(datetime.now(UTC), self._period)
        leadership = await take_leadership(connection, list(self._refreshers), self._run_id, feed.name, hands_over_at)
        tick_writer = TickWriter(connection, feed.name)
        config = {
            "feed": feed.name,
            "symbols": {symbol: refresher.tier_usd for symbol, refresher in self._refreshers.items()},
            "dagster_run_id": self._run_id,
        }
        recorder = SessionRecorder(self._database, APPLICATION, leadership, feed.name, config, self.metrics, self._log)
        reason = "unknown"
        try:
            await recorder.read_totals()
            self._files.claim(leadership.session, leadership.database_id)
            self._log(f"session {leadership.session}: {', '.join(self._refreshers)}, prices by {feed.name}")
            await self._refresh_loop.lead(leadership.session, tick_writer, feed)
            if once:
                reason = REFRESHED_ONCE
                return
            async with asyncio.TaskGroup() as group:
                coroutines = self._leader_tasks(leadership, feed, tick_writer, recorder)
                tasks = [group.create_task(coroutine) for coroutine in coroutines]
                await self._wait_for_hand_over(hands_over_at)
                reason = HANDED_OVER
                for task in tasks:
                    task.cancel()
        except BaseException as error:
            reason = self._end_reason(error)
            raise
        finally:
            self._is_shutting_down = True
            await self._shut_down(recorder, tick_writer, reason)

    def _standby_tasks(self, feed: Feed) -> list[Coroutine[Any, Any, None]]:
        """The tasks that run from the start, so that a standby is up to date when it becomes the leader."""
        loop = self._refresh_loop
        return [
            *self._source_tasks(feed, early=True),
            loop.follow_ticks(),
            loop.listen(),
            loop.watch_champions(),
        ]

    def _leader_tasks(
        self, leadership: Leadership, feed: Feed, tick_writer: TickWriter, recorder: SessionRecorder
    ) -> list[Coroutine[Any, Any, None]]:
        return [
            *self._source_tasks(feed, early=False),
            *(self._refresh_loop.refresh_forever(symbol) for symbol in self._refreshers),
            tick_writer.run(),
            self._send_heartbeats(leadership),
            recorder.run(self._on_report),
            self._clean_up_after_others(),
        ]

    def _source_tasks(self, feed: Feed, *, early: bool) -> list[Coroutine[Any, Any, None]]:
        validators = {symbol: QuoteValidator(refresher.ticks.latest) for symbol, refresher in self._refreshers.items()}
        runners = [
            SourceRunner(source, validators, self.metrics, self._refresh_loop.deliver, self._log)
            for source in feed.sources
            if source.starts_early is early
        ]
        self._refresh_loop.runners += runners
        return [runner.run() for runner in runners]

    async def _wait_for_hand_over(self, hands_over_at: datetime) -> None:
        """Return once the market has closed and a standby waits. Without a standby the session continues."""
        while (remaining := (hands_over_at - datetime.now(UTC)).total_seconds()) > 0:
            await asyncio.sleep(min(remaining, 60.0))  # the clock may be set meanwhile
        is_logged = False
        while True:
            with suppress(DriverError):  # the heartbeat ends a session that lost its server
                async with self._refresh_loop.pool.connection() as connection:
                    if (await read_lock_state_async(connection)).waiting:
                        return
            if not is_logged:
                is_logged = True
                self._log("the market has closed, but no successor waits: the session continues until one does")
            await asyncio.sleep(HAND_OVER_CHECK_SECONDS)

    async def _send_heartbeats(self, leadership: Leadership) -> None:
        """Send a heartbeat each second. Raises an error when the connection is lost or another session took over."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                is_running = await record_heartbeat(leadership.connection, leadership.session, self.metrics.cycles)
            except OperationalError as error:
                if leadership.connection.closed:
                    raise
                self._log(f"heartbeat: {full_message(error)}")
                continue
            if not is_running:
                raise NoDataError(f"session {leadership.session} is no longer recorded as running: it ends")

    async def _clean_up_after_others(self) -> None:
        with log_errors(self._log, "start callback"):
            await asyncio.to_thread(self._on_start)
        with log_errors(self._log, "removal of partial files"):
            await asyncio.to_thread(self._files.remove_old_partials)

    async def _shut_down(self, recorder: SessionRecorder, tick_writer: TickWriter, reason: str) -> None:
        """Write the final files, snapshot and rows, as far as the database and the disk allow."""
        leadership = recorder.leadership
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_SECONDS):
                if reason not in (HANDED_OVER, REFRESHED_ONCE):
                    self._refresh_loop.write_final_files(f"the live session ended: {reason}")
                await recorder.save_snapshot(SnapshotType.ON_STOP, "stopped")
                await end_session(leadership.connection, leadership.session, self.metrics.cycles, reason)
                await tick_writer.flush()
                for problem in tick_writer.problems:
                    self._log(problem)
        except (DriverError, TimeoutError, StrikecastError, OSError) as error:
            self._log(f"session {leadership.session}: shutdown is incomplete: {full_message(error)}")
        self._final_report = recorder.report(reason)
        self._log(f"session {leadership.session} ended after {self.metrics.cycles} refreshes: {reason}")

    def _end_reason(self, error: BaseException) -> str:
        if isinstance(error, asyncio.CancelledError) and self._signal is not None:
            return f"stopped by {self._signal.name}"
        root = _root_error(error)
        return f"{type(root).__name__}: {full_message(root)}" if isinstance(root, Exception) else type(root).__name__


def _next_multiple(now: datetime, period: timedelta) -> datetime:
    """The next whole multiple of a period since 1970 UTC; of an hour, the next market close."""
    return EPOCH + ((now - EPOCH) // period + 1) * period


def _root_error(error: BaseException) -> BaseException:
    """The cause among the errors of a group: a StrikecastError, else a database error, else the first.

    A database error becomes a ServerUnavailableError.
    """
    leaves = list(_leaves(error))
    for cause in (leaf for kind in (StrikecastError, OperationalError) for leaf in leaves if isinstance(leaf, kind)):
        if isinstance(cause, OperationalError):
            problem = "lost the database" if is_connection_error(cause) else "a database operation failed"
            return ServerUnavailableError(f"{problem}: {full_message(cause)}")
        return cause
    return leaves[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
