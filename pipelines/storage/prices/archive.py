"""Months of bars as Parquet files: written, read back by another program, compared, and only then gone from the
table.

A file is `{folder}/{SYMBOL}/{symbol}_1m_{year}-{month}.parquet`, in the shape that ingestion reads; beside it, as
.json, its rows and SHA-256.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import orjson
import polars as pl

from pipelines.atomic_files import atomic_write
from pipelines.domain.maintenance.archive import StoredMonth
from pipelines.errors import BuildError, NoDataError, single_line
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": pl.Datetime("us", "UTC"),
    **dict.fromkeys(COLUMNS[1:], pl.Float64),
}


@dataclass(frozen=True)
class ArchivedMonth:
    """A file of the archive: `rows` in it, `removed` from the table by this run; times are UTC."""

    symbol: str
    month: date
    file: str
    rows: int
    removed: int
    bytes: int
    sha256: str


def stored_months(connection: Connection, symbols: list[str], before: datetime) -> list[StoredMonth]:
    """Months of bars in the database that began before a time."""
    return [
        month
        for symbol in symbols
        for month in read_rows(connection, StoredMonth, SQL["stored_months"], [symbol, before])
    ]


def archive_month(connection: Connection, folder: Path, month: StoredMonth) -> ArchivedMonth:
    """Move one symbol's month from the table to its file, in a transaction of the caller's connection.

    A file that is there keeps the bars that the table does not have. Raises BuildError, with nothing removed, when what
    is read back is not what was written.
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
                f"{path.name} holds {len(rows)} bars of the table, which has {removed}: nothing was removed"
            )
    made = ArchivedMonth(month.symbol, month.month, str(path), len(bars), removed, path.stat().st_size, digest)
    with atomic_write(path.with_suffix(".json")) as partial:
        partial.write_bytes(orjson.dumps(asdict(made), option=orjson.OPT_INDENT_2))
    return made


def _span(month: date) -> tuple[datetime, datetime]:
    first = datetime(month.year, month.month, 1, tzinfo=UTC)
    return first, datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def _write(bars: pl.DataFrame, path: Path) -> str:
    """Write bars so that a reader sees the old file or the new one; its SHA-256. Raises BuildError as said above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, durable=True) as partial:  # the bars are gone from the table once it is there
        bars.write_parquet(partial, compression="zstd")
        _require_same(bars, partial, path.name)
        with partial.open("rb") as finished:
            digest = hashlib.file_digest(finished, "sha256").hexdigest()
    return digest


def _require_same(bars: pl.DataFrame, written: Path, name: str) -> None:
    """Raise BuildError unless what another program reads is what was written."""
    with duckdb.connect() as reader:
        reader.execute(SQL["set_utc"])
        back = reader.execute(SQL["read_archived_month"], {"path": str(written)}).fetchall()
    if back != bars.select(COLUMNS).rows():
        raise BuildError(f"{name} was not read back as it was written: nothing was removed from the database")


def query_prices(connection: Connection, folder: Path, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a SELECT on the view `price`: every bar of the database and of the archive, once.

    Columns symbol, opened_at (UTC), open, high, low, close, volume, archived. Raises NoDataError with why not.
    """
    with _all_prices(connection, folder) as prices:
        try:
            answer = prices.execute(question)
            return [column[0] for column in answer.description or []], answer.fetchall()
        except duckdb.Error as error:
            raise NoDataError(f"the question cannot be answered: {single_line(str(error))}") from error


@contextmanager
def _all_prices(connection: Connection, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with TemporaryDirectory(prefix="strikecast-") as scratch, duckdb.connect() as prices:
        stored = Path(scratch) / "stored.csv"
        with stored.open("wb") as file, connection.cursor().copy(SQL["copy_bars_out"]) as copy:
            for block in copy:
                file.write(block)
        prices.execute(SQL["set_utc"])
        prices.execute(SQL["create_stored_price"], {"path": str(stored)})
        files = sorted(str(path) for path in folder.glob("*/*.parquet"))
        if files:
            prices.execute(SQL["create_archived_price"], {"files": files})
        else:
            prices.execute(SQL["create_no_archived_price"])
        prices.execute(SQL["create_price_view"])
        yield prices
