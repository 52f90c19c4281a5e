"""Read one-minute bars from price files and exchange candles: DuckDB parses, validates and sorts them.

`formats` declares what is read, `layout` understands a file from its first rows, `reading` casts its columns, and
`understanding` checks the rows against each other. A row that is not a finished, plausible one-minute bar is
quarantined with one of `REASONS`; a file whose rows contradict what it says about itself is refused whole.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import duckdb
import numpy as np

from pipelines.domain.prices.bars import BarBlock, Floats, Ints, QuarantinedRow, instant_of_minute, minute_of_instant
from pipelines.errors import PriceFileError
from pipelines.ingestion.formats import BAR_COLUMNS, interval_in_name
from pipelines.ingestion.reading import Reading, create_views_of_columns, only_row, read_price_file
from pipelines.ingestion.understanding import (
    UNCOUNTED,
    Expectation,
    FileSummary,
    check_symbol,
    drop_repeated,
    names_other_symbol,
    refusal,
    round_prices,
    summarize_file,
)
from pipelines.ingestion.unpacking import MAX_FILES, PriceFile, as_price_file_error, find_price_files
from pipelines.log import Log
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.prices.history import Candle

SQL = Statements(__name__)

BLOCK_ROWS = 262_144
#: For DuckDB, which spills to disk beyond it; the rest of the process takes about 300 MB. The minimum is 80 MB.
MEMORY_LIMIT = "300MB"
#: Quarantined rows kept of one file and reason; all are counted.
MAX_QUARANTINED = 1_000
#: Files of folders and archives that need not be price files.
OPTIONAL_SUFFIXES = (".txt", ".json")


@dataclass(frozen=True)
class BarSource:
    """Origin of rows: a file or a batch of candles, identified by a name and the SHA-256 of its content."""

    name: str
    sha256: str


class StagedBars:
    """Validated rows of some sources in a DuckDB database, sorted by minute.

    `summaries`: what each file was understood as, none for candles; `skipped`: files of folders and archives that were
    left out, with the reason.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[BarSource],
        summaries: Sequence[FileSummary] = (),
        skipped: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._connection = connection
        self.sources, self.summaries, self.skipped = sources, tuple(summaries), tuple(skipped)
        minutes = connection.execute(SQL["accepted_minutes"]).fetchnumpy()["minute"].astype(np.int64)
        if (np.diff(minutes) > 0).all():
            connection.execute(SQL["view_bars"])
        else:
            if len(np.unique(minutes)) < len(minutes):
                self._merge_files()
                minutes = connection.execute(SQL["accepted_minutes"]).fetchnumpy()["minute"].astype(np.int64)
            connection.execute(SQL["sort_bars"])
        self.accepted = len(minutes)
        self.first_bar_at = instant_of_minute(int(minutes.min())) if len(minutes) else None
        self.last_bar_at = instant_of_minute(int(minutes.max())) if len(minutes) else None
        self.gaps = int(minutes.max() - minutes.min()) + 1 - len(minutes) if len(minutes) else 0
        reasons = dict(connection.execute(SQL["total_reasons"]).fetchall())
        self.absent, self.repeated, self.archived = (int(reasons.pop(name, 0)) for name in UNCOUNTED)
        self.reasons: dict[str, int] = {name: count for name, count in reasons.items() if name is not None}

    def _merge_files(self) -> None:
        """Keep one bar of each minute. Raises PriceFileError when files disagree about a bar."""
        for statement in ("collect_shared_minutes", "supersede_last_bars"):
            self._connection.execute(SQL[statement])
        for minute, count, indices in self._connection.execute(SQL["contradiction"]).fetchall():
            names = " and ".join(dict.fromkeys(self.sources[index].name for index in indices))
            raise refusal(
                names,
                f"the bars of {count:,} minutes disagree, the first at {instant_of_minute(minute):%Y-%m-%d %H:%M}",
                "Ingest the files one after the other if the later one corrects the earlier",
            )
        drop_repeated(self._connection)

    @property
    def quarantined(self) -> int:
        """Number of refused rows."""
        return sum(self.reasons.values())

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return self.accepted + self.quarantined + self.absent + self.repeated + self.archived

    def blocks(self) -> Iterator[BarBlock]:
        """The accepted bars, oldest first, in blocks of at most BLOCK_ROWS."""
        for first in range(0, only_row(self._connection, SQL["last_position"])[0] + 1, BLOCK_ROWS):
            columns = self._connection.execute(SQL["bar_block"], [first, first + BLOCK_ROWS]).fetchnumpy()
            if len(columns["minute"]):
                values = np.stack([columns[name] for name in BAR_COLUMNS[1:]])
                yield BarBlock(columns["minute"].astype(np.int64), values)

    def closes(self, first: datetime, last: datetime) -> tuple[Ints, Floats]:
        """Minutes and closes of the bars from `first` to `last`, oldest first."""
        columns = self._connection.execute(
            SQL["closes_between"], [minute_of_instant(first), minute_of_instant(last)]
        ).fetchnumpy()
        return columns["minute"].astype(np.int64), columns["close"]

    def close_at(self, opened_at: datetime) -> float:
        """The close of an accepted bar."""
        return float(self.closes(opened_at, opened_at)[1][0])

    def quarantined_rows(self) -> Iterator[QuarantinedRow]:
        """The quarantined rows by source and row, at most MAX_QUARANTINED of a source and reason."""
        cursor = self._connection.execute(SQL["quarantined_rows"], [MAX_QUARANTINED])
        while rows := cursor.fetchmany(10_000):
            for index, source_row, reason, raw in rows:
                source = self.sources[index]
                yield QuarantinedRow(source.sha256, source.name, source_row, reason, raw)


@contextmanager
def stage_price_files(
    paths: Sequence[Path],
    now: datetime,
    expected: Expectation,
    *,
    skip: Sequence[tuple[datetime, datetime]] = (),
    memory_limit: str = MEMORY_LIMIT,
    doing: Log = lambda _: None,
) -> Iterator[StagedBars]:
    """Stage the rows of files and folders for the duration of the context.

    `now`: aware; minutes that have not ended by then are quarantined. `skip`: ranges [first, after) whose bars are left
    out. DuckDB spills to disk beyond `memory_limit`. `doing` is told what is being done (`log.heartbeat`).
    Raises PriceFileError when a path is missing or a file cannot be read as the expected symbol's one-minute bars.
    """
    with tempfile.TemporaryDirectory(prefix="strikecast-ingest-") as folder:
        scratch = Path(folder)
        found = list(islice(find_price_files(paths, scratch, doing), MAX_FILES + 1))
        if len(found) > MAX_FILES:
            remedy = "Join small files, or ingest them in parts"
            raise refusal(", ".join(map(str, paths[:3])), f"more than {MAX_FILES:,} price files", remedy)
        files, skipped = _select(found, expected)
        with _staging_database(memory_limit, now, scratch) as connection:
            sources: list[BarSource] = []
            summaries: list[FileSummary] = []
            for number, file in enumerate(files, start=1):
                doing(f"reading {file.name}, {number:,} of {len(files):,}")
                summary = _stage_file(connection, len(sources), file, expected)
                if isinstance(summary, FileSummary):
                    sources.append(BarSource(file.name, file.sha256))
                    summaries.append(summary)
                else:
                    skipped.append((file.name, summary))
            if not sources:
                raise refusal(_names(skipped), "no file holds prices", "; ".join(why for _, why in skipped[:3]))
            for first, after in skip:
                connection.execute(SQL["skip_minutes"], [minute_of_instant(first), minute_of_instant(after)])
            doing(f"comparing {len(sources):,} files")
            with as_price_file_error(_names([(source.name, "") for source in sources]), "cannot be compared"):
                staged = StagedBars(connection, sources, summaries, skipped)
            yield staged


@contextmanager
def stage_candles(name: str, candles: Sequence[Candle], now: datetime) -> Iterator[StagedBars]:
    """Stage candles held in memory, as `stage_price_files` stages a file; `name` identifies them in the quarantine."""
    opened, *values = zip(*candles, strict=True)
    minutes = np.array([instant.replace(tzinfo=None) for instant in opened], dtype="datetime64[us]")
    columns = dict(zip(BAR_COLUMNS, [minutes, *np.array(values, dtype=np.float64)], strict=True))
    digest = hashlib.sha256(b"".join(column.tobytes() for column in columns.values())).hexdigest()
    with _staging_database(MEMORY_LIMIT, now) as connection:
        connection.register("selected_columns", columns)
        create_views_of_columns(connection)
        _insert(connection, 0)
        round_prices(connection, 0)
        yield StagedBars(connection, [BarSource(name, digest)])


def _select(files: list[PriceFile], expected: Expectation) -> tuple[list[PriceFile], list[tuple[str, str]]]:
    """The files to read, and those of folders and archives that are named for another symbol or interval.

    Raises PriceFileError when none is left, or a file that the user named is named for another symbol.
    """
    chosen, skipped = [], []
    for file in files:
        other, interval = names_other_symbol(file, expected), interval_in_name(file.own_name)
        if other is not None:
            skipped.append((file.name, f"it is named for {other}, not {expected.symbol} in USD"))
            if not file.is_selected:
                remedy = f"Ingest it for {other}, or add --accept-symbol if its name misleads"
                raise refusal(*skipped[0], remedy)
        elif file.is_selected and interval not in {None, 1}:
            skipped.append((file.name, f"it is named for bars of {interval} minutes"))
        else:
            chosen.append(file)
    if not chosen:
        raise refusal(_names(skipped), skipped[0][1], "Only one-minute bars of the symbol can be ingested")
    return chosen, skipped


def _names(skipped: Sequence[tuple[str, str]]) -> str:
    return ", ".join(name for name, _ in skipped[:3]) + (", ..." if len(skipped) > 3 else "")


@contextmanager
def _staging_database(
    memory_limit: str, now: datetime, scratch: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    spill = {} if scratch is None else {"temp_directory": str(scratch / "spill")}
    with duckdb.connect(config={"memory_limit": memory_limit, "threads": 2, **spill}) as connection:
        for statement in (
            "set_utc",
            "distrust_statistics",
            "create_reason",
            "create_bar",
            "create_shown",
            "create_digits",
        ):
            connection.execute(SQL[statement])
        connection.execute(SQL["set_now"], [int(now.timestamp() * 1e6)])
        yield connection


def _stage_file(
    connection: duckdb.DuckDBPyConnection, index: int, file: PriceFile, expected: Expectation
) -> FileSummary | str:
    """Insert and check a file's rows; returns why a file of a folder or archive is no price file."""
    with as_price_file_error(file.name, "cannot be read as prices"):
        try:
            with as_price_file_error(file.name, "cannot be read as prices"):
                reading = read_price_file(connection, file, index)
        except PriceFileError as error:
            if file.is_selected and file.name.lower().endswith(OPTIONAL_SUFFIXES):
                return str(error)
            raise
        symbol_source = check_symbol(connection, file, reading, expected)
        _insert(connection, index)
        _number_rows(connection, index, file, reading)
        return summarize_file(connection, index, file, reading, symbol_source, expected)


def _insert(connection: duckdb.DuckDBPyConnection, index: int) -> None:
    """Validate the rows of the view `numbered` and insert them as source number `index`."""
    connection.execute(SQL["set_first_position"], only_row(connection, SQL["next_position"]))
    connection.execute(SQL["set_file"], [index])
    connection.execute(SQL["insert_bars"])


def _number_rows(connection: duckdb.DuckDBPyConnection, index: int, file: PriceFile, reading: Reading) -> None:
    """Add the lines that DuckDB rejected, and give refused rows the numbers that they have in the file.

    Raises PriceFileError when lines are missing, because an unclosed quote has swallowed them.
    """
    if reading.rejects is None:
        return
    rejects = {
        "skipped": reading.skipped,
        "rejects": reading.rejects,
        "time_column": reading.time_column,
        "header": reading.header,
    }
    connection.execute(SQL["insert_rejected_lines"], rejects)
    rejected = [row for (row,) in connection.execute(SQL["rejected_rows"], [index]).fetchall()]
    refused = connection.execute(SQL["refused_rows"], [index]).fetchnumpy()
    if not rejected and not len(refused["position"]) and not reading.layout.quote:
        return
    lines, blank = _lines(file.path, reading.skipped)
    (count,) = only_row(connection, SQL["count_rows"], [index])
    if reading.layout.quote and count + len(blank) != lines:
        raise refusal(
            file.name,
            f"{lines - len(blank):,} lines gave {count:,} rows: a quote is not closed",
            "Correct the file",
        )
    special = np.unique([*rejected, *blank]).astype(np.int64)
    rows = refused["source_row"].astype(np.int64)
    before = np.searchsorted(special - 1 - np.arange(len(special)), rows, side="left")
    numbered = {"position": refused["position"].astype(np.int64), "source_row": rows + before}
    connection.register("numbered_row", numbered)
    connection.execute(SQL["number_refused_rows"])
    connection.unregister("numbered_row")


def _lines(path: Path, skipped: int) -> tuple[int, list[int]]:
    """Number of lines after the skipped ones, and the numbers of the blank ones among them, from 1."""
    count, blank = 0, []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1 - skipped):
            count = number
            if number > 0 and not line.strip():
                blank.append(number)
    return count, blank
