"""Read one-minute bars from price files and exchange candles: DuckDB parses, validates and sorts them.

Accepted files: CSV (also .gz), zip archives of CSV files, Parquet, and folders of them. Times may be ISO 8601 (UTC
unless they have an offset) or numbers of seconds, milliseconds, microseconds or nanoseconds since 1970; the unit is
detected per file from the magnitude. CSV files without a header are read as exchange klines: open time, open, high,
low, close, volume.

A row that is not a finished, plausible one-minute bar is quarantined with one of `REASONS`, never dropped.
"""

import gzip
import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from pipelines.domain.prices.bars import BarBlock, QuarantinedRow
from pipelines.errors import PriceFileError, single_line
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.prices.history import Candle

SQL = Statements(__name__)

#: Reasons for quarantining a row.
REASONS = {
    "malformed": "the row does not have the file's columns",
    "bad_time": "the time cannot be parsed",
    "implausible_time": "the time is before 2009, which suggests a wrong unit",
    "future": "the minute has not started",
    "still_forming": "the minute has not ended",
    "off_minute": "the time is not the start of a minute",
    "not_a_number": "a price or the volume is missing, NaN, infinite or not a number",
    "not_positive": "a price is zero or negative, or the volume negative",
    "bad_ohlc": "high is below, or low is above, another price of the bar",
    "duplicate": "a later row of the files has the same minute and replaces this one",
}

COLUMN_NAMES = {
    "opened": (
        "timestamp",
        "time",
        "open_time",
        "opentime",
        "opened_at",
        "datetime",
        "date",
        "unix",
        "ts",
        "timestamp_ms",
        "timestamp_us",
        "unix_timestamp",
    ),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "v", "vol", "base_volume", "volume_btc", "volume_eth"),
}
BAR_COLUMNS = ("opened", "open", "high", "low", "close", "volume")
SUFFIXES = (".csv", ".csv.gz", ".zip", ".parquet")
PACKED_SUFFIXES = (".gz", ".zip", ".parquet")
DELIMITERS = ",;\t|"
#: Characters stripped from values: spaces, tabs, quotes, the rest of a line break.
PADDING = ' \t\r"'
BLOCK_ROWS = 262_144
#: For DuckDB, which spills to disk beyond it; the rest of the process takes about 300 MB. The minimum is 80 MB.
MEMORY_LIMIT = "400MB"
#: Largest plausible number of each time unit (year 2286), and microseconds per unit.
_UNITS = ((1e10, 1e6), (1e13, 1e3), (1e16, 1.0), (1e19, 1e-3))


@dataclass(frozen=True)
class BarSource:
    """Origin of rows: a file or a batch of candles, identified by a name and the SHA-256 of its content."""

    name: str
    sha256: str


class StagedBars:
    """Validated rows of some sources, sorted, in a DuckDB database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sources: Sequence[BarSource]) -> None:
        connection.execute(SQL["quarantine_duplicates"])
        connection.execute(SQL["sort_bars"])
        self._connection = connection
        self.sources = sources
        self.accepted = int(_one(connection, "count_bars")[0])
        self.quarantined = int(_one(connection, "count_quarantined")[0])

    def blocks(self) -> Iterator[BarBlock]:
        """The accepted bars, oldest first, in blocks of BLOCK_ROWS."""
        for first in range(0, self.accepted, BLOCK_ROWS):
            columns = self._connection.execute(SQL["bar_block"], [first, first + BLOCK_ROWS]).fetchnumpy()
            values = np.stack([columns[name] for name in BAR_COLUMNS[1:]])
            yield BarBlock(columns["minute"].astype(np.int64), values)

    def quarantined_rows(self) -> Iterator[QuarantinedRow]:
        """The quarantined rows, by source and row."""
        cursor = self._connection.execute(SQL["quarantined_rows"])
        while rows := cursor.fetchmany(10_000):
            for index, source_row, reason, raw in rows:
                source = self.sources[index]
                yield QuarantinedRow(source.sha256, source.name, source_row, reason, raw)

    def reasons(self) -> dict[str, int]:
        """Number of quarantined rows by reason."""
        return dict(self._connection.execute(SQL["quarantined_reasons"]).fetchall())


@contextmanager
def stage_price_files(
    paths: Sequence[Path], now: datetime, *, memory_limit: str = MEMORY_LIMIT
) -> Iterator[StagedBars]:
    """Stage the rows of files and folders for the duration of the context.

    `now`: aware; minutes that have not ended by then are quarantined. DuckDB spills to disk beyond `memory_limit`.
    Raises PriceFileError when a path is missing or a file cannot be read as prices.
    """
    with tempfile.TemporaryDirectory(prefix="strikecast-ingest-") as folder:
        scratch = Path(folder)
        files = list(_expand(paths, scratch))
        with _staging_database(str(scratch / "staging.duckdb"), memory_limit) as connection:
            for index, (path, source) in enumerate(files):
                _stage_file(connection, index, path, source, now)
            yield StagedBars(connection, [source for _, source in files])


@contextmanager
def stage_candles(name: str, candles: Sequence[Candle], now: datetime) -> Iterator[StagedBars]:
    """Stage candles held in memory, as `stage_price_files` stages a file; `name` identifies them in the quarantine."""
    opened, *values = zip(*candles, strict=True)
    minutes = np.array([instant.replace(tzinfo=None) for instant in opened], dtype="datetime64[us]")
    columns = dict(zip(BAR_COLUMNS, [minutes, *np.array(values, dtype=np.float64)], strict=True))
    digest = hashlib.sha256(b"".join(column.tobytes() for column in columns.values())).hexdigest()
    with _staging_database(":memory:", MEMORY_LIMIT) as connection:
        connection.register("selected_columns", columns)
        connection.execute(SQL["number_rows"])
        _validate(connection, 0, "raw_columns", now)
        yield StagedBars(connection, [BarSource(name, digest)])


@contextmanager
def _staging_database(path: str, memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(path, config={"memory_limit": memory_limit, "threads": 2}) as connection:
        for statement in ("set_utc", "create_bar", "create_quarantined"):
            connection.execute(SQL[statement])
        yield connection


def _validate(connection: duckdb.DuckDBPyConnection, index: int, table: str, now: datetime) -> None:
    """Parse the rows of a table and insert each as a bar or as a quarantined row of source number `index`."""
    unit = _unit(connection, table)
    connection.execute(SQL["parse"], {"source": table, "us_per_unit": unit, "now_us": int(now.timestamp() * 1e6)})
    connection.execute(SQL["insert_bars"], [index])
    connection.execute(SQL["insert_quarantined"], [index])


def _stage_file(
    connection: duckdb.DuckDBPyConnection, index: int, path: Path, source: BarSource, now: datetime
) -> None:
    read = _read_parquet if _is_parquet(path) else _read_csv
    try:
        _validate(connection, index, read(connection, path, source), now)
    except duckdb.Error as error:
        text = single_line(str(error))
        raise PriceFileError(f"{source.name} cannot be read as prices: {text[:300]}; nothing was stored") from error
    if not _one(connection, "count_parsed")[0]:
        raise PriceFileError(f"{source.name} holds no rows; nothing was stored")


def _read_parquet(connection: duckdb.DuckDBPyConnection, path: Path, source: BarSource) -> str:
    rows = connection.read_parquet(str(path))
    columns = zip(_map_columns(rows.columns, source), BAR_COLUMNS, strict=True)
    selected = rows.select(*(duckdb.ColumnExpression(rows.columns[at]).alias(name) for at, name in columns))
    selected.create_view("selected_columns", replace=True)
    connection.execute(SQL["number_rows"])
    return "raw_columns"


def _read_csv(connection: duckdb.DuckDBPyConnection, path: Path, source: BarSource) -> str:
    first = _first_line(path, source)
    delimiter = max(DELIMITERS, key=first.count)
    fields = [field.strip(PADDING) for field in first.split(delimiter)]
    if len(fields) < len(BAR_COLUMNS):
        raise PriceFileError(
            f"{source.name} row 1: {len(fields)} columns, expected at least time, open, high, low, close and volume; "
            "nothing was stored"
        )
    is_header = not all(_is_number(field) for field in fields[: len(BAR_COLUMNS)])
    positions = _map_columns(fields, source) if is_header else tuple(range(len(BAR_COLUMNS)))
    connection.execute(
        SQL["read_csv_lines"],
        {
            "path": str(path),
            "delimiter": delimiter,
            "header_lines": int(is_header),
            "width": len(fields),
            "padding": PADDING,
            **{name: position + 1 for name, position in zip(BAR_COLUMNS, positions, strict=True)},
        },
    )
    return "raw_csv"


def _first_line(path: Path, source: BarSource) -> str:
    with path.open("rb") as stream:
        line = stream.readline(65_536)
    if not line.strip():
        raise PriceFileError(f"{source.name} is empty; nothing was stored")
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise PriceFileError(f"{source.name} is not a text file, and not Parquet or zip; nothing was stored") from None


def _map_columns(present: Sequence[str], source: BarSource) -> tuple[int, ...]:
    """Position of each of BAR_COLUMNS among the columns present."""
    by_name = {name.lower().strip().replace(" ", "_"): at for at, name in reversed(list(enumerate(present)))}
    found = {
        target: next((by_name[name] for name in names if name in by_name), None)
        for target, names in COLUMN_NAMES.items()
    }
    missing = [
        f"{target if target != 'opened' else 'time'} ({', '.join(COLUMN_NAMES[target][:4])}, ...)"
        for target, at in found.items()
        if at is None
    ]
    if missing:
        raise PriceFileError(
            f"{source.name} row 1: no column for {'; '.join(missing)}; it has {', '.join(present)}; nothing was stored"
        )
    return tuple(at for at in found.values() if at is not None)


def _unit(connection: duckdb.DuckDBPyConnection, table: str) -> float | None:
    """Microseconds per unit of a numeric time column; None when the column holds timestamps."""
    kind, median = _one(connection, "median_time", {"source": table})
    if median is None or str(kind).startswith(("TIMESTAMP", "DATE")):
        return None
    return next((factor for limit, factor in _UNITS if abs(median) < limit), 1e-3)


def _one(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, object] | None = None
) -> tuple[Any, ...]:
    """The only row of a statement. Fetches to the end, because an open result blocks the connection."""
    rows: list[tuple[Any, ...]] = connection.execute(SQL[name], parameters).fetchall()
    return rows[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _expand(paths: Sequence[Path], scratch: Path) -> Iterator[tuple[Path, BarSource]]:
    """The files of `paths`, folders sorted by name and archives unpacked, as paths to read and their sources.

    Paths to read are in `scratch`, because DuckDB treats `*` and `[` in a path as a pattern.
    """
    for path in paths:
        if path.is_dir():
            found = sorted(child for child in path.rglob("*") if child.is_file() and _is_price_name(child.name))
            if not found:
                raise PriceFileError(f"{path} holds no price files ({', '.join(SUFFIXES)}); nothing was stored")
            yield from _expand(found, scratch)
        elif not path.exists():
            raise PriceFileError(f"{path} does not exist; nothing was stored")
        else:
            yield from _unpacked(path, scratch)


def _unpacked(path: Path, scratch: Path) -> Iterator[tuple[Path, BarSource]]:
    plain = scratch / f"file-{len(list(scratch.iterdir()))}"
    with path.open("rb") as stream:
        magic = stream.read(4)
    try:
        if magic == b"PK\x03\x04":
            yield from _unzipped(path, plain)
        elif magic[:2] == b"\x1f\x8b":
            # DuckDB would accept a damaged or truncated stream.
            with gzip.open(path, "rb") as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            yield plain, BarSource(path.name, _sha256(path))
        elif path.suffix.lower() in PACKED_SUFFIXES and magic != b"PAR1":
            raise PriceFileError(f"{path.name} is not a {path.suffix[1:].lower()} file; nothing was stored")
        else:
            plain.symlink_to(path.absolute())
            yield plain, BarSource(path.name, _sha256(path))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise PriceFileError(f"{path.name} cannot be unpacked: {error}; nothing was stored") from error


def _unzipped(path: Path, plain: Path) -> Iterator[tuple[Path, BarSource]]:
    with zipfile.ZipFile(path) as archive:
        members = [
            member
            for member in archive.infolist()
            if _is_price_name(member.filename) and member.filename.lower().endswith((".csv", ".parquet"))
        ]
        if not members:
            raise PriceFileError(f"{path.name} holds no .csv or .parquet file; nothing was stored")
        for number, member in enumerate(members):
            target = plain.with_name(f"{plain.name}-{number}")
            with archive.open(member) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            yield target, BarSource(f"{path.name}/{member.filename}", _sha256(target))


def _is_price_name(name: str) -> bool:
    """Whether a file of a folder or archive is a price file; hidden files, which some systems add, are not."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return not hidden and name.lower().endswith(SUFFIXES)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
