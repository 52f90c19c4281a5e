"""Read and write the price history of symbols: bars, momentum, gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import numpy as np
import numpy.typing as npt
from psycopg import sql
from psycopg.abc import Params

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.invariants import Gap
from pipelines.domain.prices.bars import Closes, closes_from_usd, instant_of_minute, minute_of_instant
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import Momentum, compute_momentum
from pipelines.domain.prices.outliers import OUTLIER_CHANGE
from pipelines.errors import BuildError, NoDataError
from pipelines.storage.postgres.binary_copy import (
    decode_array,
    encode_rows,
    float8,
    int2,
    minutes_of_timestamptz,
    open_copy,
    text_constant,
    timestamptz_of_minutes,
)
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)

COPY_ROWS = 262_144

#: Start of the minute (aware UTC), open, high, low, close in USD, volume in coins.
Candle = tuple[datetime, float, float, float, float, float]


@dataclass(frozen=True)
class Bar:
    """Start of the minute (UTC), and its open and close in USD."""

    opened_at: datetime
    open: float
    close: float


@dataclass(frozen=True)
class BarSummary:
    """Number of a symbol's bars, and start of the first and last (UTC; None without bars)."""

    bars: int
    first_bar_at: datetime | None
    last_bar_at: datetime | None


@dataclass(frozen=True)
class BarRange:
    """Start of a symbol's first and last bar, UTC; None without bars."""

    first_bar_at: datetime | None
    last_bar_at: datetime | None


@dataclass(frozen=True)
class MomentumReport:
    """Rows of `momentum` after a write, and the numbers of rows written and deleted."""

    rows: int
    written: int
    deleted: int


def analyze_symbol(connection: Connection, symbol: str, changed_rows: int) -> None:
    """Update the statistics of the symbol's partitions, if a twentieth of the bars or more changed.

    It takes 0.4 s, and after a day of new bars the statistics are still those of nearly all rows.
    """
    connection.execute(SQL["analyze_symbol"], {"symbol": symbol, "changed_rows": changed_rows})


def summarize_bars(connection: Connection, symbol: str) -> BarSummary:
    """Count and range of a symbol's bars."""
    return read_rows(connection, BarSummary, SQL["bar_summary"], [symbol])[0]


def bar_range(connection: Connection, symbol: str) -> BarRange:
    """Range of a symbol's bars, without counting them, which takes 0.15 s for five years."""
    return read_rows(connection, BarRange, SQL["bar_range"], [symbol])[0]


def newest_bar_at(connection: Connection, symbol: str) -> datetime | None:
    """Start of the newest bar's minute, UTC."""
    row = connection.execute(SQL["newest_bar"], [symbol]).fetchone()
    return None if row is None else row[0]


def read_closes(connection: Connection, symbol: str, since_minute: int = 0) -> Closes:
    """Closes of a symbol, oldest first, of the bars that open at or after a minute since 1970-01-01 UTC.

    Raises NoDataError when there are none, and BuildError when they cannot be compared exactly.
    """
    parameters = [symbol, instant_of_minute(max(since_minute, 0))]
    opened_at, usd = read_arrays(connection, SQL["closes_as_arrays"], parameters, (">i8", ">f8"))
    return _closes(symbol, opened_at, usd)


def read_market_history(
    connection: Connection, symbol: str, config: ModelConfig, since_minute: int = 0
) -> MarketHistory:
    """Bars of a symbol with their momentum, from a minute since 1970-01-01 UTC on. Raises as `read_closes` does."""
    parameters = [symbol, instant_of_minute(max(since_minute, 0))]
    payloads = (">i8", ">f8", ">f8", ">f8")
    opened_at, usd, high, low = read_arrays(connection, SQL["bars_as_arrays"], parameters, payloads)
    closes = _closes(symbol, opened_at, usd)
    return market_history(closes, compute_momentum(closes, config), np.array([high, low], dtype=np.float64))


def _closes(symbol: str, opened_at: npt.NDArray[np.generic], usd: npt.NDArray[np.generic]) -> Closes:
    if not len(usd):
        raise NoDataError(
            f"{symbol} has no bars: run `strikecast ingest {symbol} PATH` or `strikecast sample {symbol}`"
        )
    try:
        return closes_from_usd(minutes_of_timestamptz(opened_at), usd.astype(np.float64))
    except ValueError as error:
        raise BuildError(f"{symbol}: {error}") from error


def closes_between(connection: Connection, symbol: str, since: datetime, until: datetime) -> Closes | None:
    """Closes of the bars that open from `since` up to `until` (aware, whole minutes), oldest first; None if none."""
    rows = connection.execute(SQL["closes_between"], [symbol, since, until]).fetchall()
    if not rows:
        return None
    minutes, usd = zip(*((minute_of_instant(opened_at), close) for opened_at, close in rows), strict=True)
    return closes_from_usd(np.array(minutes, dtype=np.int64), np.array(usd))


def close_at(connection: Connection, symbol: str, opened_at: datetime) -> float | None:
    """Close of the bar that opens at an instant (aware)."""
    row = connection.execute(SQL["close_at"], [symbol, opened_at]).fetchone()
    return None if row is None else float(row[0])


def newest_bar_before(connection: Connection, symbol: str, minute: int) -> int | None:
    """The newest minute with a bar before a minute (since 1970-01-01 UTC); None when there is none."""
    row = connection.execute(SQL["bar_before"], [symbol, instant_of_minute(minute)]).fetchone()
    return None if row is None else minute_of_instant(row[0])


def write_momentum(
    connection: Connection, symbol: str, closes: Closes, momentum: Momentum, since_minute: int = 0
) -> MomentumReport:
    """Make `historical_data.momentum` equal to `momentum`, writing only rows that differ; requires a transaction.

    Rows before `since_minute` (since 1970-01-01 UTC) stay as they are, and are not counted. Bars without a score have
    no row. A score without a bucket (source profile) is stored with NO_BUCKET.
    """
    lock_symbol(connection, "strikecast.momentum", symbol)
    payloads = (">i8", ">f8", ">i2")
    parameters = [symbol, instant_of_minute(since_minute)]
    opened_at, stored_scores, stored_buckets = read_arrays(connection, SQL["momentum_as_arrays"], parameters, payloads)
    stored_minutes = minutes_of_timestamptz(opened_at)
    has_score = ~np.isnan(momentum.score_pct) & (closes.minutes >= since_minute)
    minutes, scores = closes.minutes[has_score], momentum.score_pct[has_score]
    buckets = momentum.buckets[has_score]
    present = np.isin(minutes, stored_minutes, assume_unique=True)
    at = np.searchsorted(stored_minutes, minutes[present])
    same = present.copy()
    same[present] = (stored_scores[at] == scores[present]) & (stored_buckets[at] == buckets[present])
    replaced, deleted = minutes[present & ~same], np.setdiff1d(stored_minutes, minutes, assume_unique=True)
    stale = np.concatenate([replaced, deleted])
    for first in range(0, len(stale), COPY_ROWS):
        instants = [instant_of_minute(minute) for minute in stale[first : first + COPY_ROWS].tolist()]
        connection.execute(SQL["delete_momentum"], [symbol, instants])
    changed = np.flatnonzero(~same)
    with open_copy(connection, SQL["copy_momentum_in"]) as copy:
        for first in range(0, len(changed), COPY_ROWS):
            part = changed[first : first + COPY_ROWS]
            columns = [text_constant(symbol, len(part)), timestamptz_of_minutes(minutes[part])]
            copy.write(encode_rows([*columns, float8(scores[part]), int2(buckets[part])]))
    analyze_symbol(connection, symbol, len(changed) + len(deleted))
    return MomentumReport(len(minutes), len(changed), len(deleted))


def latest_bars(connection: Connection, symbol: str, count: int) -> list[Bar]:
    """A symbol's newest bars, oldest first."""
    rows = connection.execute(SQL["latest_bars"], [symbol, count]).fetchall()
    return [Bar(*row) for row in reversed(rows)]


def missing_ranges(
    connection: Connection, symbol: str, since: datetime, until: datetime
) -> list[tuple[datetime, datetime]]:
    """Ranges of minutes without a bar in [since, until), each as [start, stop), aware UTC."""
    parameters = {"symbol": symbol, "since": since, "until": until}
    return [(row[0], row[1]) for row in connection.execute(SQL["missing_ranges"], parameters).fetchall()]


def bars_of_ticks(connection: Connection, symbol: str, since: datetime, until: datetime) -> list[Candle]:
    """Bars made from ticks in (since, until], replayed ticks excluded; volumes are zero, because ticks have none.

    Ticks that differ from their minute's median by more than OUTLIER_CHANGE are left out. Of the others, a minute needs
    some in its first and in its last quarter.
    """
    parameters = {"symbol": symbol, "since": since, "until": until, "outlier_change": OUTLIER_CHANGE}
    return connection.execute(SQL["bars_of_ticks"], parameters).fetchall()


def require_current_momentum(connection: Connection, symbol: str, momentum: Momentum, profile: Profile) -> None:
    """Raise NoDataError unless as many scores are stored as `momentum` has, with the same sum of buckets.

    Momentum is computed from the closes (0.17 s for five years) because reading it back takes 1.3 s; this summary takes
    0.25 s.
    """
    row = connection.execute(SQL["momentum_summary"], [symbol]).fetchone()
    has_score = ~np.isnan(momentum.score_pct)
    expected = int(has_score.sum()), int(momentum.buckets[has_score].sum(dtype=np.int64))
    if row != expected:
        raise NoDataError(
            f"{symbol}: stored momentum (scores, sum of buckets: {row}) is not that of the stored bars by profile "
            f"{profile} ({expected}): materialize `momentum`, or run `strikecast build {symbol}`"
        )


def read_gaps(connection: Connection, symbol: str) -> list[Gap]:
    """A symbol's gap report, oldest first."""
    rows = connection.execute(SQL["gaps"], [symbol]).fetchall()
    return [Gap(minute_of_instant(first), minute_of_instant(last)) for first, last in rows]


def write_gaps(connection: Connection, symbol: str, gaps: Sequence[Gap], since_minute: int = 0) -> None:
    """Replace a symbol's gap report from a minute since 1970-01-01 UTC on; requires a transaction."""
    connection.execute(SQL["delete_gaps"], [symbol, instant_of_minute(since_minute)])
    rows = [
        (symbol, *map(instant_of_minute, (gap.first_missing_minute, gap.last_missing_minute)), gap.missing_minutes)
        for gap in gaps
    ]
    connection.cursor().executemany(SQL["insert_gap"], rows)


def read_arrays(
    connection: Connection,
    statement: LiteralString | sql.Composed,
    parameters: Params | None,
    payloads: Sequence[str],
) -> list[npt.NDArray[np.generic]]:
    """The array columns of a statement's only row; `payloads`: numpy type of each in binary form. NULL is empty."""
    cursor = connection.cursor(binary=True)
    result = cursor.execute(statement, parameters).pgresult
    assert result is not None
    return [decode_array(result.get_value(0, i), payload) for i, payload in enumerate(payloads)]
