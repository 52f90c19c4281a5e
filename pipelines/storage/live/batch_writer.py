"""Batched writes through the connection of a live session's leader.

No caller waits for a write: rows are queued, and a failed batch is retried. The connection holds the session's lock, so
a session that has lost its leadership cannot write.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import psycopg

from pipelines.storage.live.day_partitions import create_day_partitions_async, upcoming_days
from pipelines.storage.postgres.connection import AsyncConnection, primary_message

#: Rows queued while a table cannot be written: 55 minutes of three symbols at one tick a second.
MAX_QUEUED = 10_000
RETRY_SECONDS = 1.0
PARTITIONS_EVERY_SECONDS = 3600.0


@dataclass
class RowQueue:
    """Rows for one statement, oldest first; a queue of more than `max_rows` drops its oldest rows.

    `label`: the rows in messages. `table`: the one of PARTITIONED that they go to, None for another. `after`: the queue
    whose rows must be written before. `dropped`: rows that were dropped since a batch was written last.
    """

    label: str
    statement: str
    batch_size: int
    table: str | None = None
    max_rows: int = MAX_QUEUED
    after: "RowQueue | None" = None
    rows: "deque[Any]" = field(default_factory=deque)
    dropped: int = 0
    problem: str | None = None

    def add(self, rows: Sequence[Any]) -> None:
        """Put new rows behind the others."""
        self.rows.extend(rows)
        self._drop_oldest()

    def put_back(self, batch: Sequence[Any]) -> None:
        """Put rows that were not written before the newer ones."""
        self.rows.extendleft(reversed(batch))
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self.rows) > self.max_rows:
            self.rows.popleft()
            self.dropped += 1


class BatchWriter(ABC):
    """Writes the rows of its queues in batches, in the order of the queues, from `run` or by `flush`."""

    def __init__(self, connection: AsyncConnection, queues: Sequence[RowQueue]) -> None:
        self.connection = connection
        self._queues = queues
        self._wake = asyncio.Event()

    @property
    def problems(self) -> list[str]:
        """Why rows are not stored, one message per queue."""
        return [queue.problem for queue in self._queues if queue.problem is not None]

    async def run(self) -> None:
        """Write forever, and keep partitions ahead. Raises OperationalError when the connection is lost."""
        loop = asyncio.get_running_loop()
        partitions_due = loop.time()
        tables = [queue.table for queue in self._queues if queue.table is not None]
        while True:
            if loop.time() >= partitions_due:
                with suppress(psycopg.Error):  # `_store` creates a missing partition
                    days = upcoming_days(datetime.now(UTC))
                    await create_day_partitions_async(self.connection, days, sorted(set(tables)))
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
            while queue.rows and not (queue.after is not None and queue.after.rows):
                await self._flush(queue)
                if queue.problem is not None:
                    break

    def _add(self, queue: RowQueue, rows: Sequence[Any]) -> None:
        queue.add(rows)
        self._wake.set()

    @abstractmethod
    async def _write(self, queue: RowQueue, batch: Sequence[Any]) -> None:
        """Run the statement of a queue with rows of it."""

    def _forget(self, queue: RowQueue, batch: Sequence[Any]) -> None:  # noqa: B027 (optional)
        """Called with rows that are lost, though others like them may be accepted later."""

    @abstractmethod
    def _utc_day(self, row: Any) -> date:
        """The day of a row of a partitioned table."""

    async def _flush(self, queue: RowQueue) -> None:
        # Removed before the first await: rows may be added meanwhile.
        batch = [queue.rows.popleft() for _ in range(min(len(queue.rows), queue.batch_size))]
        try:
            refused = await self._store(queue, batch)
        except psycopg.OperationalError as error:
            queue.put_back(batch)
            if self.connection.closed:
                raise
            # A lock held by maintenance, a slow moment, a full disk.
            dropped = f", {queue.dropped} older ones were dropped" if queue.dropped else ""
            queue.problem = f"{len(queue.rows)} {queue.label} wait to be stored{dropped}: {primary_message(error)}"
        except psycopg.Error as error:
            queue.problem = f"the database refused {len(batch)} {queue.label}: {primary_message(error)}"
            self._forget(queue, batch)
        except asyncio.CancelledError:
            queue.put_back(batch)  # writing them twice is harmless: the tables have keys
            raise
        else:
            queue.dropped = 0
            queue.problem = f"the database refused {len(refused)} {queue.label}: {refused[0]}" if refused else None

    async def _store(self, queue: RowQueue, batch: Sequence[Any]) -> list[str]:
        """Write rows, and halves of them when one is refused; returns a message for each refused row."""
        try:
            try:
                await self._write(queue, batch)
            except psycopg.errors.CheckViolation:
                if queue.table is None:
                    raise
                days = {self._utc_day(row) for row in batch}
                await create_day_partitions_async(self.connection, days, [queue.table])
                await self._write(queue, batch)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(batch) == 1:
                return [primary_message(error)]
            middle = len(batch) // 2
            return [*await self._store(queue, batch[:middle]), *await self._store(queue, batch[middle:])]
        return []
