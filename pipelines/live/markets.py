"""Markets of a live session: the feed of quotes, the strike tables, and what is stored of them.

They run beside the probabilities and never delay them: whatever fails here is logged, is shown in the strike tables,
and is tried again. Only the leader runs them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pipelines.domain.markets.basis import Basis, NoBasis, QuotedBasis, QuotedSums
from pipelines.domain.markets.board import EventBoard, MarketSource
from pipelines.domain.markets.listings import Listing
from pipelines.domain.markets.pool import NOT_SCORED
from pipelines.domain.markets.settlement import MARKET_RULE
from pipelines.errors import MarketError, StrikecastError, SupersededError
from pipelines.live.desk import DeskPlan, LiveDesk
from pipelines.live.failures import describe
from pipelines.live.refresh_loop import REFRESH_SECONDS, wait_for
from pipelines.live.strike_tables import StrikeTable
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.markets.client import MarketClient
from pipelines.markets.feed import MarketFeed
from pipelines.markets.series_events import SeriesPlan
from pipelines.storage.evaluation.edge import read_pool_decisions_async
from pipelines.storage.live.basis import read_quoted_sums, store_quoted_sums
from pipelines.storage.markets.markets import read_unsettled_async
from pipelines.storage.markets.quotes import MarketWriter
from pipelines.storage.postgres.connection import AsyncConnection, AsyncPool

RETRY_SECONDS = 1.0
MINUTE_SECONDS = 60.0
EACH_MINUTE = "scores and basis of markets"
DESK = "the paper desk"
#: Markets that closed longer ago without a result are left to the daily job.
UNSETTLED = timedelta(hours=6)
#: The simulated exchange may get another address when it is replaced.
ADDRESS_CHECK_SECONDS = 5.0
#: A price and quotes that arrive within this time give one refresh. Two probability files take about as long: the table
#: follows that of the same price.
GATHERING_SECONDS = 0.003
#: Prices alone refresh a table at most so often: an exchange may have 50 a second.
PRICE_SECONDS = 0.25
#: A session that refreshes once waits this long for the first quotes.
FIRST_QUOTES_SECONDS = 5.0


@dataclass(frozen=True)
class MarketPlan:
    """Whose markets a session follows: the series of each symbol, of which the first gives the basis by quotes.

    `url`: the address of the exchange now; raises MarketError while it has none. `desk`: None without a paper desk.
    """

    source: MarketSource
    series: Mapping[str, Sequence[str]]
    url: Callable[[], str]
    make_client: Callable[[str], MarketClient]
    desk: DeskPlan | None = None


class LiveMarkets:
    """The markets of one session. `replayed`: its prices are; then only the simulated exchange gives a basis."""

    def __init__(self, plan: MarketPlan, refreshers: Mapping[str, SymbolRefresher], log: Log) -> None:
        self._plan, self._refreshers, self._log = plan, refreshers, log
        self.tables = {
            (symbol, series): StrikeTable(
                refreshers[symbol],
                EventBoard(symbol, series, plan.source, failure="nothing has been received yet"),
                is_first=number == 0,
            )
            for symbol, known in plan.series.items()
            for number, series in enumerate(known)
            if symbol in refreshers
        }
        tables = list(self.tables.values())
        self._desk = LiveDesk(plan.desk, str(plan.source), tables, log) if plan.desk and tables else None
        if self._desk is not None:
            self._desk.on_success = lambda: self._report(DESK, None)
        #: Called when a table shows markets for the first time.
        self.on_first_table: Callable[[StrikeTable], None] = lambda _: None
        self._failures: dict[str, str] = {}
        self._writer: MarketWriter | None = None

    def quoted_bases(self, *, replayed: bool) -> dict[str, Basis | NoBasis]:
        """The basis by quotes of each symbol, from its first series.

        None for replayed prices, which are not the market's now, nor by quotes of the simulated exchange, whose basis
        is invented.
        """
        if replayed or self._plan.source is MarketSource.SIMULATED:
            return {}
        return {symbol: one.quoted_basis.estimate() for (symbol, _), one in self.tables.items() if one.is_first}

    async def run(
        self, connection: AsyncConnection, pool: AsyncPool, bases_due: asyncio.Event, *, trades: bool = True
    ) -> None:
        """Follow the markets until cancelled, and trade on paper where there is a desk.

        `connection`: the leader's; `bases_due`: set when a basis is known. Raises SupersededError when another session
        may write.
        """
        self._writer = writer = MarketWriter(connection, str(self._plan.source))
        desk = self._desk if trades else None
        async with asyncio.TaskGroup() as group:
            for name, work in {
                "markets": lambda: self._feed(pool, writer, bases_due),
                "storage of markets": writer.run,
                EACH_MINUTE: lambda: self._each_minute(connection, pool),
                **{f"strike table {series}": self._table(one, pool) for (_, series), one in self.tables.items()},
                **({} if desk is None else {DESK: lambda: desk.run(connection, pool)}),
            }.items():
                group.create_task(self._again(name, work))

    async def refresh_once(self, connection: AsyncConnection, pool: AsyncPool, bases_due: asyncio.Event) -> None:
        """Write each table once, with quotes where they arrive within FIRST_QUOTES_SECONDS."""
        running = asyncio.create_task(self.run(connection, pool, bases_due, trades=False))
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_QUOTES_SECONDS):
                while not all(table.is_written for table in self.tables.values()):
                    await asyncio.sleep(0.05)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def stop_desk(self, connection: AsyncConnection) -> None:
        """Save what the desk did last, after `run` was cancelled, while the session is recorded as running."""
        if self._desk is not None:
            await self._desk.stop(connection)

    async def flush(self) -> None:
        """Store what waits to be stored, after `run` was cancelled."""
        if self._writer is not None:
            await self._writer.flush()

    def write_final_files(self, reason: str) -> None:
        """Write into every table that it will not be refreshed, and why."""
        for table in self.tables.values():
            table.write_final(datetime.now(UTC), reason)

    async def _again(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, and again after a failure, which is logged when it is new. Raises only SupersededError."""
        while True:
            try:
                await work()
            except SupersededError:
                raise
            except Exception as error:  # noqa: BLE001 (the edge of the markets)
                cause = _first_cause(error)
                self._report(name, str(cause) if isinstance(cause, StrikecastError) else describe(cause)[1])
            await asyncio.sleep(RETRY_SECONDS)

    def _report(self, name: str, failure: str | None) -> None:
        if failure is None:
            if self._failures.pop(name, None) is not None:
                self._log(f"{name}: works again")
        elif self._failures.get(name) != failure:
            self._failures[name] = failure
            self._log(f"{name}: {failure}")

    async def _feed(self, pool: AsyncPool, writer: MarketWriter, bases_due: asyncio.Event) -> None:
        """Follow the exchange until its address changes."""
        try:
            url = self._plan.url()
        except MarketError as error:
            for table in self.tables.values():
                table.use_board(replace(table.board, failure=str(error)))
            raise
        now, exchange = datetime.now(UTC), str(self._plan.source)
        async with pool.connection() as connection:
            unsettled = await read_unsettled_async(connection, exchange, now - UNSETTLED, now)
            counted = await read_quoted_sums(connection, exchange)
        for (_, series), table in self.tables.items():
            # Sums dated ahead were counted before the clock was set back.
            if series in counted and table.quoted_basis.counted is None and counted[series].at <= now:
                table.quoted_basis = QuotedBasis(counted=counted[series])
                bases_due.set()

        def on_board(board: EventBoard) -> None:
            if board.failure is None:
                self._report("markets", None)
            problems = (*board.problems, *writer.problems)
            self.tables[board.symbol, board.series_ticker].use_board(replace(board, problems=problems))

        def on_listings(symbol: str, listings: Sequence[Listing], received_at: datetime) -> None:
            writer.add_markets(symbol, MARKET_RULE, listings)
            writer.add_quotes(received_at, [one for one in listings if one.market.closes_at > received_at])

        async with self._plan.make_client(url) as client:
            feed = MarketFeed(
                client,
                self._plan.source,
                [SeriesPlan(symbol, series, one.refresher.tier_usd) for (symbol, series), one in self.tables.items()],
                self._price_of,
                on_board=on_board,
                on_listings=on_listings,
                unfinished=[(one.symbol, one.market.ticker, one.market.closes_at) for one in unsettled],
                series_of={one.market.ticker: one.market.series_ticker for one in unsettled},
                log=self._log,
            )
            running = asyncio.create_task(feed.run())
            try:
                while not running.done() and self._plan.url() == url:
                    await asyncio.wait([running], timeout=ADDRESS_CHECK_SECONDS)
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    def _price_of(self, symbol: str) -> float | None:
        tick = self._refreshers[symbol].newest_tick()
        return None if tick is None else tick.price_usd

    def _table(self, table: StrikeTable, pool: AsyncPool) -> Callable[[], Awaitable[None]]:
        name = f"strike table {table.board.series_ticker}"

        async def refresh_forever() -> None:
            while True:
                started, is_first = time.perf_counter(), not table.is_written
                await table.refresh(pool, datetime.now(UTC))
                self._report(name, None)
                if self._desk is not None:
                    self._desk.wake.set()
                if is_first and table.is_written:
                    self.on_first_table(table)
                await _wait_for_news(table, started)

        return refresh_forever

    async def _each_minute(self, connection: AsyncConnection, pool: AsyncPool) -> None:
        """Read which pools are served, and store what is counted for the basis."""
        exchange, stored = str(self._plan.source), dict[str, QuotedSums]()
        while True:
            async with pool.connection() as reading:
                decisions = await read_pool_decisions_async(reading, exchange)
            for (_, series), table in self.tables.items():
                table.pool = decisions.get(series, NOT_SCORED)
                sums = table.quoted_basis.counted
                if sums is not None and sums != stored.get(series):
                    await store_quoted_sums(connection, exchange, series, sums)
                    stored[series] = sums
            self._report(EACH_MINUTE, None)
            await asyncio.sleep(MINUTE_SECONDS)


async def _wait_for_news(table: StrikeTable, since: float) -> None:
    """Wait for quotes or a price, REFRESH_SECONDS at most; `since`: of the last refresh, by the performance counter."""
    await wait_for(table.wake, max(0.0, REFRESH_SECONDS - (time.perf_counter() - since)))
    await asyncio.sleep(GATHERING_SECONDS)
    table.wake.clear()
    while table.arrived_at is None and (left := PRICE_SECONDS - (time.perf_counter() - since)) > 0:
        await wait_for(table.wake, left)
        table.wake.clear()


def _first_cause(error: Exception) -> Exception:
    """The first error of a group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
