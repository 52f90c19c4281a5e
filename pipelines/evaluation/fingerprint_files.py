"""Export and import fingerprints in the original's format: one CSV per bucket, in percent to two decimals."""

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.atomic_files import atomic_write
from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.configuration.names import csv_columns, csv_row_label, fingerprint_table, parse_fingerprint_table
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.errors import FingerprintFileError, single_line
from pipelines.storage.models.tables import UNKNOWN

_UPWARD_COLUMN = re.compile(r">= \+(\d+\.\d\d)%")
MAX_PROBLEMS_SHOWN = 10


def export_fingerprints(fingerprints: FingerprintSet, symbol: str, folder: Path) -> list[Path]:
    """Write one file per table to `folder`, replacing each atomically; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for table, bucket in enumerate(fingerprints.buckets):
        path = folder / f"{fingerprint_table(symbol, bucket)}.csv"
        sides = np.stack([fingerprints.positive[table], fingerprints.negative[table]], axis=-1)
        values = sides.reshape(fingerprints.horizons, -1).round(2)
        labels = pl.Series("", [csv_row_label(horizon + 1) for horizon in range(fingerprints.horizons)])
        frame = pl.DataFrame(values, schema=csv_columns(fingerprints.nodes)).fill_nan(None)
        with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            # polars would quote the empty name of the first column.
            file.write(",".join(["", *frame.columns]) + "\n")
            frame.insert_column(0, labels).write_csv(file, include_header=False)
        paths.append(path)
    return paths


@dataclass(frozen=True)
class ImportedTables:
    """The tables of a folder, by bucket, and the names of their files."""

    fingerprints: FingerprintSet
    files: tuple[str, ...]


def read_fingerprint_files(folder: Path, symbol: str) -> ImportedTables:
    """Read a symbol's exported tables, 1 to 62 of them.

    Raises FingerprintFileError, listing every deviation from the exported format.
    """
    if not folder.is_dir():
        raise FingerprintFileError(f"{folder} is not a folder")
    found: dict[int | None, Path] = {}
    for path in sorted(folder.glob("*.csv")):
        parsed = parse_fingerprint_table(path.stem)
        if parsed is not None and parsed[0] == symbol:
            found[parsed[1]] = path
    if not found:
        raise FingerprintFileError(
            f"{folder} contains neither {fingerprint_table(symbol, None)}.csv nor momentum tables of {symbol}"
        )
    problems: list[str] = []
    limit = ModelConfig().bucket_limit
    problems += [f"{found[b].name}: buckets are -{limit} to {limit}" for b in found if b is not None and abs(b) > limit]
    buckets = sorted(found, key=lambda bucket: (bucket is not None, bucket or 0))
    tables = [_read_table(found[bucket], problems) for bucket in buckets]
    moves = {moves for moves, _ in tables if moves}
    if len(moves) > 1:
        problems.append("the files do not all have the same thresholds")
    if problems:
        more = f" (and {len(problems) - MAX_PROBLEMS_SHOWN} more)" if len(problems) > MAX_PROBLEMS_SHOWN else ""
        raise FingerprintFileError("; ".join(problems[:MAX_PROBLEMS_SHOWN]) + more)
    values = np.stack([table for _, table in tables])
    unknown = np.full(values.shape[:2], UNKNOWN)
    fingerprints = FingerprintSet(
        tuple(buckets), moves.pop(), values[..., 0], values[..., 1], unknown, unknown.astype(np.float64)
    )
    return ImportedTables(fingerprints, tuple(found[bucket].name for bucket in buckets))


def _read_table(path: Path, problems: list[str]) -> tuple[tuple[int, ...], np.ndarray]:
    """Thresholds in bps, and float64[60, m, 2]; deviations are appended to `problems`."""
    empty: tuple[tuple[int, ...], np.ndarray] = ((), np.empty((60, 0, 2)))
    try:
        frame = pl.read_csv(path.read_bytes(), infer_schema=False)  # polars treats `[` in a path as a pattern
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        problems.append(f"{path.name}: {single_line(str(error), 120)}")
        return empty
    header = frame.columns[1:]
    upward = [_UPWARD_COLUMN.fullmatch(name) for name in header[::2]]
    moves = tuple(int(Decimal(match[1]) * 100) for match in upward if match)
    if (
        len(moves) != len(upward)
        or header != csv_columns(moves)
        or list(moves) != sorted(set(moves))
        or moves[:1] != (0,)
    ):
        problems.append(f"{path.name}: header is not '>= +0.00%', '<= -0.00%', ... with rising thresholds")
        return empty
    labels, expected = frame.to_series(0).to_list(), [csv_row_label(minutes) for minutes in range(1, 61)]
    if labels != expected:
        problems.append(f"{path.name}: rows are not '1m TTC' to '60m TTC'")
        return empty
    numbers = frame.select(pl.col(header).cast(pl.Float64, strict=False)).to_numpy()
    wrong = ~np.isfinite(numbers) | (numbers < 0) | (numbers > 100)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        problems.append(
            f"{path.name} row {expected[row]!r} column {header[column]!r}: {frame[int(row), int(column) + 1]!r} "
            f"is not a percentage ({int(wrong.sum())} such cells)"
        )
        return empty
    return moves, numbers.reshape(60, len(moves), 2)
