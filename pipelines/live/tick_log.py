"""The session's writes into `live_data.price_log`: its own ticks, and what follows from those of others."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from pipelines.domain.ticks import DELTA_LAGS_MINUTES, Tick, TickFeatures
from pipelines.storage.database import AsyncConnection
from pipelines.storage.queries import query

#: Rows kept while the table cannot be written; at one tick a second and symbol, an hour of three symbols.
MOST_PENDING = 10_000
DAYS_AHEAD = 3
#: A lock held by maintenance, or a slow moment: the same rows are tried again with the next.
PASSING = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)
PARTITIONED = ("price_log", "answer")


@dataclass(frozen=True)
class DescribedTick:
    """A tick and its features."""

    symbol: str
    tick: Tick
    features: TickFeatures


@dataclass
class TickLog:
    """Writes in batches through the session's own connection; what a passing trouble held up goes with the next."""

    connection: AsyncConnection
    source: str
    #: What keeps rows from being stored, in plain words; None when nothing does.
    problem: str | None = None
    _ticks: "deque[DescribedTick]" = field(default_factory=lambda: deque(maxlen=MOST_PENDING))
    _features: "deque[DescribedTick]" = field(default_factory=lambda: deque(maxlen=MOST_PENDING))

    async def store(self, ticks: Sequence[DescribedTick]) -> None:
        """Insert ticks of our own."""
        self._ticks.extend(ticks)
        await self._flush(self._ticks, "insert_ticks")

    async def describe(self, ticks: Sequence[DescribedTick]) -> None:
        """Add features to ticks that another producer inserted."""
        self._features.extend(ticks)
        await self._flush(self._features, "describe_ticks")

    async def make_days(self, now: datetime) -> None:
        """Create today's partitions and those of the next days."""
        for table in PARTITIONED:
            for days in range(DAYS_AHEAD + 1):
                await self._make_day(table, now + timedelta(days=days))

    async def insert_answer(self, answer: Any) -> None:
        """Keep an answer; its day's partition is made if it is missing."""
        try:
            await self.connection.execute(query("insert_answer"), answer)
        except psycopg.errors.CheckViolation:
            await self._make_day("answer", answer["answered_at"])
            await self.connection.execute(query("insert_answer"), answer)

    async def _flush(self, pending: "deque[DescribedTick]", statement: str) -> None:
        if not pending:
            return
        batch = list(pending)
        pending.clear()  # before the first await: another source may store meanwhile
        try:
            try:
                await self._write(batch, statement)
            except psycopg.errors.CheckViolation:
                for day in {one.tick.at.date() for one in batch}:
                    await self._make_day("price_log", datetime(day.year, day.month, day.day, tzinfo=UTC))
                await self._write(batch, statement)
        except PASSING as error:
            later = list(pending)
            pending.clear()
            pending.extend([*batch, *later])  # the oldest go first if there are too many
            self.problem = f"{len(pending)} ticks wait to be stored: {str(error).splitlines()[0]}"
        else:
            self.problem = None

    async def _write(self, batch: Sequence[DescribedTick], statement: str) -> None:
        columns: dict[str, Any] = {
            "symbol": [one.symbol for one in batch],
            "ticked_at": [one.tick.at for one in batch],
            "price": [one.tick.price_usd for one in batch],
            "mean_1m": [one.features.mean_1m_usd for one in batch],
            "momentum_score": [one.features.score_pct for one in batch],
            "missing_lags": [f"{{{','.join(str(lag) for lag in one.features.missing_lags)}}}" for one in batch],
        }
        for i, lag in enumerate(DELTA_LAGS_MINUTES):
            columns[f"delta_{lag}m"] = [one.features.deltas_pct[i] for one in batch]
        await self.connection.execute(query(statement), {"source": self.source, **columns}, prepare=True)

    async def _make_day(self, table: str, day: datetime) -> None:
        await self.connection.execute(query("create_day_partition"), [table, day.astimezone(UTC).date()])
