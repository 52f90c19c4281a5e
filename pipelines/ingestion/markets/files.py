"""Files of a recording: found, read whole, and recognised."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.errors import MarketError, single_line
from pipelines.ingestion.markets.shapes import Shape, recognise

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": lambda path: pl.read_csv(path, infer_schema_length=None),
    ".jsonl": lambda path: pl.read_ndjson(path, infer_schema_length=None),
}


@dataclass(frozen=True)
class RecordedFile:
    """A file of a known shape; `frame` has its rows, with their number in `row` (from 1)."""

    name: str
    sha256: str
    shape: Shape
    frame: pl.DataFrame


def read_files(path: Path) -> tuple[list[RecordedFile], list[tuple[str, str]]]:
    """The files of a recording, and those left out with the reason: a file, or those of a folder, not of folders in it.

    Raises MarketError for a file that cannot be read, for a single file that is of no known shape, and without any.
    """
    if not path.exists():
        raise MarketError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [_recognised(path)], []
    found: list[RecordedFile] = []
    skipped: list[tuple[str, str]] = []
    for one in sorted(path.iterdir()):
        try:
            found.append(_recognised(one))
        except _OtherFileError as error:
            skipped.append((one.name, str(error).removeprefix(f"{one.name}: ")))
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped) or "it is empty"
        raise MarketError(f"{path.name}: no recording of markets: {reasons}")
    return found, skipped


class _OtherFileError(MarketError):
    """A file that is no recording of markets, and may lie in its folder."""


def _recognised(path: Path) -> RecordedFile:
    reader = READERS.get(path.suffix.lower())
    if path.is_dir():
        raise _OtherFileError(f"{path.name}: a folder, which is imported by itself")
    if reader is None:
        raise _OtherFileError(f"{path.name}: expected {', '.join(READERS)}")
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        frame = reader(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise MarketError(f"{path.name}: cannot be read: {single_line(str(error), 300)}; nothing was stored") from None
    try:
        shape = recognise(frame.columns, path.name)
    except MarketError as error:
        raise _OtherFileError(str(error)) from None
    if frame.is_empty():
        raise MarketError(f"{path.name}: it has no rows; nothing was stored")
    return RecordedFile(path.name, digest, shape, frame.with_row_index("row", offset=1))
