"""Archive months of bars as Parquet files.

Bars are deleted from the table only after DuckDB has read the new file back with equal values. A file is
`{folder}/{SYMBOL}/{symbol}_1m_{year}-{month}.parquet`, in the shape that ingestion reads; a .json file records
its row count and SHA-256.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb
import orjson
import polars as pl

from pipelines.atomic_files import atomic_write
from pipelines.domain.maintenance.archive import StoredMonth
from pipelines.errors import BuildError, SharedFilesError
from pipelines.storage.files.archive import ARCHIVE, Archive
from pipelines.storage.files.listing import list_files
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements, read_rows
from pipelines.storage.prices.archive_files import archive_file, archive_files, month_span
from pipelines.storage.prices.increments import GAPS, MOMENTUM
from pipelines.storage.prices.progress import restart

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


def archive_month(connection: Connection, archive: Archive, month: StoredMonth) -> ArchivedMonth:
    """Move one symbol's month from the table to its file, in one transaction.

    An existing file keeps the bars that the table lacks. Raises BuildError, without deleting anything, when the file
    does not read back as written, here or in the shared place.
    """
    first, after = month_span(month.month)
    between = [month.symbol, first, after]
    with connection.transaction():
        for writer in ("strikecast.ingest", "strikecast.momentum", "strikecast.price_gap"):
            lock_symbol(connection, writer, month.symbol)
        rows = connection.execute(SQL["bars_between"], between).fetchall()
        bars = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        path = archive.folder / month.symbol / f"{month.symbol.lower()}_1m_{month.month:%Y-%m}.parquet"
        try:
            archive.refresh(connection, path)
            if path.exists():
                bars = pl.concat([bars, pl.read_parquet(path).join(bars, on="timestamp", how="anti")]).sort("timestamp")
            digest = _write(bars, path)
            archive.keep(connection, path)
        except SharedFilesError as error:
            raise BuildError(
                f"{path.name} cannot be archived: {error}; nothing was removed from the database"
            ) from error
        removed = connection.execute(SQL["delete_bars_between"], between).rowcount
        connection.execute(SQL["delete_momentum_between"], between)
        restart(connection, month.symbol, (MOMENTUM, GAPS))
        if removed != len(rows):
            raise BuildError(
                f"{path.name} contains {len(rows)} bars of the table, which has {removed}: nothing was removed"
            )
    made = ArchivedMonth(month.symbol, month.month, str(path), len(bars), removed, path.stat().st_size, digest)
    with atomic_write(path.with_suffix(".json")) as partial:
        partial.write_bytes(orjson.dumps(asdict(made), option=orjson.OPT_INDENT_2))
    return made


def archived_months(connection: Connection, home: Path, symbol: str) -> list[tuple[datetime, datetime]]:
    """Ranges [first, after) of a symbol's archived months, UTC, by the names of files listed or in the home folder."""
    listed = [home / one.name for one in list_files(connection, f"{ARCHIVE}{symbol}/")]
    files = [*archive_files(home / "archive", symbol), *map(archive_file, listed)]
    return sorted({(file.since, file.until) for file in files})


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
