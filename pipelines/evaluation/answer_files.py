"""Write the live session's stored answers, with the outcome of each strike, as files."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipelines.atomic_files import atomic_write
from pipelines.errors import NoDataError, SettingsError
from pipelines.storage.live.answers import answer_days, read_outcomes
from pipelines.storage.postgres.connection import Connection, Database
from pipelines.storage.postgres.reading import read

OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
#: Format of times in CSV, in milliseconds, as in the live JSON.
CSV_TIME = "%Y-%m-%dT%H:%M:%S%.3fZ"


def write_answers(
    database: Database, symbol: str, path: Path, start: datetime | None = None, stop: datetime | None = None
) -> int:
    """Write the answers given from `start` up to `stop` (aware UTC) in the format of the file's ending.

    Returns the number of rows, one per answer and strike: a day has 30,000. Raises SettingsError for an empty range,
    NoDataError when there is no answer in it.
    """
    start, stop = start or OLDEST, stop or datetime.now(UTC)
    if start >= stop:
        raise SettingsError(f"--from {start:%Y-%m-%d %H:%M} is not before --to {stop:%Y-%m-%d %H:%M}")
    frames = read(database, "export", lambda connection: list(_answers(connection, symbol, start, stop)))
    if not frames:
        raise NoDataError(f"no answer of {symbol} is stored in that time: a live session stores one per minute")
    table = pl.concat(frames)
    with atomic_write(path) as partial:
        if path.suffix == ".parquet":
            table.write_parquet(partial, compression="zstd")
        elif path.suffix == ".csv":
            table.write_csv(partial, datetime_format=CSV_TIME)
        else:
            table.write_ndjson(partial)
    return len(table)


def _answers(connection: Connection, symbol: str, start: datetime, stop: datetime) -> Iterator[pl.DataFrame]:
    """The answers of each day, oldest first."""
    for day in answer_days(connection, symbol, start, stop):
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        yield read_outcomes(connection, symbol, max(start, midnight), min(stop, midnight + timedelta(days=1)))
