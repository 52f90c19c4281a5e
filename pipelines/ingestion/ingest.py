"""Price files into `historical_data.price_history`: incremental, idempotent, all or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import MEMORY_LIMIT, StagedBars, stage_price_files
from pipelines.log import Log
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices import incoming_bars

#: A file that contradicts more than this share of the stored closes it overlaps is taken for another time zone,
#: symbol or exchange; corrections touch a few bars.
MOST_CORRECTED = 0.5
LEAST_OVERLAP = 60
#: Recorded as the oldest change when a symbol's first bars are stored.
EVERYTHING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class IngestReport:
    """Counts of the rows of some files: read = inserted + corrected + unchanged + quarantined."""

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
    log: Log = lambda _: None,
) -> IngestReport:
    """Store the bars of files and folders; refused rows go to `quarantined_bar` with their reason.

    One transaction: on any error nothing changes. The same file twice changes nothing; a bar with other values
    replaces the stored one. Raises PriceFileError when a file cannot be read, or when it contradicts most of the
    stored bars that it overlaps and `accept_corrections` is not set.
    """
    started_at = datetime.now(UTC)
    log(f"reading {len(paths)} path(s)")
    with stage_price_files(paths, now, memory_limit=memory_limit) as bars:
        log(f"{bars.accepted:,} bars read, {bars.refused:,} rows refused; storing")
        with database.connect("ingest", Role.PIPELINE) as connection:
            return _store(connection, symbol, bars, started_at, accept_corrections=accept_corrections)


def _store(
    connection: Connection, symbol: str, bars: StagedBars, started_at: datetime, *, accept_corrections: bool
) -> IngestReport:
    if incoming_bars.begin(connection, symbol):
        inserted, corrected, first_changed_at = _merge(connection, symbol, bars, accept_corrections=accept_corrections)
    else:
        incoming_bars.insert_first(connection, symbol, bars.blocks())
        inserted, corrected, first_changed_at = bars.accepted, 0, EVERYTHING if bars.accepted else None
    if bars.refused:
        incoming_bars.quarantine(connection, symbol, bars.refused_rows())
    files = tuple(file.name for file in bars.files)
    counts = {
        "rows_read": bars.accepted + bars.refused,
        "inserted": inserted,
        "corrected": corrected,
        "unchanged": bars.accepted - inserted - corrected,
        "quarantined": bars.refused,
    }
    incoming_bars.record(connection, symbol, files, counts, started_at, first_changed_at)
    return IngestReport(symbol, files, **counts, reasons=bars.reasons())


def _merge(
    connection: Connection, symbol: str, bars: StagedBars, *, accept_corrections: bool
) -> tuple[int, int, datetime | None]:
    found = incoming_bars.compare(connection, symbol, bars.blocks())
    contradicts = found.overlap >= LEAST_OVERLAP and found.other_closes > MOST_CORRECTED * found.overlap
    if contradicts and not accept_corrections:
        hours, share = incoming_bars.best_shift(connection, symbol)
        hint = f", but {share:.0%} agree when moved by {hours:+d} h" if hours and share >= MOST_CORRECTED else ""
        raise PriceFileError(
            f"{', '.join(file.name for file in bars.files)} contradicts {found.other_closes:,} of the "
            f"{found.overlap:,} stored {symbol} closes it overlaps{hint}; nothing was stored. Is it another time "
            "zone, symbol or exchange? `strikecast ingest --accept-corrections` stores it all the same"
        )
    incoming_bars.merge(connection)
    return found.inserted, found.corrected, found.first_changed_at
