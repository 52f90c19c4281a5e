"""Batched writes of the live session into `live_data`: its ticks, features of other producers' ticks, its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pipelines.domain.prices.ticks import DELTA_LAGS_MINUTES, Tick, TickFeatures
from pipelines.storage.live.batch_writer import MAX_QUEUED, BatchWriter, RowQueue
from pipelines.storage.postgres.connection import AsyncConnection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


def max_queued(symbols: int) -> int:
    """Ticks of so many symbols that are kept while they cannot be written: ten minutes of one a second, of few longer.

    >>> max_queued(2), max_queued(200)
    (10000, 120000)
    """
    return max(MAX_QUEUED, 600 * symbols)


@dataclass(frozen=True)
class TickRecord:
    """A tick of a symbol with its features."""

    symbol: str
    tick: Tick
    features: TickFeatures


class TickWriter(BatchWriter):
    """Writes ticks, features and answers.

    `source`: the value of `price_log.source`; `symbols`: how many there are.
    """

    def __init__(self, connection: AsyncConnection, source: str, symbols: int = 1) -> None:
        self._source = source
        most = max_queued(symbols)
        self._ticks = RowQueue("ticks", "insert_ticks", 1000, "price_log", most)
        self._features = RowQueue("features of ticks", "describe_ticks", 1000, "price_log", most)
        # The answers of 200 symbols in one batch would block the event loop for a tenth of a second.
        self._answers = RowQueue("answers", "insert_answer", 10, "answer")
        super().__init__(connection, (self._ticks, self._features, self._answers))

    def add_ticks(self, ticks: Sequence[TickRecord]) -> None:
        """Queue ticks to insert."""
        self._add(self._ticks, ticks)

    def add_features(self, ticks: Sequence[TickRecord]) -> None:
        """Queue features to add to ticks that another producer inserted."""
        self._add(self._features, ticks)

    def add_answer(self, answer: Any) -> None:
        """Queue a row of `live_data.answer`."""
        self._add(self._answers, [answer])

    async def _write(self, queue: RowQueue, batch: Sequence[Any]) -> None:
        if queue is self._answers:
            async with self.connection.cursor() as cursor:
                await cursor.executemany(SQL[queue.statement], batch)
        else:
            parameters = {"source": self._source, **_columns(batch)}
            await self.connection.execute(SQL[queue.statement], parameters, prepare=True)

    def _utc_day(self, row: Any) -> date:
        at: datetime = row.tick.at if isinstance(row, TickRecord) else row["answered_at"]
        return at.astimezone(UTC).date()


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
