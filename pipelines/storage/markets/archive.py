"""Archive days of quotes, and days of closed markets with their candles, as Parquet files.

A file is `{folder}/markets/{exchange}/{exchange}_{kind}_{year}-{month}-{day}.parquet`, in a shape that
`strikecast markets import` reads; a .json file records its rows and SHA-256.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, LiteralString

import duckdb
import orjson
from psycopg import sql

from pipelines.atomic_files import atomic_write
from pipelines.errors import BuildError, SharedFilesError
from pipelines.storage.files.archive import Archive
from pipelines.storage.markets.candles import MAX_STANDING, derive_candles
from pipelines.storage.markets.imports import lock_imports
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


@dataclass(frozen=True)
class Kind:
    """A kind of files: the statements that create the table of a day in DuckDB, extend it, and order its rows."""

    name: str
    create: str
    extend: str
    order: str


QUOTES = Kind("quotes", "create_quotes", "add_archived_quotes", "quotes_in_order")
MARKETS = Kind("markets", "create_markets", "add_archived_markets", "markets_in_order")
CANDLES = Kind("candles", "create_candles", "add_archived_candles", "candles_in_order")


@dataclass(frozen=True)
class ArchivedDay:
    """A file of the archive. The day is in UTC."""

    exchange: str
    day: date
    file: str
    rows: int
    bytes: int
    sha256: str


def archive_quotes(connection: Connection, archive: Archive, partition: str) -> tuple[int, list[ArchivedDay]]:
    """Write the quotes of a day's partition, attached or not, to files, and derive the candles of its minutes.

    Returns how many quotes the partition has, all of which are in the files, and the files. Existing files keep the
    quotes that the partition lacks. Imports wait. Raises BuildError, and leaves a file as it was, when it cannot be
    written or does not read back as written, here or in the shared place.
    """
    day = datetime.strptime(partition[-8:], "%Y%m%d").replace(tzinfo=UTC)
    table = sql.Identifier("market_data", partition)
    with _as_build_errors(f"{partition} cannot be archived"), connection.transaction():
        lock_imports(connection)
        # With the first minutes of the next day, in which quotes of this one stand. Those of this day stay, because
        # the day before was dropped.
        derive_candles(connection, day, day + timedelta(days=1) + MAX_STANDING, margin=MAX_STANDING)
        copy = sql.SQL(SQL["copy_day_out"]).format(partition=table)
        with _rows_of(connection, copy, {}, QUOTES) as quotes:
            rows = _number(quotes, "count_day")
            [(stored,)] = connection.execute(sql.SQL(SQL["count_partition"]).format(partition=table)).fetchall()
            if stored != rows:
                raise BuildError(
                    f"{partition} has {stored:,} quotes, some of them without a market: nothing was removed"
                )
            return rows, _write_all(quotes, connection, archive, QUOTES, day.date())


@contextmanager
def archived_markets(
    connection: Connection, archive: Archive, day: date, unchanged_since: datetime
) -> Iterator[tuple[Sequence[int], list[ArchivedDay]]]:
    """Write the markets that closed on a day (UTC), and the exchange's candles of them, to files.

    Those that have changed since `unchanged_since` (aware) are left out. Derived candles are not written: quotes are
    archived. Yields the ids of the markets and the files; imports wait until the context ends. Raises as
    `archive_quotes`.
    """
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    span = {"since": begin, "until": begin + timedelta(days=1), "unchanged_since": unchanged_since}
    with connection.transaction():
        with _as_build_errors(f"markets closed {day} cannot be archived"):
            lock_imports(connection)
            ids = [row[0] for row in connection.execute(SQL["ids_of_markets"], span).fetchall()]
            files = []
            for kind, statement in ((MARKETS, SQL["copy_markets_out"]), (CANDLES, SQL["copy_candles_out"])):
                with _rows_of(connection, sql.SQL(statement), {"markets": ids}, kind) as rows:
                    files += _write_all(rows, connection, archive, kind, day)
        yield ids, files


@contextmanager
def _as_build_errors(problem: str) -> Iterator[None]:
    try:
        yield
    except (OSError, duckdb.Error, SharedFilesError) as error:
        raise BuildError(f"{problem}: {error}; nothing was removed from the database") from error


@contextmanager
def _rows_of(
    connection: Connection, copy_out: sql.SQL | sql.Composed, parameters: dict[str, Any], kind: Kind
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The rows of a COPY statement in the table `day` of DuckDB."""
    with TemporaryDirectory(prefix="strikecast-archive-") as scratch, duckdb.connect() as rows:
        path = Path(scratch) / "day.csv"
        with path.open("wb") as file, connection.cursor().copy(copy_out, parameters) as copy:
            for block in copy:
                file.write(block)
        rows.execute(SQL["set_utc"])
        rows.execute(SQL[kind.create], {"path": str(path)})
        yield rows


def _write_all(
    rows: duckdb.DuckDBPyConnection, connection: Connection, archive: Archive, kind: Kind, day: date
) -> list[ArchivedDay]:
    exchanges = [row[0] for row in rows.execute(SQL["exchanges"]).fetchall()]
    return [_write(rows, connection, archive, kind, exchange, day) for exchange in exchanges]


def _write(
    rows: duckdb.DuckDBPyConnection, connection: Connection, archive: Archive, kind: Kind, exchange: str, day: date
) -> ArchivedDay:
    """Write an exchange's file of a day, with what an existing one has besides."""
    path = archive.folder / "markets" / exchange / f"{exchange}_{kind.name}_{day:%Y-%m-%d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.execute(SQL["create_merged"], {"exchange": exchange})
    archive.refresh(connection, path)
    if path.exists():
        rows.execute(SQL[kind.extend], {"path": str(path)})
    with atomic_write(path, durable=True) as partial:  # the rows are deleted next
        rows.sql(SQL[kind.order]).write_parquet(str(partial), compression="zstd")
        if _number(rows, "count_differences", {"path": str(partial)}):
            raise BuildError(f"{path.name} was not read back as it was written: nothing was removed from the database")
        with partial.open("rb") as finished:
            digest = hashlib.file_digest(finished, "sha256").hexdigest()
    archive.keep(connection, path)
    made = ArchivedDay(exchange, day, str(path), _number(rows, "count_merged"), path.stat().st_size, digest)
    with atomic_write(path.with_suffix(".json")) as partial:
        partial.write_bytes(orjson.dumps(asdict(made), option=orjson.OPT_INDENT_2))
    return made


def _number(rows: duckdb.DuckDBPyConnection, statement: LiteralString, parameters: dict[str, Any] | None = None) -> int:
    [(number,)] = rows.execute(SQL[statement], parameters).fetchall()
    return int(number)
