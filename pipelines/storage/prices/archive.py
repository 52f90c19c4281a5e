"""Archive months of bars as Parquet files, and query stored and archived bars together.

Bars are deleted from the table only after DuckDB has read the new file back with equal values. A file is
`{folder}/{SYMBOL}/{symbol}_1m_{year}-{month}.parquet`, in the shape that ingestion reads; a .json file records
its row count and SHA-256.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import polars as pl

from pipelines.atomic_files import atomic_write
from pipelines.domain.maintenance.archive import StoredMonth
from pipelines.errors import BuildError, NoDataError, single_line
from pipelines.storage.postgres.binary_copy import minutes_of_timestamptz
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements, read_rows
from pipelines.storage.prices.history import read_arrays

SQL = Statements(__name__)

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": pl.Datetime("us", "UTC"),
    **dict.fromkeys(COLUMNS[1:], pl.Float64),
}


@dataclass(frozen=True)
class ArchivedMonth:
    """A file of the archive: `rows` in the file, `removed` from the table by this run. Months are in UTC."""

    symbol: str
    month: date
    file: str
    rows: int
    removed: int
    bytes: int
    sha256: str


def stored_months(connection: Connection, symbols: list[str], before: datetime) -> list[StoredMonth]:
    """Months of the table's bars that began before an instant."""
    return [
        month
        for symbol in symbols
        for month in read_rows(connection, StoredMonth, SQL["stored_months"], [symbol, before])
    ]


def archive_month(connection: Connection, folder: Path, month: StoredMonth) -> ArchivedMonth:
    """Move one symbol's month from the table to its file, in one transaction.

    An existing file keeps the bars that the table lacks. Raises BuildError, without deleting anything, when the file
    does not read back as written.
    """
    first, after = _span(month.month)
    between = [month.symbol, first, after]
    with connection.transaction():
        for writer in ("strikecast.ingest", "strikecast.momentum"):
            lock_symbol(connection, writer, month.symbol)
        rows = connection.execute(SQL["bars_between"], between).fetchall()
        bars = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        path = folder / month.symbol / f"{month.symbol.lower()}_1m_{month.month:%Y-%m}.parquet"
        if path.exists():
            bars = pl.concat([bars, pl.read_parquet(path).join(bars, on="timestamp", how="anti")]).sort("timestamp")
        digest = _write(bars, path)
        removed = connection.execute(SQL["delete_bars_between"], between).rowcount
        connection.execute(SQL["delete_momentum_between"], between)
        if removed != len(rows):
            raise BuildError(
                f"{path.name} contains {len(rows)} bars of the table, which has {removed}: nothing was removed"
            )
    made = ArchivedMonth(month.symbol, month.month, str(path), len(bars), removed, path.stat().st_size, digest)
    with atomic_write(path.with_suffix(".json")) as partial:
        partial.write_bytes(orjson.dumps(asdict(made), option=orjson.OPT_INDENT_2))
    return made


def archived_months(folder: Path, symbol: str) -> list[tuple[datetime, datetime]]:
    """Ranges [first, after) of a symbol's archived months, UTC, by the names of its files."""
    stems = sorted(path.stem for path in (folder / symbol).glob(f"{symbol.lower()}_1m_????-??.parquet"))
    return [_span(date.fromisoformat(f"{stem[-7:]}-01")) for stem in stems]


def _span(month: date) -> tuple[datetime, datetime]:
    first = datetime(month.year, month.month, 1, tzinfo=UTC)
    return first, datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def _write(bars: pl.DataFrame, path: Path) -> str:
    """Replace a file atomically and return its SHA-256. Raises BuildError unless DuckDB reads back equal bars."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, durable=True) as partial:  # the bars are deleted next
        bars.write_parquet(partial, compression="zstd")
        with duckdb.connect() as reader:
            reader.execute(SQL["set_utc"])
            written = reader.execute(SQL["read_archived_month"], {"path": str(partial)}).fetchall()
        if written != bars.select(COLUMNS).rows():
            raise BuildError(f"{path.name} was not read back as it was written: nothing was removed from the database")
        with partial.open("rb") as finished:
            digest = hashlib.file_digest(finished, "sha256").hexdigest()
    return digest


def query_prices(connection: Connection, folder: Path, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a SELECT on the view `price`, every stored or archived bar once, and return column names and rows.

    Columns: symbol, opened_at (UTC), open, high, low, close, volume, archived. Raises NoDataError for a failing query.
    """
    with duckdb.connect() as prices:
        prices.execute(SQL["set_utc"])
        prices.execute(SQL["create_stored_price"])
        _load_stored_bars(connection, prices)
        files = sorted(str(path) for path in folder.glob("*/*.parquet"))
        if files:
            prices.read_parquet(files, filename=True).create_view("archive_file")
        prices.execute(SQL["create_price_view" if files else "create_price_view_without_archive"])
        try:
            result = prices.execute(question)
            return [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as error:
            raise NoDataError(f"the query failed: {single_line(str(error))}") from error


def _load_stored_bars(connection: Connection, prices: duckdb.DuckDBPyConnection) -> None:
    """Copy the table's bars into DuckDB as arrays, by symbol and year: 60 MB at a time."""
    for symbol, first, last in connection.execute(SQL["stored_ranges"]).fetchall():
        for year in range(first.year, last.year + 1):
            span = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
            opened_at, *values = read_arrays(connection, SQL["bars_as_arrays"], [symbol, *span], (">i8", *[">f8"] * 5))
            minutes = minutes_of_timestamptz(opened_at).astype("datetime64[m]")
            columns = [minutes.astype("datetime64[s]"), *(each.astype(np.float64) for each in values)]
            prices.register("bar", dict(zip(COLUMNS, columns, strict=True)))
            prices.execute(SQL["insert_stored_price"], [symbol])
            prices.unregister("bar")
