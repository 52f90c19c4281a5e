"""Price files into `historical_data.price_history`: incremental, idempotent, all or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import MEMORY_LIMIT, BarBlock, StagedBars, staged
from pipelines.storage.postgres.binary_copy import (
    HEADER,
    TRAILER,
    encode_rows,
    float8,
    text_constant,
    timestamptz_of_minutes,
)
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.statements import query

#: A file that contradicts more than this share of the stored closes it overlaps is taken for another time zone,
#: symbol or exchange; corrections touch a few bars.
MOST_CORRECTED = 0.5
LEAST_OVERLAP = 60
#: Recorded as the oldest change when a symbol's first bars are stored.
EVERYTHING = datetime(1970, 1, 1, tzinfo=UTC)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class IngestReport:
    """What became of the rows of some files: read = inserted + corrected + unchanged + quarantined."""

    symbol: str
    files: tuple[str, ...]
    rows_read: int
    inserted: int
    corrected: int
    unchanged: int
    quarantined: int
    reasons: dict[str, int]


def ingest(
    database: Database,
    symbol: str,
    paths: Sequence[Path],
    now: datetime,
    *,
    accept_corrections: bool = False,
    memory_limit: str = MEMORY_LIMIT,
    progress: Progress = lambda _: None,
) -> IngestReport:
    """Store the bars of files and folders; refused rows go to `quarantined_bar` with their reason.

    One transaction: on any error nothing changes. The same file twice changes nothing; a bar with other values
    replaces the stored one. Raises PriceFileError when a file cannot be read, or when it contradicts most of the
    stored bars that it overlaps and `accept_corrections` is not set.
    """
    started_at = datetime.now(UTC)
    progress(f"reading {len(paths)} path(s)")
    with staged(paths, now, memory_limit=memory_limit) as bars:
        progress(f"{bars.accepted:,} bars read, {bars.refused:,} rows refused; storing")
        with database.connect("ingest", Role.PIPELINE) as connection:
            connection.execute(query("create_symbol_partitions"), [symbol])
            connection.commit()  # or other symbols' ingestions would wait for this one's end
            connection.execute(query("lock_symbol"), ["strikecast.ingest", symbol])
            row = connection.execute(query("has_bars"), [symbol]).fetchone()
            if row is not None and row[0]:
                inserted, corrected, first_changed_at = _merge(connection, symbol, bars, accept_corrections)
            else:
                _copy_bars(connection, "copy_price_history_in", symbol, bars)
                inserted, corrected, first_changed_at = bars.accepted, 0, EVERYTHING if bars.accepted else None
            _quarantine(connection, symbol, bars)
            connection.execute(query("analyze_symbol"), [symbol])
            report = IngestReport(
                symbol=symbol,
                files=tuple(file.name for file in bars.files),
                rows_read=bars.accepted + bars.refused,
                inserted=inserted,
                corrected=corrected,
                unchanged=bars.accepted - inserted - corrected,
                quarantined=bars.refused,
                reasons=bars.reasons(),
            )
            connection.execute(
                query("record_ingestion"),
                {
                    "symbol": symbol,
                    "files": list(report.files),
                    "rows_read": report.rows_read,
                    "inserted": inserted,
                    "corrected": corrected,
                    "unchanged": report.unchanged,
                    "quarantined": report.quarantined,
                    "started_at": started_at,
                    "first_changed_at": first_changed_at,
                },
            )
    return report


def _merge(
    connection: Connection, symbol: str, bars: StagedBars, accept_corrections: bool
) -> tuple[int, int, datetime | None]:
    connection.execute(query("create_incoming_bar"))
    _copy_bars(connection, "copy_incoming_bar_in", symbol, bars)
    connection.execute(query("analyze_incoming_bar"))
    row = connection.execute(query("compare_incoming_bars"), [symbol]).fetchone()
    assert row is not None
    inserted, corrected, other_close, total, first_changed_at = row
    overlap = total - inserted
    if overlap >= LEAST_OVERLAP and other_close > MOST_CORRECTED * overlap and not accept_corrections:
        raise PriceFileError(
            f"{', '.join(file.name for file in bars.files)} contradicts {other_close:,} of the {overlap:,} stored "
            f"{symbol} closes it overlaps{_shift_hint(connection, symbol)}; nothing was stored. Is it another time "
            "zone, symbol or exchange? `strikecast ingest --accept-corrections` stores it all the same"
        )
    connection.execute(query("merge_incoming_bars"))
    return inserted, corrected, first_changed_at


def _shift_hint(connection: Connection, symbol: str) -> str:
    row = connection.execute(query("best_shift_of_incoming"), [symbol]).fetchone()
    if row is None or row[0] == 0 or row[1] < MOST_CORRECTED:
        return ""
    return f", but {float(row[1]):.0%} agree when moved by {row[0]:+d} h"


def _copy_bars(connection: Connection, statement: str, symbol: str, bars: StagedBars) -> None:
    with connection.cursor().copy(query(statement)) as copy:
        copy.write(HEADER)
        for block in bars.blocks():
            copy.write(_encode(symbol, block))
        copy.write(TRAILER)


def _encode(symbol: str, block: BarBlock) -> bytes:
    columns = [text_constant(symbol, len(block.minutes)), timestamptz_of_minutes(block.minutes)]
    return encode_rows([*columns, *(float8(np.asarray(values)) for values in block.values)])


def _quarantine(connection: Connection, symbol: str, bars: StagedBars) -> None:
    if not bars.refused:
        return
    connection.execute(query("create_incoming_refusal"))
    with connection.cursor().copy(query("copy_incoming_refusal_in")) as copy:
        for refused in bars.refused_rows():
            copy.write_row((refused.file_sha256, refused.source_row, refused.reason, refused.file_name, refused.raw))
    connection.execute(query("merge_incoming_refusals"), [symbol])
