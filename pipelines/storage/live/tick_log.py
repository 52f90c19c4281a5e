"""The session's writes into `live_data`: its own ticks, what follows from those of others, an answer each minute.

None of them is waited for: what cannot be stored at once is tried again, and no file is late for it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import psycopg

from pipelines.domain.prices.ticks import DELTA_LAGS_MINUTES, Tick, TickFeatures
from pipelines.storage.live.ticks import create_partition, days_from
from pipelines.storage.postgres.connection import AsyncConnection, primary_message
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Rows kept while a table cannot be written; at one tick a second and symbol, an hour of three symbols.
MOST_PENDING = 10_000
DAYS_AHEAD = 3
#: Between two attempts.
PAUSE_SECONDS = 1.0
#: How often the days ahead are looked after.
DAYS_EVERY_SECONDS = 3600.0


@dataclass(frozen=True)
class DescribedTick:
    """A tick and its features."""

    symbol: str
    tick: Tick
    features: TickFeatures


@dataclass
class _Queue:
    """Rows for one statement, oldest first; the oldest go first if there are too many."""

    what: str
    table: str
    statement: str
    at_once: int
    rows: "deque[Any]" = field(default_factory=lambda: deque(maxlen=MOST_PENDING))
    problem: str | None = None


class TickLog:
    """Writes in batches through the session's own connection, from `run` or by `flush`."""

    def __init__(self, connection: AsyncConnection, source: str) -> None:
        """`source`: goes into `price_log.source`."""
        self.connection = connection
        self._source = source
        self._ticks = _Queue("ticks", "price_log", "insert_ticks", 1000)
        self._features = _Queue("ticks of others", "price_log", "describe_ticks", 1000)
        # 200 symbols' answers at once would hold up the loop for a tenth of a second.
        self._answers = _Queue("answers", "answer", "insert_answer", 10)
        self._due = asyncio.Event()

    @property
    def problems(self) -> list[str]:
        """What keeps rows from being stored, in plain words."""
        return [one.problem for one in self._queues if one.problem is not None]

    def store(self, ticks: Sequence[DescribedTick]) -> None:
        """Insert ticks of our own, soon."""
        self._add(self._ticks, ticks)

    def describe(self, ticks: Sequence[DescribedTick]) -> None:
        """Add features to ticks that another producer inserted, soon."""
        self._add(self._features, ticks)

    def keep(self, answer: Any) -> None:
        """Insert a row of `answer`, soon."""
        self._add(self._answers, [answer])

    async def run(self) -> None:
        """Write for ever. What a lost connection raises ends it."""
        days_made: float | None = None
        while True:
            now = asyncio.get_running_loop().time()
            if days_made is None or now - days_made > DAYS_EVERY_SECONDS:
                with suppress(psycopg.Error):  # a missing day is made when it is needed
                    await self.make_days(datetime.now(UTC))
                days_made = now
            with suppress(TimeoutError):
                async with asyncio.timeout(DAYS_EVERY_SECONDS):
                    await self._due.wait()
            await self.flush()
            if any(one.rows for one in self._queues):
                await asyncio.sleep(PAUSE_SECONDS if self.problems else 0.0)
                self._due.set()

    async def flush(self) -> None:
        """Write what there is; what a passing trouble holds up stays. Raises OperationalError without a connection."""
        self._due.clear()
        for one in self._queues:
            while one.rows:
                await self._flush(one)
                if one.problem is not None:
                    break

    async def make_days(self, now: datetime) -> None:
        """Create today's partitions and those of the next days."""
        for table, day in days_from(now, DAYS_AHEAD):
            await create_partition(self.connection, table, day)

    @property
    def _queues(self) -> Sequence[_Queue]:
        return self._ticks, self._features, self._answers

    def _add(self, queue: _Queue, rows: Sequence[Any]) -> None:
        queue.rows.extend(rows)
        self._due.set()

    async def _flush(self, queue: _Queue) -> None:
        # Taken out before the first await: more may come meanwhile.
        batch = [queue.rows.popleft() for _ in range(min(len(queue.rows), queue.at_once))]
        try:
            try:
                await self._write(queue, batch)
            except psycopg.errors.CheckViolation:
                for day in {_day(row) for row in batch}:
                    await create_partition(self.connection, queue.table, day)
                await self._write(queue, batch)
        except psycopg.OperationalError as error:
            self._put_back(queue, batch)
            if self.connection.closed:
                raise
            # A lock held by maintenance, a slow moment, a full disk.
            queue.problem = f"{len(queue.rows)} {queue.what} wait to be stored: {primary_message(error)}"
        except psycopg.Error as error:
            queue.problem = f"the database refused {len(batch)} {queue.what}: {primary_message(error)}"
        except asyncio.CancelledError:
            self._put_back(queue, batch)  # twice is once: the tables have keys
            raise
        else:
            queue.problem = None

    def _put_back(self, queue: _Queue, batch: Sequence[Any]) -> None:
        later = list(queue.rows)
        queue.rows.clear()
        queue.rows.extend([*batch, *later])

    async def _write(self, queue: _Queue, batch: Sequence[Any]) -> None:
        if queue is self._answers:
            async with self.connection.cursor() as cursor:
                await cursor.executemany(SQL[queue.statement], batch)
        else:
            parameters = {"source": self._source, **_columns(batch)}
            await self.connection.execute(SQL[queue.statement], parameters, prepare=True)


def _columns(batch: Sequence[DescribedTick]) -> dict[str, Any]:
    return {
        "symbol": [one.symbol for one in batch],
        "ticked_at": [one.tick.at for one in batch],
        "price": [one.tick.price_usd for one in batch],
        "mean_1m": [one.features.mean_1m_usd for one in batch],
        "momentum_score": [one.features.score_pct for one in batch],
        "missing_lags": [f"{{{','.join(str(lag) for lag in one.features.missing_lags)}}}" for one in batch],
        **{f"delta_{lag}m": [one.features.deltas_pct[i] for one in batch] for i, lag in enumerate(DELTA_LAGS_MINUTES)},
    }


def _day(row: Any) -> date:
    """The UTC day whose partition a row goes to."""
    at: datetime = row.tick.at if isinstance(row, DescribedTick) else row["answered_at"]
    return at.astimezone(UTC).date()
