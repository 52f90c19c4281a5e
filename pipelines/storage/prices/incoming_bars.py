"""Write bars and quarantined rows to `historical_data`, and record the ingestion."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import numpy as np

from pipelines.domain.prices.bars import BarBlock, QuarantinedRow
from pipelines.storage.postgres.binary_copy import (
    encode_rows,
    float8,
    open_copy,
    text_constant,
    timestamptz_of_minutes,
)
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements, read_rows, read_value
from pipelines.storage.prices.history import analyze_symbol

SQL = Statements(__name__)


@dataclass(frozen=True)
class Comparison:
    """Incoming bars compared with the stored ones.

    `inserted`: new minutes; `corrected`: minutes with other values; `conflicting_closes`: minutes with another close;
    `total`: all incoming bars; `first_changed_at`: first minute inserted or corrected, aware UTC.
    """

    inserted: int
    corrected: int
    conflicting_closes: int
    total: int
    first_changed_at: datetime | None

    @property
    def overlap(self) -> int:
        """Number of incoming bars whose minute is already stored."""
        return self.total - self.inserted


def begin(connection: Connection, symbol: str) -> bool:
    """Create the symbol's partitions, lock out its other ingestions until commit, and return whether it has bars."""
    connection.execute(SQL["create_symbol_partitions"], [symbol])
    connection.commit()  # otherwise other symbols' ingestions would wait for this one
    lock_symbol(connection, "strikecast.ingest", symbol)
    return bool(read_value(connection, SQL["has_bars"], [symbol]))


def insert_first(connection: Connection, symbol: str, blocks: Iterable[BarBlock]) -> None:
    """Store the bars of a symbol without bars."""
    _copy(connection, SQL["copy_price_history_in"], symbol, blocks)


def compare(connection: Connection, symbol: str, blocks: Iterable[BarBlock]) -> Comparison:
    """Copy bars to a temporary table and compare them with the stored ones."""
    connection.execute(SQL["create_incoming_bar"])
    _copy(connection, SQL["copy_incoming_bar_in"], symbol, blocks)
    connection.execute(SQL["analyze_incoming_bar"])
    return read_rows(connection, Comparison, SQL["compare_incoming_bars"], [symbol])[0]


def best_shift(connection: Connection, symbol: str) -> tuple[int, float]:
    """The shift in hours for which most of the incoming closes equal the stored ones, and the equal share."""
    row = connection.execute(SQL["best_shift_of_incoming"], [symbol]).fetchone()
    return (0, 0.0) if row is None else (row[0], float(row[1]))


def merge(connection: Connection) -> None:
    """Store the compared bars that are new or corrected."""
    connection.execute(SQL["merge_incoming_bars"])


def quarantine(connection: Connection, symbol: str, rows: Iterable[QuarantinedRow]) -> None:
    """Store quarantined rows, each once."""
    connection.execute(SQL["create_incoming_quarantined_bar"])
    with connection.cursor().copy(SQL["copy_incoming_quarantined_bar_in"]) as copy:
        for row in rows:
            copy.write_row((row.file_sha256, row.source_row, row.reason, row.file_name, row.raw))
    connection.execute(SQL["merge_incoming_quarantined_bars"], [symbol])


def record(
    connection: Connection,
    symbol: str,
    files: tuple[str, ...],
    counts: dict[str, int],
    started_at: datetime,
    first_changed_at: datetime | None,
) -> None:
    """Record an ingestion. `counts`: rows_read, inserted, corrected, unchanged, quarantined."""
    analyze_symbol(connection, symbol)
    times = {"started_at": started_at, "first_changed_at": first_changed_at}
    connection.execute(SQL["record_ingestion"], {"symbol": symbol, "files": list(files), **counts, **times})


def _copy(connection: Connection, statement: LiteralString, symbol: str, blocks: Iterable[BarBlock]) -> None:
    with open_copy(connection, statement) as copy:
        for block in blocks:
            columns = [text_constant(symbol, len(block.minutes)), timestamptz_of_minutes(block.minutes)]
            copy.write(encode_rows([*columns, *(float8(np.asarray(values)) for values in block.values)]))
