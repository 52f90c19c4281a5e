"""Write bars and quarantined rows to `historical_data`, and record the ingestion."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import LiteralString

import numpy as np
from psycopg import sql
from psycopg.rows import class_row

from pipelines.domain.prices.bars import BarBlock, Floats, Ints, QuarantinedRow
from pipelines.storage.postgres.binary_copy import (
    encode_rows,
    float8,
    minutes_of_timestamptz,
    open_copy,
    text_constant,
    timestamptz_of_minutes,
)
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements, read_rows, read_value
from pipelines.storage.prices.history import analyze_symbol, read_arrays

SQL = Statements(__name__)


@dataclass(frozen=True)
class Comparison:
    """Incoming bars compared with the stored ones.

    `inserted`: new minutes; `corrected`: minutes with other values; `conflicting_closes`: minutes with another close;
    `mean_log_difference`: of these, mean of |log(incoming close / stored close)|;
    `total`: all incoming bars; `first_changed_at`: first minute inserted or corrected, aware UTC.
    """

    inserted: int
    corrected: int
    conflicting_closes: int
    mean_log_difference: float
    total: int
    first_changed_at: datetime | None

    @property
    def overlap(self) -> int:
        """Number of incoming bars whose minute is already stored."""
        return self.total - self.inserted


@dataclass(frozen=True)
class StoredClose:
    """A stored bar's minute (UTC) and close in USD."""

    opened_at: datetime
    close: float


@dataclass(frozen=True)
class StoredRange:
    """A symbol and the minutes of its first and last bar, UTC; its close nearest to the end of the range asked for."""

    symbol: str
    first_bar_at: datetime
    last_bar_at: datetime
    near_at: datetime
    near_close: float


class Stored(Enum):
    """What is stored of a symbol."""

    NOTHING = "no table"
    NO_BARS = "a table without bars"
    BARS = "bars"


def begin(connection: Connection, symbol: str) -> Stored:
    """Lock out the symbol's other ingestions until commit; `insert_first` has to follow unless there are bars."""
    if read_value(connection, SQL["begin_first_load"], [symbol]):
        return Stored.NOTHING
    connection.commit()  # otherwise the symbol's other writers would wait for this one
    lock_symbol(connection, "strikecast.ingest", symbol)
    return Stored.BARS if read_value(connection, SQL["has_bars"], [symbol]) else Stored.NO_BARS


def insert_first(connection: Connection, symbol: str, blocks: Iterable[BarBlock], stored: Stored) -> None:
    """Store the first bars of a symbol, and create its partitions if it has none."""
    if stored is Stored.NO_BARS:
        _copy(connection, SQL["copy_price_history_in"], symbol, blocks)
        return
    table = sql.Identifier("historical_data", f"price_history_{symbol.lower()}")
    _copy(connection, sql.SQL(SQL["copy_first_bars_in"]).format(table=table), symbol, blocks)
    connection.execute(SQL["finish_first_load"], [symbol])


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


def nearest_close(connection: Connection, symbol: str, first: datetime, last: datetime) -> StoredClose | None:
    """The stored close nearest to the range [first, last]; None when a bar is stored within it."""
    with connection.cursor(row_factory=class_row(StoredClose)) as cursor:
        return cursor.execute(SQL["nearest_close"], {"symbol": symbol, "first": first, "last": last}).fetchone()


def symbols_between(connection: Connection, symbol: str, first: datetime, last: datetime) -> list[StoredRange]:
    """Other symbols with bars in the range, and the range of all of their bars; those that share most of it first."""
    others = [name for (name,) in connection.execute(SQL["other_symbols"], [symbol])]
    span = {"first": first, "last": last}
    found = [
        one
        for other in others
        for one in read_rows(connection, StoredRange, SQL["range_of_symbol"], {"symbol": other, **span})
    ]
    return sorted(found, key=lambda one: (max(first, one.first_bar_at) - min(last, one.last_bar_at), one.symbol))


def closes_between(connection: Connection, symbol: str, first: datetime, last: datetime) -> tuple[Ints, Floats]:
    """Minutes and closes of a symbol's bars in a range, oldest first."""
    found = read_arrays(connection, SQL["closes_between"], [symbol, first, last], (">i8", ">f8"))
    return minutes_of_timestamptz(found[0]), found[1].astype(np.float64)


def merge(connection: Connection, symbol: str) -> None:
    """Store the compared bars of a symbol that are new or corrected."""
    connection.execute(SQL["merge_incoming_bars"], [symbol])


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
    """Record an ingestion. `counts`: rows_read and its parts, by the names of the columns of ops.ingestion."""
    analyze_symbol(connection, symbol, counts["inserted"] + counts["corrected"])
    times = {"started_at": started_at, "first_changed_at": first_changed_at}
    connection.execute(SQL["record_ingestion"], {"symbol": symbol, "files": list(files), **counts, **times})


def _copy(
    connection: Connection, statement: LiteralString | sql.Composed, symbol: str, blocks: Iterable[BarBlock]
) -> None:
    with open_copy(connection, statement) as copy:
        for block in blocks:
            columns = [text_constant(symbol, len(block.minutes)), timestamptz_of_minutes(block.minutes)]
            copy.write(encode_rows([*columns, *(float8(np.asarray(values)) for values in block.values)]))
