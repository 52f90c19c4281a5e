"""Price files of any usual shape, read, judged row by row and sorted by DuckDB on disk.

Accepted: CSV (also .gz), zip archives of CSV files, Parquet, and folders of them. Times may be ISO 8601 (without an
offset: UTC) or numbers of seconds, milliseconds, microseconds or nanoseconds since 1970; the unit is recognised per
file by magnitude. CSV files without a header are read as exchange klines: open time, open, high, low, close, volume.

A row that is not a finished, plausible one-minute bar is refused with one of `REASONS`, never dropped silently.
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

SQL = Statements(__name__)

#: Why a row is refused.
REASONS = {
    "malformed": "the row does not have the file's columns",
    "bad_time": "the time cannot be read",
    "implausible_time": "the time lies before 2009, which points to a wrong unit",
    "future": "the minute has not begun",
    "still_forming": "the minute has not ended",
    "off_minute": "the time is not the start of a minute",
    "not_a_number": "a price or the volume is missing, NaN, infinite or not a number",
    "not_positive": "a price is zero or negative, or the volume negative",
    "bad_ohlc": "high is below, or low above, another price of the bar",
    "duplicate": "another row of the same minute comes later in the files, and wins",
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
KLINE_COLUMNS = ("opened", "open", "high", "low", "close", "volume")
SUFFIXES = (".csv", ".csv.gz", ".zip", ".parquet")
PACKED_SUFFIXES = (".gz", ".zip", ".parquet")
DELIMITERS = ",;\t|"
#: What may stand around a value: spaces, tabs, quotes, the rest of a line break.
PADDING = ' \t\r"'
BLOCK_ROWS = 262_144
#: Of DuckDB, which spills to disk beyond it; the process takes about 300 MB besides. 80 MB is the least that works.
MEMORY_LIMIT = "400MB"
#: Microseconds per unit, by the largest plausible number of that unit (year 2286 in seconds, and so on).
_UNITS = ((1e10, 1e6), (1e13, 1e3), (1e16, 1.0), (1e19, 1e-3))


@dataclass(frozen=True)
class PriceFile:
    """One file to read: `path` may be a temporary copy, `name` is what the user knows it by."""

    path: Path
    name: str
    sha256: str


class StagedBars:
    """Judged rows of some files, sorted, on disk."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: Sequence[PriceFile]) -> None:
        self._connection = connection
        self.files = files
        self.accepted = self._count("count_bars")
        self.refused = self._count("count_refused")

    def blocks(self) -> Iterator[BarBlock]:
        """The accepted bars, oldest first, in blocks of bounded size."""
        for first in range(0, self.accepted, BLOCK_ROWS):
            columns = self._connection.execute(SQL["bar_block"], [first, first + BLOCK_ROWS]).fetchnumpy()
            values = np.stack([columns[name] for name in KLINE_COLUMNS[1:]])
            yield BarBlock(columns["minute"].astype(np.int64), values)

    def refused_rows(self) -> Iterator[QuarantinedRow]:
        """The refused rows, by file and row."""
        cursor = self._connection.execute(SQL["refused_rows"])
        while rows := cursor.fetchmany(10_000):
            for file_index, source_row, reason, raw in rows:
                file = self.files[file_index]
                yield QuarantinedRow(file.sha256, file.name, source_row, reason, raw)

    def reasons(self) -> dict[str, int]:
        """How many rows were refused, by reason."""
        return dict(self._connection.execute(SQL["refused_reasons"]).fetchall())

    def _count(self, name: str) -> int:
        return int(_one(self._connection, name)[0])


@contextmanager
def stage_price_files(
    paths: Sequence[Path], now: datetime, *, memory_limit: str = MEMORY_LIMIT
) -> Iterator[StagedBars]:
    """Read and judge files and folders; what is accepted and refused can be read inside the context.

    `now`: aware; a minute that has not ended by then is refused. Files larger than `memory_limit` spill to disk.
    Raises PriceFileError when a path is missing or a file cannot be read as prices at all.
    """
    with tempfile.TemporaryDirectory(prefix="strikecast-ingest-") as folder:
        scratch = Path(folder)
        files = list(_expand(paths, scratch))
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "threads": 2,
            "temp_directory": str(scratch / "spill"),
        }
        with duckdb.connect(str(scratch / "staging.duckdb"), config=settings) as connection:
            connection.execute(SQL["set_utc"])
            connection.execute(SQL["create_bar"])
            connection.execute(SQL["create_refused"])
            for index, file in enumerate(files):
                _stage_file(connection, index, file, now)
            connection.execute(SQL["refuse_duplicates"])
            connection.execute(SQL["sort_bars"])
            yield StagedBars(connection, files)


def _stage_file(connection: duckdb.DuckDBPyConnection, index: int, file: PriceFile, now: datetime) -> None:
    try:
        source = _read_parquet(connection, file) if _is_parquet(file.path) else _read_csv(connection, file)
        unit = _unit(connection, source)
        parameters = {"source": source, "us_per_unit": unit, "now_us": int(now.timestamp() * 1e6)}
        connection.execute(SQL["parse"], parameters)
        connection.execute(SQL["keep_accepted"], [index])
        connection.execute(SQL["keep_refused"], [index])
    except duckdb.Error as error:
        text = single_line(str(error))
        raise PriceFileError(f"{file.name} cannot be read as prices: {text[:300]}; nothing was stored") from error
    if not _one(connection, "count_parsed")[0]:
        raise PriceFileError(f"{file.name} holds no rows; nothing was stored")


def _read_parquet(connection: duckdb.DuckDBPyConnection, file: PriceFile) -> str:
    rows = connection.read_parquet(str(file.path))
    columns = zip(_map_columns(rows.columns, file), KLINE_COLUMNS, strict=True)
    picked = rows.select(*(duckdb.ColumnExpression(rows.columns[at]).alias(name) for at, name in columns))
    picked.create_view("picked", replace=True)
    connection.execute(SQL["read_parquet_rows"])
    return "raw_parquet"


def _read_csv(connection: duckdb.DuckDBPyConnection, file: PriceFile) -> str:
    first = _first_line(file)
    delimiter = max(DELIMITERS, key=first.count)
    fields = [field.strip(PADDING) for field in first.split(delimiter)]
    if len(fields) < len(KLINE_COLUMNS):
        raise PriceFileError(
            f"{file.name} row 1: {len(fields)} columns, expected at least time, open, high, low, close and volume; "
            "nothing was stored"
        )
    is_header = not all(_is_number(field) for field in fields[: len(KLINE_COLUMNS)])
    at = _map_columns(fields, file) if is_header else tuple(range(len(KLINE_COLUMNS)))
    connection.execute(
        SQL["read_csv_lines"],
        {
            "path": str(file.path),
            "delimiter": delimiter,
            "header_lines": int(is_header),
            "width": len(fields),
            "padding": PADDING,
            **{name: position + 1 for name, position in zip(KLINE_COLUMNS, at, strict=True)},
        },
    )
    return "raw_csv"


def _first_line(file: PriceFile) -> str:
    with file.path.open("rb") as stream:
        line = stream.readline(65_536)
    if not line.strip():
        raise PriceFileError(f"{file.name} is empty; nothing was stored")
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise PriceFileError(f"{file.name} is not a text file, and not Parquet or zip; nothing was stored") from None


def _map_columns(present: Sequence[str], file: PriceFile) -> tuple[int, ...]:
    """Position of each column of a bar among those present."""
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
            f"{file.name} row 1: no column for {'; '.join(missing)}; it has {', '.join(present)}; nothing was stored"
        )
    return tuple(at for at in found.values() if at is not None)


def _unit(connection: duckdb.DuckDBPyConnection, source: str) -> float | None:
    """Microseconds per unit of a numeric time column, None when the column holds times rather than numbers."""
    kind, median = _one(connection, "median_time", {"source": source})
    if median is None or str(kind).startswith(("TIMESTAMP", "DATE")):
        return None
    return next((factor for limit, factor in _UNITS if abs(median) < limit), 1e-3)


def _one(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, object] | None = None
) -> tuple[Any, ...]:
    """The only row of a statement; fetched to the end, since an open result blocks the connection."""
    rows: list[tuple[Any, ...]] = connection.execute(SQL[name], parameters).fetchall()
    return rows[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _expand(paths: Sequence[Path], scratch: Path) -> Iterator[PriceFile]:
    """The files behind `paths`: folders in order of name, archives unpacked.

    Each gets a plain name in `scratch`, since DuckDB takes `*` and `[` in a path for a pattern.
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


def _unpacked(path: Path, scratch: Path) -> Iterator[PriceFile]:
    plain = scratch / f"file-{len(list(scratch.iterdir()))}"
    with path.open("rb") as stream:
        magic = stream.read(4)
    try:
        if magic == b"PK\x03\x04":
            yield from _unzipped(path, plain)
        elif magic[:2] == b"\x1f\x8b":
            # Here rather than by DuckDB, which takes a damaged or shortened stream for its content.
            with gzip.open(path, "rb") as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            yield PriceFile(plain, path.name, _sha256(path))
        elif path.suffix.lower() in PACKED_SUFFIXES and magic != b"PAR1":
            raise PriceFileError(f"{path.name} is not a {path.suffix[1:].lower()} file; nothing was stored")
        else:
            plain.symlink_to(path.absolute())
            yield PriceFile(plain, path.name, _sha256(path))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise PriceFileError(f"{path.name} cannot be unpacked: {error}; nothing was stored") from error


def _unzipped(path: Path, plain: Path) -> Iterator[PriceFile]:
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
            yield PriceFile(target, f"{path.name}/{member.filename}", _sha256(target))


def _is_price_name(name: str) -> bool:
    """Whether a file in a folder or archive is meant: hidden ones, which some systems add, are not."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return not hidden and name.lower().endswith(SUFFIXES)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
