"""A live session: an asyncio loop in one process that refreshes the files of all symbols, until it is stopped.

It holds an advisory lock for as long as it lives, so there is one session at a time; the connection that holds it also
listens for ticks and published generations. A session that loses that connection has lost its right to write, and ends.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pipelines.domain.config import MODEL_NAME
from pipelines.domain.ladder import minutes_of
from pipelines.domain.live_volatility import LiveVolatility
from pipelines.errors import AlreadyRunningError, NoDataError, ServerUnavailableError
from pipelines.live.replay import LOOP_BARS, SOURCE, ReplayFeed
from pipelines.live.symbol import Champion, SymbolRefresher
from pipelines.storage.database import AsyncConnection, Connection, Database, Role
from pipelines.storage.generations import ModelVersion, read_version
from pipelines.storage.live import champion_generations, latest_bars, minute_closes, start_session, take_session_lock
from pipelines.storage.queries import query
from pipelines.storage.tables import read_fingerprints
from pipelines.storage.volatility import newest_state

REFRESH_SECONDS = 1.0
HEARTBEAT_SECONDS = 5.0
STATEMENT_TIMEOUT_SECONDS = 5
APPLICATION = "live session"

_logger = logging.getLogger(__name__)


class LiveSession:
    """Refreshes the probability files of `tiers_usd`'s symbols (symbol -> distance of strikes in USD)."""

    def __init__(
        self,
        database: Database,
        output_dir: Path,
        tiers_usd: Mapping[str, float],
        *,
        run_id: str | None = None,
        replay: bool = True,
        say: Callable[[str], None] = _logger.info,
        on_succession: Callable[[Sequence[str]], None] = lambda _: None,
        on_first_file: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = replace(database, statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS)
        self._run_id = run_id
        self._replay = replay
        self._say = say
        self._on_succession = on_succession
        self._on_first_file = on_first_file
        output_dir.mkdir(parents=True, exist_ok=True)
        self.refreshers = {symbol: SymbolRefresher(symbol, tier, output_dir) for symbol, tier in tiers_usd.items()}
        self._wake = {symbol: asyncio.Event() for symbol in tiers_usd}
        self._session_id = 0

    @property
    def cycles(self) -> int:
        """Refreshes so far, of all symbols together."""
        return sum(refresher.cycles for refresher in self.refreshers.values())

    def run(self, *, once: bool = False) -> None:
        """Refresh until cancelled, or one time. Raises AlreadyRunningError when another session runs.

        Raises ServerUnavailableError when there is no server, or when it goes away.
        """
        with self._database.connect(APPLICATION, Role.LIVE, autocommit=True) as connection:
            if not take_session_lock(connection):
                raise AlreadyRunningError("another live session is running; it refreshes the files every second")
            symbols = list(self.refreshers)
            self._session_id, dead_runs = start_session(connection, symbols, self._run_id)
            if dead_runs:
                self._on_succession(dead_runs)
            feeds = self._feeds(connection)
            self._load_generations(connection)
            self._say(f"session {self._session_id}: {', '.join(symbols)}")
            try:
                asyncio.run(self._serve_once() if once else self._serve(connection, feeds))
            finally:
                with suppress(psycopg.OperationalError):
                    parameters = {"session_id": self._session_id, "cycles": self.cycles}
                    connection.execute(query("end_session"), parameters)

    def _feeds(self, connection: Connection) -> dict[str, ReplayFeed]:
        """A replay per symbol that has bars; its warm-up ticks are stored, so that momentum is known at once."""
        feeds = {}
        for symbol in self.refreshers if self._replay else ():
            bars = latest_bars(connection, symbol, LOOP_BARS)
            if not bars:
                self._say(f"{symbol} has no bars to replay")
                continue
            feeds[symbol] = ReplayFeed(tuple(bar.open for bar in bars), tuple(bar.close for bar in bars))
            with connection.cursor() as cursor:
                now = datetime.now(UTC).replace(microsecond=0)
                ticks = [*feeds[symbol].warm_up(now), feeds[symbol].tick_at(now)]
                cursor.executemany(query("insert_tick"), [(symbol, t.at, t.price_usd, SOURCE) for t in ticks])
        return feeds

    def _load_generations(self, connection: Connection) -> None:
        for symbol, generation in champion_generations(connection, list(self.refreshers)).items():
            refresher = self.refreshers[symbol]
            if refresher.champion is not None and refresher.champion.version.generation == generation:
                continue
            refresher.use(self._champion(connection, read_version(connection, generation)))
            self._say(f"{symbol}: generation {generation}")

    def _champion(self, connection: Connection, version: ModelVersion) -> Champion:
        """All that a generation needs to answer; its volatility goes on from the newest bar through the ticks since."""
        rule, baseline, volatility = version.rule, None, None
        if version.model == MODEL_NAME:
            with suppress(NoDataError):  # imported without one
                baseline = read_fingerprints(connection, version, baseline_only=True)
        if rule.volatility is not None:
            with suppress(NoDataError):
                state = newest_state(connection, version.symbol)
                volatility = LiveVolatility(state, rule.volatility)
                since = datetime.fromtimestamp((state.minute + 1) * 60, UTC)
                ticks = minute_closes(connection, version.symbol, since)
                volatility.add_all((minutes_of(at), price) for at, price in ticks)
        return Champion(version, rule, baseline, volatility)

    async def _serve_once(self) -> None:
        async with self._database.async_pool(APPLICATION, Role.LIVE) as pool:
            for refresher in self.refreshers.values():
                await refresher.refresh(pool, datetime.now(UTC))

    async def _serve(self, connection: Connection, feeds: Mapping[str, ReplayFeed]) -> None:
        async with self._database.async_pool(APPLICATION, Role.LIVE) as pool:
            tasks = [self._refresh_forever(symbol, pool) for symbol in self.refreshers]
            tasks += [self._watch(connection), self._keep_record(connection)]
            if feeds:
                tasks.append(self._feed(feeds, pool))
            try:
                async with asyncio.TaskGroup() as group:
                    for task in tasks:
                        group.create_task(task)
            except* psycopg.OperationalError as lost:
                raise ServerUnavailableError(f"lost the database: {lost.exceptions[0]}") from lost

    async def _refresh_forever(self, symbol: str, pool: AsyncConnectionPool[AsyncConnection]) -> None:
        """One symbol's loop. What goes wrong with it is said, and tried again with the next tick or second."""
        refresher, wake = self.refreshers[symbol], self._wake[symbol]
        failing, sampled = False, None
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), REFRESH_SECONDS)
            wake.clear()
            try:
                if await refresher.refresh(pool, datetime.now(UTC)) and refresher.cycles == 1:
                    self._on_first_file(symbol)
                sampled = await self._sample(refresher, pool, sampled)
            except (psycopg.Error, PoolTimeout, OSError, ValueError, NoDataError, KeyError) as error:
                if not failing:
                    self._say(f"{symbol}: {type(error).__name__}: {error}")
                failing = True
            else:
                if failing:
                    self._say(f"{symbol}: refreshing again")
                failing = False

    @staticmethod
    async def _sample(
        refresher: SymbolRefresher, pool: AsyncConnectionPool[AsyncConnection], sampled: datetime | None
    ) -> datetime | None:
        """Keep the first answer of each minute, to be scored when its hour has passed; returns the minute kept last."""
        answer = refresher.answer
        if answer is None:
            return sampled
        minute: datetime = answer["answered_at"].replace(second=0, microsecond=0)
        if minute == sampled:
            return sampled
        async with pool.connection() as connection:
            try:
                await connection.execute(query("insert_answer"), answer)
            except psycopg.errors.CheckViolation:  # the day has no partition yet
                await connection.execute(query("create_answer_partition"), [minute.date()])
                await connection.execute(query("insert_answer"), answer)
        return minute

    async def _feed(self, feeds: Mapping[str, ReplayFeed], pool: AsyncConnectionPool[AsyncConnection]) -> None:
        """Insert a tick of every symbol at each whole second."""
        while True:
            now = datetime.now(UTC)
            await asyncio.sleep(1.0 - now.microsecond / 1e6)
            instant = datetime.now(UTC).replace(microsecond=0)
            ticks = [(symbol, feed.tick_at(instant)) for symbol, feed in feeds.items()]
            try:
                async with pool.connection() as connection, connection.cursor() as cursor:
                    rows = [(symbol, tick.at, tick.price_usd, SOURCE) for symbol, tick in ticks]
                    await cursor.executemany(query("insert_tick"), rows)
            except (psycopg.OperationalError, PoolTimeout) as error:
                self._say(f"feed: {error}")

    async def _watch(self, holder: Connection) -> None:
        """Wake a symbol when it ticks, and take over a generation when it is published."""
        conninfo = self._database.conninfo(APPLICATION, Role.LIVE)
        async with await AsyncConnection.connect(conninfo, autocommit=True) as listener:
            await listener.execute(query("listen_ticks"))
            await listener.execute(query("listen_generations"))
            async for notification in listener.notifies():
                if notification.channel == "strikecast_generation":
                    await asyncio.to_thread(self._load_generations, holder)
                elif notification.payload in self._wake:
                    self._wake[notification.payload].set()

    async def _keep_record(self, holder: Connection) -> None:
        """Heartbeat on the connection that holds the lock: without it the session ends. Generations, should a NOTIFY
        have been lost.
        """
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await asyncio.to_thread(self._beat, holder)

    def _beat(self, holder: Connection) -> None:
        holder.execute(query("session_heartbeat"), {"session_id": self._session_id, "cycles": self.cycles})
        self._load_generations(holder)
