"""Store bars in `historical_data.price_history`: incremental, idempotent, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import StagedBars, stage_candles, stage_price_files
from pipelines.log import Log
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices import incoming_bars
from pipelines.storage.prices.history import Candle
from pipelines.storage.prices.incoming_bars import Comparison

#: A source that contradicts a larger share of the stored closes it overlaps is likely to be in another time zone, or of
#: another symbol or exchange; corrections affect a few bars.
MAX_CORRECTED_SHARE = 0.5
MIN_OVERLAP = 60
#: Recorded as the oldest change when a symbol's first bars are stored.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class IngestReport:
    """Row counts of an ingestion: read = inserted + corrected + unchanged + quarantined."""

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
    log: Log = lambda _: None,
) -> IngestReport:
    """Store the bars of files and folders; rows that fail validation go to `quarantined_bar` with their reason.

    Runs in one transaction. Ingesting a file twice changes nothing; a bar with other values replaces the stored one.
    Raises PriceFileError when a file cannot be read, or when it contradicts most of the stored bars that it overlaps
    and `accept_corrections` is not set.
    """
    started_at = datetime.now(UTC)
    log(f"reading {len(paths)} path(s)")
    with stage_price_files(paths, now) as bars:
        return _store(database, symbol, bars, started_at, log, accept_corrections=accept_corrections)


def ingest_candles(
    database: Database, symbol: str, name: str, candles: Sequence[Candle], now: datetime, log: Log = lambda _: None
) -> IngestReport:
    """Store candles held in memory, as `ingest` stores a file; `name` identifies them in records and quarantine."""
    started_at = datetime.now(UTC)
    with stage_candles(name, candles, now) as bars:
        return _store(database, symbol, bars, started_at, log, accept_corrections=False)


def _store(
    database: Database, symbol: str, bars: StagedBars, started_at: datetime, log: Log, *, accept_corrections: bool
) -> IngestReport:
    log(f"{bars.accepted:,} bars read, {bars.quarantined:,} rows quarantined; storing")
    with database.connect("ingest", Role.PIPELINE) as connection:
        if incoming_bars.begin(connection, symbol):
            changes = _merge(connection, symbol, bars, accept_corrections)
        else:
            incoming_bars.insert_first(connection, symbol, bars.blocks())
            changes = Comparison(bars.accepted, 0, 0, bars.accepted, BEGINNING if bars.accepted else None)
        if bars.quarantined:
            incoming_bars.quarantine(connection, symbol, bars.quarantined_rows())
        files = tuple(source.name for source in bars.sources)
        counts = {
            "rows_read": bars.accepted + bars.quarantined,
            "inserted": changes.inserted,
            "corrected": changes.corrected,
            "unchanged": bars.accepted - changes.inserted - changes.corrected,
            "quarantined": bars.quarantined,
        }
        incoming_bars.record(connection, symbol, files, counts, started_at, changes.first_changed_at)
    return IngestReport(symbol, files, **counts, reasons=bars.reasons())


def _merge(connection: Connection, symbol: str, bars: StagedBars, accept_corrections: bool) -> Comparison:
    found = incoming_bars.compare(connection, symbol, bars.blocks())
    contradicts = found.overlap >= MIN_OVERLAP and found.conflicting_closes > MAX_CORRECTED_SHARE * found.overlap
    if contradicts and not accept_corrections:
        hours, share = incoming_bars.best_shift(connection, symbol)
        hint = f", but {share:.0%} agree when moved by {hours:+d} h" if hours and share >= MAX_CORRECTED_SHARE else ""
        raise PriceFileError(
            f"{', '.join(source.name for source in bars.sources)} contradicts {found.conflicting_closes:,} of the "
            f"{found.overlap:,} stored {symbol} closes it overlaps{hint}; nothing was stored. Check the time zone, "
            "symbol and exchange of the file; `strikecast ingest --accept-corrections` stores it anyway"
        )
    incoming_bars.merge(connection)
    return found
