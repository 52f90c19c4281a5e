"""A live session: one process that refreshes the files of all symbols until its market closes.

It starts as a standby: it reads ticks and champions, and writes nothing. Once it holds the session lock (see
`leadership`) it leads: it refreshes each file at least once a second and sends heartbeats. It hands over to the next
standby when its market closes.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.domain.markets.basis import Basis, NoBasis
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.prices.ticks import EPOCH, REPLAY, QuoteValidator
from pipelines.errors import NoDataError, ServerUnavailableError, StrikecastError
from pipelines.live.bases import follow_bases
from pipelines.live.cancellation import repeat_lost_cancellations
from pipelines.live.feeds.base import Feed
from pipelines.live.feeds.factory import FeedFactory
from pipelines.live.feeds.runner import SourceRunner
from pipelines.live.leadership import acquire_session_lock
from pipelines.live.market_factory import MarketsFactory, no_markets
from pipelines.live.metrics import SessionMetrics
from pipelines.live.outdated import Unsupplied, end_files_of_others, remove_tables_of_others
from pipelines.live.probability_writer import ProbabilityFileWriter
from pipelines.live.refresh_loop import RefreshLoop
from pipelines.live.session_recorder import SessionRecorder, log_errors
from pipelines.live.strike_tables import StrikeTable
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.storage.live.sessions import (
    APPLICATION,
    Leadership,
    advance_hand_over,
    end_session,
    leader_connection,
    read_lock_state_async,
    record_heartbeat,
    take_leadership,
)
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

if TYPE_CHECKING:
    from pipelines.live.markets import LiveMarkets

STATEMENT_TIMEOUT_SECONDS = 5
HEARTBEAT_SECONDS = 1.0
#: Interval at which a session whose market has closed looks for a standby.
HAND_OVER_CHECK_SECONDS = 0.1
#: Interval at which a session looks whether its settings or its feed are outdated.
OUTDATED_CHECK_SECONDS = 5.0
SHUTDOWN_TIMEOUT_SECONDS = 1.5
HANDED_OVER = "handed over when its market closed"
REPLACED = "handed over to a session with the current settings and bars"
REFRESHED_ONCE = "refreshed once"

_logger = logging.getLogger(__name__)


@dataclass
class LiveSession:
    """Refreshes the probability files of the symbols in `tiers_usd` (symbol -> distance of its strikes in USD).

    `period`: the session hands over at whole multiples of it, an hour for hourly markets. `wait`: wait for the leader
    to end instead of raising AlreadyRunningError. `by_probability`: symbols whose strikes are chosen by probability.
    `rules`: what the markets of each symbol settle on, by default on the last price. `make_markets`: of the quotes
    and strike tables. `is_outdated`: whether a successor
    would have other settings; then it hands over early. `on_start` is called once it leads, `on_report` every ten
    minutes and at its end.
    """

    database: Database
    output_dir: Path
    tiers_usd: Mapping[str, float]
    feed_factory: FeedFactory
    _: KW_ONLY
    by_probability: Collection[str] = ()
    rules: Mapping[str, SettlementRule] = field(default_factory=dict)
    make_markets: MarketsFactory = no_markets
    run_id: str | None = None
    period: timedelta = timedelta(hours=1)
    wait: bool = False
    log: Log = _logger.info
    is_outdated: Callable[[], bool] = lambda: False
    on_start: Callable[[], None] = lambda: None
    on_first_file: Callable[[str], None] = lambda _: None
    on_first_table: Callable[[StrikeTable], None] = lambda _: None
    on_report: Callable[[SessionRecorder], None] = lambda _: None
    metrics: SessionMetrics = field(default_factory=SessionMetrics, init=False)

    def __post_init__(self) -> None:
        self.database = replace(self.database, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS)
        self._files = ProbabilityFileWriter(self.output_dir)
        self._refreshers = {
            symbol: SymbolRefresher(
                symbol,
                tier_usd,
                self._files,
                self.metrics,
                by_probability=symbol in self.by_probability,
                rule=self.rules.get(symbol, SettlementRule.LAST_PRICE),
            )
            for symbol, tier_usd in self.tiers_usd.items()
        }
        self._refresh_loop = RefreshLoop(self.database, self._refreshers, self.metrics, self.log, self.on_first_file)
        self._markets: LiveMarkets | None = None
        self._bases_due = asyncio.Event()
        self._signal: signal.Signals | None = None
        self._is_shutting_down = False
        self._recorder: SessionRecorder | None = None

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
                if self._recorder is not None:
                    with log_errors(self.log, "report"):
                        self.on_report(self._recorder)
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
        async with leader_connection(self.database, self.run_id) as connection:
            feed = await asyncio.to_thread(self._make_feed)
            self._refresh_loop.replayed = feed.name == REPLAY
            # In a thread, because the import of the markets takes a second; here, because a leader must not wait.
            with log_errors(self.log, "markets"):  # the probabilities go on without them
                self._markets = await asyncio.to_thread(self.make_markets, self._refreshers, self.log)
            if self._markets is not None:
                self._markets.on_first_table = self.on_first_table
            await self._refresh_loop.load_champions()
            async with self._refresh_loop.pool, asyncio.TaskGroup() as group:
                await self._refresh_loop.catch_up()
                standby_tasks = [
                    *self._source_tasks(feed, early=True),
                    self._refresh_loop.follow_ticks(),
                    self._refresh_loop.listen(),
                    self._refresh_loop.watch_champions(),
                    follow_bases(
                        self._refresh_loop.pool,
                        self._refreshers.values(),
                        self._quoted_bases,
                        self._bases_due,
                        replayed=self._refresh_loop.replayed,
                    ),
                ]
                tasks = [group.create_task(coroutine) for coroutine in standby_tasks]
                try:
                    await feed.prepare()
                    self.metrics.record_start()
                    await acquire_session_lock(connection, self.database, wait=self.wait, log=self.log)
                    await self._lead(connection, feed, once)
                finally:
                    for background in tasks:
                        background.cancel()
                    await feed.close()

    def _quoted_bases(self) -> Mapping[str, Basis | NoBasis]:
        return {} if self._markets is None else self._markets.quoted_bases(replayed=self._refresh_loop.replayed)

    def _on_signal(self, number: signal.Signals, task: "asyncio.Task[None]") -> None:
        """Cancel the session; ignore further signals, and all during the shutdown."""
        if self._signal is None and not self._is_shutting_down:
            self._signal = number
            task.cancel()

    def _make_feed(self) -> Feed:
        with self.database.connect(APPLICATION, Role.LIVE) as connection:
            return self.feed_factory(connection)

    async def _lead(self, connection: AsyncConnection, feed: Feed, once: bool) -> None:
        """Record the session, refresh until the hand-over, and shut down."""
        # The next whole multiple of the period since 1970 UTC; of an hour, the next market close.
        hands_over_at = EPOCH + ((datetime.now(UTC) - EPOCH) // self.period + 1) * self.period
        leadership = await take_leadership(connection, list(self._refreshers), self.run_id, feed.name, hands_over_at)
        tick_writer = TickWriter(connection, feed.name, len(self._refreshers))
        config = {
            "feed": feed.name,
            "symbols": {symbol: refresher.tier_usd for symbol, refresher in self._refreshers.items()},
            "dagster_run_id": self.run_id,
        }
        recorder = SessionRecorder(self.database, leadership, config, self.metrics, self.log)
        try:
            await recorder.read_totals()
            self._files.claim(leadership.session, leadership.database_id)
            self.log(f"session {leadership.session}: {', '.join(self._refreshers)}, prices by {feed.name}")
            await self._refresh_loop.lead(leadership.session, tick_writer, feed)
            if once:
                if self._markets is not None:
                    await self._markets.refresh_once(connection, self._refresh_loop.pool, self._bases_due)
                recorder.ended = REFRESHED_ONCE
                return
            async with asyncio.TaskGroup() as group:
                coroutines = [
                    *self._source_tasks(feed, early=False),
                    *(self._refresh_loop.refresh_forever(symbol) for symbol in self._refreshers),
                    tick_writer.run(),
                    self._send_heartbeats(leadership),
                    recorder.run(self.on_report),
                    self._clean_up_after_others(),
                ]
                if self._markets is not None:
                    coroutines.append(self._markets.run(connection, self._refresh_loop.pool, self._bases_due))
                tasks = [group.create_task(coroutine) for coroutine in coroutines]
                recorder.ended = await self._wait_for_hand_over(hands_over_at, leadership, feed)
                for task in tasks:
                    task.cancel()
        except BaseException as error:
            recorder.ended = self._end_reason(error)
            raise
        finally:
            self._is_shutting_down = True
            await self._shut_down(recorder, tick_writer)

    def _source_tasks(self, feed: Feed, *, early: bool) -> list[Coroutine[Any, Any, None]]:
        sources = [source for source in feed.sources if source.starts_early is early]
        validators = {}
        for symbol in (symbol for source in sources for symbol in source.symbols):
            refresher = self._refreshers[symbol]
            validator = QuoteValidator(refresher.ticks.latest, feed.max_repeat, refresher.outliers)
            refresher.validator = validators[symbol] = validator
        runners = [
            SourceRunner(source, validators, self.metrics, self._refresh_loop.deliver, self.log) for source in sources
        ]
        for runner in runners:
            self._refresh_loop.add_runner(runner)
        return [runner.run() for runner in runners]

    async def _wait_for_hand_over(self, hands_over_at: datetime, leadership: Leadership, feed: Feed) -> str:
        """Return the reason once the market has closed, or the session is outdated, and a standby waits.

        Without a standby the session continues.
        """
        reason, unsupplied = HANDED_OVER, Unsupplied(self._refreshers, feed, self._make_feed)
        while (remaining := (hands_over_at - datetime.now(UTC)).total_seconds()) > 0:
            await asyncio.sleep(min(remaining, OUTDATED_CHECK_SECONDS))
            if await asyncio.to_thread(lambda: self.is_outdated() or unsupplied.can_be_supplied()):
                with suppress(DriverError):  # the heartbeat ends a session that lost its server
                    await advance_hand_over(leadership.connection, leadership.session)
                    self.log("the settings or the bars to replay have changed: a successor takes over")
                    reason = REPLACED
                    break
        is_logged = reason == REPLACED
        while True:
            with suppress(DriverError):  # the heartbeat ends a session that lost its server
                async with self._refresh_loop.pool.connection() as connection:
                    if (await read_lock_state_async(connection)).waiting:
                        return reason
            if not is_logged:
                self.log("the market has closed, but no successor waits: the session continues until one does")
                is_logged = True
            await asyncio.sleep(HAND_OVER_CHECK_SECONDS)

    async def _send_heartbeats(self, leadership: Leadership) -> None:
        """Send a heartbeat each second. Raises an error when the connection is lost or another session took over."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                is_running = await record_heartbeat(
                    leadership.connection, leadership.session, self.metrics.cycles, self._refresh_loop.write_failure
                )
            except OperationalError as error:
                if leadership.connection.closed:
                    raise
                self.log(f"heartbeat: {full_message(error)}")
                continue
            if not is_running:
                raise NoDataError(f"session {leadership.session} is no longer recorded as running: it ends")

    async def _clean_up_after_others(self) -> None:
        with log_errors(self.log, "start callback"):
            await asyncio.to_thread(self.on_start)
        with log_errors(self.log, "removal of partial files"):
            await asyncio.to_thread(self._files.remove_old_partials)
        with log_errors(self.log, "files of removed symbols"):
            await asyncio.to_thread(end_files_of_others, self._files, list(self._refreshers), datetime.now(UTC))
            tables = [] if self._markets is None else [table.path for table in self._markets.tables.values()]
            await asyncio.to_thread(remove_tables_of_others, self._files.folder, tables, self.log)

    async def _shut_down(self, recorder: SessionRecorder, tick_writer: TickWriter) -> None:
        """Write the final files, snapshot and rows, as far as the database and the disk allow."""
        leadership, reason = recorder.leadership, recorder.ended or "unknown"
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_SECONDS):
                if reason not in (HANDED_OVER, REPLACED, REFRESHED_ONCE):
                    self._refresh_loop.write_final_files(f"the live session ended: {reason}")
                    if self._markets is not None:
                        self._markets.write_final_files(f"the live session ended: {reason}")
                if self._markets is not None:
                    with log_errors(self.log, "desk"):
                        await self._markets.stop_desk(leadership.connection)
                await recorder.save_snapshot(SnapshotType.ON_STOP)
                await end_session(leadership.connection, leadership.session, self.metrics.cycles, reason)
                await tick_writer.flush()
                if self._markets is not None:
                    await self._markets.flush()
                for problem in tick_writer.problems:
                    self.log(problem)
        except (DriverError, TimeoutError, StrikecastError, OSError) as error:
            self.log(f"session {leadership.session}: shutdown is incomplete: {full_message(error)}")
        self._recorder = recorder
        self.log(f"session {leadership.session} ended after {self.metrics.cycles} refreshes: {reason}")

    def _end_reason(self, error: BaseException) -> str:
        if isinstance(error, asyncio.CancelledError) and self._signal is not None:
            return f"stopped by {self._signal.name}"
        root = _root_error(error)
        return f"{type(root).__name__}: {full_message(root)}" if isinstance(root, Exception) else type(root).__name__


def _root_error(error: BaseException) -> BaseException:
    """The cause among the errors of a group: a StrikecastError, else a database error, else the first.

    A database error becomes a ServerUnavailableError.
    """
    leaves = _leaves(error)
    for cause in (leaf for kind in (StrikecastError, OperationalError) for leaf in leaves if isinstance(leaf, kind)):
        if isinstance(cause, OperationalError):
            problem = "lost the database" if is_connection_error(cause) else "a database operation failed"
            return ServerUnavailableError(f"{problem}: {full_message(cause)}")
        return cause
    return leaves[0]


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
