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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from pipelines.errors import PriceFileError
from pipelines.storage.queries import query

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
    "opened": ("timestamp", "time", "open_time", "opentime", "opened_at", "datetime", "date", "unix", "ts",
               "timestamp_ms", "timestamp_us", "unix_timestamp"),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "v", "vol", "base_volume", "volume_btc", "volume_eth"),
}  # fmt: skip
KLINE_COLUMNS = ("opened", "open", "high", "low", "close", "volume")
SUFFIXES = (".csv", ".csv.gz", ".zip", ".parquet")
DELIMITERS = ",;\t|"
BLOCK_ROWS = 262_144
#: Microseconds per unit, by the largest plausible number of that unit (year 2286 in seconds, and so on).
_UNITS = ((1e10, 1e6), (1e13, 1e3), (1e16, 1.0), (1e19, 1e-3))


@dataclass(frozen=True)
class PriceFile:
    """One file to read: `path` may be a temporary copy, `name` is what the user knows it by."""

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True)
class BarBlock:
    """Bars in order of time.

    `minutes`: int64[n] since 1970-01-01 UTC; `values`: float64[5, n]: open, high, low, close in USD, volume in coins.
    """

    minutes: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class RefusedRow:
    """A refused row, `raw` as JSON text."""

    file_sha256: str
    file_name: str
    source_row: int
    reason: str
    raw: str


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
            columns = self._connection.execute(query("duckdb/bar_block"), [first, first + BLOCK_ROWS]).fetchnumpy()
            values = np.stack([columns[name] for name in KLINE_COLUMNS[1:]])
            yield BarBlock(columns["minute"].astype(np.int64), values)

    def refused_rows(self) -> Iterator[RefusedRow]:
        """The refused rows, by file and row."""
        cursor = self._connection.execute(query("duckdb/refused_rows"))
        while rows := cursor.fetchmany(10_000):
            for file_index, source_row, reason, raw in rows:
                file = self.files[file_index]
                yield RefusedRow(file.sha256, file.name, source_row, reason, raw)

    def reasons(self) -> dict[str, int]:
        """How many rows were refused, by reason."""
        return dict(self._connection.execute(query("duckdb/refused_reasons")).fetchall())

    def _count(self, name: str) -> int:
        row = self._connection.execute(query(f"duckdb/{name}")).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def staged(paths: Sequence[Path], now: datetime, *, memory_limit: str = "1GB") -> Iterator[StagedBars]:
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
            connection.execute(query("duckdb/set_utc"))
            connection.execute(query("duckdb/create_bar"))
            connection.execute(query("duckdb/create_refused"))
            for index, file in enumerate(files):
                _stage_file(connection, index, file, now)
            connection.execute(query("duckdb/refuse_duplicates"))
            connection.execute(query("duckdb/sort_bars"))
            yield StagedBars(connection, files)


def _stage_file(connection: duckdb.DuckDBPyConnection, index: int, file: PriceFile, now: datetime) -> None:
    try:
        connection.execute(query("duckdb/drop_rejects"))
        raw = _open_csv(connection, file) if file.path.suffix != ".parquet" else connection.read_parquet(str(file.path))
        columns = KLINE_COLUMNS if _has_no_header(raw) else _map_columns(raw.columns, file)
        picked = raw.select(
            *(duckdb.ColumnExpression(source).alias(target) for source, target in
              zip(raw.columns if columns is KLINE_COLUMNS else columns, KLINE_COLUMNS, strict=False))
        )  # fmt: skip
        picked.create_view("raw", replace=True)
        us_per_unit = _unit(connection, picked)
        connection.execute(query("duckdb/parse"), {"us_per_unit": us_per_unit, "now_us": int(now.timestamp() * 1e6)})
        if file.path.suffix != ".parquet":
            header_lines = 0 if columns is KLINE_COLUMNS else 1
            connection.execute(query("duckdb/collect_malformed"), {"header_lines": header_lines})
            connection.execute(query("duckdb/renumber_parsed"))
            connection.execute(query("duckdb/keep_malformed"), [index])
        connection.execute(query("duckdb/keep_accepted"), [index])
        connection.execute(query("duckdb/keep_refused"), [index])
    except duckdb.Error as error:
        text = " ".join(str(error).split())
        raise PriceFileError(f"{file.name} cannot be read as prices: {text[:300]}; nothing was stored") from error
    counted = connection.execute(query("duckdb/count_parsed")).fetchone()
    if counted is None or counted[0] == 0:
        raise PriceFileError(f"{file.name} holds no rows; nothing was stored")


def _open_csv(connection: duckdb.DuckDBPyConnection, file: PriceFile) -> duckdb.DuckDBPyRelation:
    header = _first_line(file)
    delimiter = max(DELIMITERS, key=header.count)
    if header.count(delimiter) < len(KLINE_COLUMNS) - 1:
        raise PriceFileError(
            f"{file.name} row 1: {len(header.split(delimiter))} columns, expected at least time, open, high, low, "
            "close and volume; nothing was stored"
        )
    headless = all(_is_number(field) for field in header.split(delimiter)[: len(KLINE_COLUMNS)])
    return connection.read_csv(
        str(file.path), header=not headless, delimiter=delimiter, quotechar='"', escapechar='"', all_varchar=True,
        auto_detect=False, compression="gzip" if file.path.suffix == ".gz" else "none",
        columns={name.strip().strip('"').lstrip("\ufeff"): "VARCHAR" for name in header.split(delimiter)}
        if not headless else {f"kline{i}": "VARCHAR" for i in range(header.count(delimiter) + 1)},
        store_rejects=True, rejects_table="rejected_line", rejects_scan="rejected_scan", rejects_limit=0,
    )  # fmt: skip


def _first_line(file: PriceFile) -> str:
    try:
        with gzip.open(file.path, "rb") if file.path.suffix == ".gz" else file.path.open("rb") as stream:
            line = stream.readline(65_536)
    except (OSError, EOFError) as error:
        raise PriceFileError(f"{file.name} cannot be unpacked: {error}; nothing was stored") from error
    if not line.strip():
        raise PriceFileError(f"{file.name} is empty; nothing was stored")
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise PriceFileError(f"{file.name} is not a text file, and not Parquet or zip; nothing was stored") from None


def _has_no_header(raw: duckdb.DuckDBPyRelation) -> bool:
    return raw.columns[0] == "kline0"


def _map_columns(present: Sequence[str], file: PriceFile) -> tuple[str, ...]:
    by_name = {name.lower().strip().replace(" ", "_"): name for name in present}
    found = {
        target: next((by_name[name] for name in names if name in by_name), None)
        for target, names in COLUMN_NAMES.items()
    }
    missing = [f"{target if target != 'opened' else 'time'} ({', '.join(COLUMN_NAMES[target][:4])}, ...)"
               for target, name in found.items() if name is None]  # fmt: skip
    if missing:
        raise PriceFileError(
            f"{file.name} row 1: no column for {'; '.join(missing)}; it has {', '.join(present)}; nothing was stored"
        )
    return tuple(str(found[target]) for target in KLINE_COLUMNS)


def _unit(connection: duckdb.DuckDBPyConnection, picked: duckdb.DuckDBPyRelation) -> float | None:
    """Microseconds per unit of a numeric time column, None when the column holds times rather than numbers."""
    kind = str(picked.types[0])
    if kind.startswith(("TIMESTAMP", "DATE")):
        return None
    row = connection.execute(query("duckdb/median_time")).fetchone()
    median = None if row is None else row[0]
    if median is None:
        return None
    return next((factor for limit, factor in _UNITS if abs(median) < limit), 1e-3)


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"'))
    except ValueError:
        return False
    return True


def _expand(paths: Sequence[Path], scratch: Path) -> Iterator[PriceFile]:
    """The files behind `paths`: folders in order of name, archives unpacked."""
    for path in paths:
        if path.is_dir():
            found = sorted(child for child in path.rglob("*") if child.is_file() and child.name.endswith(SUFFIXES))
            if not found:
                raise PriceFileError(f"{path} holds no price files ({', '.join(SUFFIXES)})")
            yield from _expand(found, scratch)
        elif not path.exists():
            raise PriceFileError(f"{path} does not exist")
        elif path.suffix == ".zip":
            yield from _unpack(path, scratch)
        else:
            yield PriceFile(_with_known_suffix(path, scratch), path.name, _sha256(path))


def _with_known_suffix(path: Path, scratch: Path) -> Path:
    """The path itself; a Parquet or gzip file of another name under a name that says what it is."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    suffix = {b"PAR1": ".parquet"}.get(magic, ".gz" if magic[:2] == b"\x1f\x8b" else "")
    if suffix in ("", path.suffix):
        return path
    link = scratch / f"{_sha256(path)[:16]}{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(path.absolute())
    return link


def _unpack(path: Path, scratch: Path) -> Iterator[PriceFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and m.filename.endswith((".csv", ".parquet"))]
            if not members:
                raise PriceFileError(f"{path.name} holds no .csv or .parquet file; nothing was stored")
            for member in members:
                target = scratch / f"{_sha256(path)[:16]}-{member.header_offset}{Path(member.filename).suffix}"
                with archive.open(member) as packed, target.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
                yield PriceFile(target, f"{path.name}/{member.filename}", _sha256(target))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise PriceFileError(f"{path.name} cannot be unpacked: {error}; nothing was stored") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
