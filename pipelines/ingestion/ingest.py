"""Store bars in `historical_data.price_history`: incremental, idempotent, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from pipelines.domain.prices import series_checks
from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import StagedBars, stage_candles, stage_price_files
from pipelines.ingestion.understanding import Expectation, FileSummary, refusal
from pipelines.log import Log, heartbeat
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices import incoming_bars
from pipelines.storage.prices.history import Candle
from pipelines.storage.prices.incoming_bars import Comparison, StoredRange

#: A source that contradicts a larger share of the stored closes it overlaps is likely to be in another time zone, or of
#: another symbol or exchange; corrections affect a few bars.
MAX_CORRECTED_SHARE = 0.5
MIN_OVERLAP = 60
#: Minutes compared with other symbols, the newest common ones.
COMPARED_MINUTES = 20_000
#: Other symbols whose returns are compared: a few show a wrong clock, and all of 200 would take ten seconds.
COMPARED_SYMBOLS = 8
#: Recorded as the oldest change when a symbol's first bars are stored.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class IngestReport:
    """Row counts of an ingestion: read = inserted + corrected + unchanged + quarantined + absent + repeated +
    archived.

    `absent`: rows of minutes without trades; `repeated`: rows equal to an earlier one; `archived`: bars of archived
    months, which are not read back; `reasons`: quarantined rows by reason. Times are aware UTC. `gaps`: minutes missing
    between the first and last bar of the source. `summaries`: what each file was understood as; `skipped`: files left
    out, with the reason.
    """

    symbol: str
    files: tuple[str, ...]
    rows_read: int
    inserted: int
    corrected: int
    unchanged: int
    quarantined: int
    absent: int
    repeated: int
    archived: int
    reasons: dict[str, int]
    first_bar_at: datetime | None = None
    last_bar_at: datetime | None = None
    gaps: int = 0
    summaries: tuple[FileSummary, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        skipped = [{"name": name, "reason": reason} for name, reason in self.skipped]
        return {**orjson.loads(orjson.dumps(self)), "skipped": skipped}


def ingest(
    database: Database,
    symbol: str,
    paths: Sequence[Path],
    now: datetime,
    *,
    time_zone: str | None = None,
    accept_symbol: bool = False,
    known_symbols: Sequence[str] = (),
    accept_corrections: bool = False,
    skip_minutes: Sequence[tuple[datetime, datetime]] = (),
    log: Log = lambda _: None,
) -> IngestReport:
    """Store the bars of files and folders; rows that fail validation go to `quarantined_bar` with their reason.

    Runs in one transaction. Ingesting a file twice changes nothing; a bar with other values replaces the stored one.
    Raises PriceFileError when a file cannot be read as the symbol's one-minute bars, or contradicts stored bars: most
    of those it overlaps, the level of those next to it, or the returns of another symbol; `accept_corrections` stores
    it anyway.
    `time_zone`, `accept_symbol`, `known_symbols`: see `Expectation`; `skip_minutes`: ranges [first,
    after) that are left out, such as archived months.
    """
    started_at = datetime.now(UTC)
    log(f"reading {len(paths)} path(s)")
    expected = Expectation(symbol, time_zone, accept_symbol, tuple(known_symbols))
    with heartbeat(log) as doing, stage_price_files(paths, now, expected, skip=skip_minutes, doing=doing) as bars:
        doing(f"storing {bars.accepted:,} bars")
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
        stored = incoming_bars.begin(connection, symbol)
        has_bars = stored is incoming_bars.Stored.BARS
        if bars.summaries and bars.accepted and not accept_corrections:
            _check_against_stored(connection, symbol, bars, has_bars=has_bars)
        if has_bars:
            changes = _merge(connection, symbol, bars, accept_corrections)
        else:
            incoming_bars.insert_first(connection, symbol, bars.blocks(), stored)
            changes = Comparison(bars.accepted, 0, 0, 0.0, bars.accepted, BEGINNING if bars.accepted else None)
        if bars.quarantined:
            incoming_bars.quarantine(connection, symbol, bars.quarantined_rows())
        files = tuple(source.name for source in bars.sources)
        counts = {
            "rows_read": bars.rows,
            "inserted": changes.inserted,
            "corrected": changes.corrected,
            "unchanged": bars.accepted - changes.inserted - changes.corrected,
            "quarantined": bars.quarantined,
            "absent": bars.absent,
            "repeated": bars.repeated,
            "archived": bars.archived,
        }
        incoming_bars.record(connection, symbol, files, counts, started_at, changes.first_changed_at)
    return IngestReport(
        symbol,
        files,
        **counts,
        reasons=bars.reasons,
        first_bar_at=bars.first_bar_at,
        last_bar_at=bars.last_bar_at,
        gaps=bars.gaps,
        summaries=bars.summaries,
        skipped=bars.skipped,
    )


def symbols_to_compare(others: Sequence[StoredRange], close: float, at: datetime) -> list[StoredRange]:
    """The first COMPARED_SYMBOLS, whose returns show a wrong clock, and all whose price may be the one at `at`."""
    return [
        other
        for place, other in enumerate(others)
        if place < COMPARED_SYMBOLS
        or series_checks.is_price_level_of(close, other.near_close, (at - other.near_at) / timedelta(days=1))
    ]


def _check_against_stored(connection: Connection, symbol: str, bars: StagedBars, *, has_bars: bool) -> None:
    """Raise PriceFileError when stored bars of this or another symbol show a wrong symbol or clock."""
    assert bars.first_bar_at is not None
    assert bars.last_bar_at is not None
    names = ", ".join(source.name for source in bars.sources)
    anyway = "`--accept-corrections` stores it anyway"
    if has_bars:
        near = incoming_bars.nearest_close(connection, symbol, bars.first_bar_at, bars.last_bar_at)
        if near is not None:
            close = bars.close_at(bars.first_bar_at if near.opened_at < bars.first_bar_at else bars.last_bar_at)
            between = min(abs(near.opened_at - bars.first_bar_at), abs(near.opened_at - bars.last_bar_at))
            if not series_checks.is_price_level_of(close, near.close, between / timedelta(days=1)):
                raise refusal(
                    names,
                    f"its close of {close:g} is not at the level of the stored {symbol} close of {near.close:g} at "
                    f"{near.opened_at:%Y-%m-%d %H:%M}",
                    f"Check the symbol and the currency; {anyway}",
                )
    others = incoming_bars.symbols_between(connection, symbol, bars.first_bar_at, bars.last_bar_at)
    for other in symbols_to_compare(others, bars.close_at(bars.last_bar_at), bars.last_bar_at):
        first = max(bars.first_bar_at, other.first_bar_at)
        last = min(bars.last_bar_at, other.last_bar_at)
        first = max(first, last - timedelta(minutes=COMPARED_MINUTES))
        minutes, closes = bars.closes(first, last)
        margin = timedelta(hours=14)
        other_minutes, other_closes = incoming_bars.closes_between(
            connection, other.symbol, first - margin, last + margin
        )
        if series_checks.is_same_price(minutes, closes, other_minutes, other_closes):
            raise refusal(names, f"its closes are those of {other.symbol}", f"Ingest it for {other.symbol}; {anyway}")
        shift = series_checks.clock_shift(minutes, closes, other_minutes, other_closes)
        if shift is not None:
            raise refusal(
                names,
                f"its returns agree with those of {other.symbol} when its times are moved by {shift} "
                f"(correlation {shift.correlation:.2f}, {shift.unshifted:.2f} as they are)",
                f"Name the clock with --time-zone; {anyway}",
            )


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
    is_other_level = found.mean_log_difference > series_checks.MAX_LEVEL_DIFFERENCE
    if found.conflicting_closes and is_other_level and not accept_corrections:
        raise refusal(
            ", ".join(source.name for source in bars.sources),
            f"its closes are not at the level of the stored {symbol} closes of the same minutes",
            "Check the symbol and the currency; `--accept-corrections` stores it anyway",
        )
    incoming_bars.merge(connection, symbol)
    return found
