"""Batched writes of the live session into `live_data`: its ticks, features of other producers' ticks, its answers.

No caller waits for a write: rows are queued, and a failed batch is retried.
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
from pipelines.storage.live.ticks import create_day_partitions_async, upcoming_days
from pipelines.storage.postgres.connection import AsyncConnection, primary_message
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Rows queued while a table cannot be written: an hour of three symbols at one tick a second.
MAX_QUEUED = 10_000
RETRY_SECONDS = 1.0
PARTITIONS_EVERY_SECONDS = 3600.0


@dataclass(frozen=True)
class TickRecord:
    """A tick of a symbol with its features."""

    symbol: str
    tick: Tick
    features: TickFeatures


@dataclass
class _Queue:
    """Rows for one statement, oldest first; a full queue drops its oldest rows."""

    label: str
    table: str
    statement: str
    batch_size: int
    rows: "deque[Any]" = field(default_factory=lambda: deque(maxlen=MAX_QUEUED))
    problem: str | None = None

    def put_back(self, batch: Sequence[Any]) -> None:
        """Put rows that were not written before the newer ones."""
        self.rows = deque([*batch, *self.rows], maxlen=MAX_QUEUED)


class TickWriter:
    """Writes queued rows in batches through the session's connection, from `run` or by `flush`.

    `source`: the value of `price_log.source`.
    """

    def __init__(self, connection: AsyncConnection, source: str) -> None:
        self.connection = connection
        self._source = source
        self._ticks = _Queue("ticks", "price_log", "insert_ticks", 1000)
        self._features = _Queue("features of ticks", "price_log", "describe_ticks", 1000)
        # The answers of 200 symbols in one batch would block the event loop for a tenth of a second.
        self._answers = _Queue("answers", "answer", "insert_answer", 10)
        self._queues = (self._ticks, self._features, self._answers)
        self._wake = asyncio.Event()

    @property
    def problems(self) -> list[str]:
        """Why rows are not stored, one message per table."""
        return [queue.problem for queue in self._queues if queue.problem is not None]

    def add_ticks(self, ticks: Sequence[TickRecord]) -> None:
        """Queue ticks to insert."""
        self._add(self._ticks, ticks)

    def add_features(self, ticks: Sequence[TickRecord]) -> None:
        """Queue features to add to ticks that another producer inserted."""
        self._add(self._features, ticks)

    def add_answer(self, answer: Any) -> None:
        """Queue a row of `live_data.answer`."""
        self._add(self._answers, [answer])

    async def run(self) -> None:
        """Write forever, and keep partitions ahead. Raises OperationalError when the connection is lost."""
        loop = asyncio.get_running_loop()
        partitions_due = loop.time()
        while True:
            if loop.time() >= partitions_due:
                with suppress(psycopg.Error):  # `_flush` creates a missing partition
                    await create_day_partitions_async(self.connection, upcoming_days(datetime.now(UTC)))
                partitions_due = loop.time() + PARTITIONS_EVERY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(PARTITIONS_EVERY_SECONDS):
                    await self._wake.wait()
            await self.flush()
            if any(queue.rows for queue in self._queues):
                await asyncio.sleep(RETRY_SECONDS if self.problems else 0.0)
                self._wake.set()

    async def flush(self) -> None:
        """Write all queued rows; those that fail stay queued. Raises OperationalError when the connection is lost."""
        self._wake.clear()
        for queue in self._queues:
            while queue.rows:
                await self._flush(queue)
                if queue.problem is not None:
                    break

    def _add(self, queue: _Queue, rows: Sequence[Any]) -> None:
        queue.rows.extend(rows)
        self._wake.set()

    async def _flush(self, queue: _Queue) -> None:
        # Removed before the first await: rows may be added meanwhile.
        batch = [queue.rows.popleft() for _ in range(min(len(queue.rows), queue.batch_size))]
        try:
            refused = await self._store(queue, batch)
        except psycopg.OperationalError as error:
            queue.put_back(batch)
            if self.connection.closed:
                raise
            # A lock held by maintenance, a slow moment, a full disk.
            queue.problem = f"{len(queue.rows)} {queue.label} wait to be stored: {primary_message(error)}"
        except psycopg.Error as error:
            queue.problem = f"the database refused {len(batch)} {queue.label}: {primary_message(error)}"
        except asyncio.CancelledError:
            queue.put_back(batch)  # writing them twice is harmless: the tables have keys
            raise
        else:
            queue.problem = f"the database refused {len(refused)} {queue.label}: {refused[0]}" if refused else None

    async def _store(self, queue: _Queue, batch: Sequence[Any]) -> list[str]:
        """Write rows, and halves of them when one is refused; returns a message for each refused row."""
        try:
            try:
                await self._write(queue, batch)
            except psycopg.errors.CheckViolation:
                days = {_utc_day(row) for row in batch}
                await create_day_partitions_async(self.connection, days, [queue.table])
                await self._write(queue, batch)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(batch) == 1:
                return [primary_message(error)]
            middle = len(batch) // 2
            return [*await self._store(queue, batch[:middle]), *await self._store(queue, batch[middle:])]
        return []

    async def _write(self, queue: _Queue, batch: Sequence[Any]) -> None:
        if queue is self._answers:
            async with self.connection.cursor() as cursor:
                await cursor.executemany(SQL[queue.statement], batch)
        else:
            parameters = {"source": self._source, **_columns(batch)}
            await self.connection.execute(SQL[queue.statement], parameters, prepare=True)


def _columns(batch: Sequence[TickRecord]) -> dict[str, Any]:
    return {
        "symbol": [record.symbol for record in batch],
        "ticked_at": [record.tick.at for record in batch],
        "price": [record.tick.price_usd for record in batch],
        "mean_1m": [record.features.mean_1m_usd for record in batch],
        "momentum_score": [record.features.score_pct for record in batch],
        "missing_lags": [f"{{{','.join(str(lag) for lag in record.features.missing_lags)}}}" for record in batch],
        **{
            f"delta_{lag}m": [record.features.deltas_pct[index] for record in batch]
            for index, lag in enumerate(DELTA_LAGS_MINUTES)
        },
    }


def _utc_day(row: Any) -> date:
    at: datetime = row.tick.at if isinstance(row, TickRecord) else row["answered_at"]
    return at.astimezone(UTC).date()
