"""Bars of one symbol; closes are scaled to whole numbers so that comparisons with thresholds are exact."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SECONDS_PER_MINUTE = 60
MINUTES_PER_DAY = 1440
MINUTES_PER_WEEK = 7 * MINUTES_PER_DAY
MAX_DECIMALS = 8
#: Moves of scaled prices up to this size are compared exactly (see `fingerprint`): 2**53 / 200 bps is ten times this.
MAX_SCALED_PRICE = 4.5e12


def instant_of_minute(minute: int) -> datetime:
    """The start of a minute since 1970-01-01, aware UTC."""
    return datetime.fromtimestamp(minute * SECONDS_PER_MINUTE, UTC)


def minute_of_instant(instant: datetime) -> int:
    """The minute since 1970-01-01 UTC in which an aware instant lies."""
    return int(instant.timestamp()) // SECONDS_PER_MINUTE


@dataclass(frozen=True)
class Closes:
    """Closes of one symbol, oldest first.

    `minutes`: int64[n], open times in minutes since 1970-01-01 UTC, strictly increasing; missing minutes are absent.
    `scaled`: float64[n], close x `scale`, whole numbers. `scale`: a power of ten, USD -> whole numbers.
    """

    minutes: Ints
    scaled: Floats
    scale: int

    def __len__(self) -> int:
        return len(self.minutes)

    @property
    def usd(self) -> Floats:
        """Closes in USD."""
        return self.scaled / self.scale

    def up_to(self, minute: int) -> "Closes":
        """Those of the bars that open by a minute since 1970."""
        n = int(np.searchsorted(self.minutes, minute, side="right"))
        return Closes(self.minutes[:n], self.scaled[:n], self.scale)

    def on_grid(self) -> tuple[Floats, Ints]:
        """Scaled closes on a gapless minute grid, NaN where a minute is missing, and the grid index of each bar."""
        rows = self.minutes - self.minutes[0]
        grid = np.full(int(rows[-1]) + 1, np.nan)
        grid[rows] = self.scaled
        return grid, rows


def closes_from_usd(minutes: Ints, usd: Floats) -> Closes:
    """Scale closes by the smallest power of ten that makes all of them whole numbers.

    Raises ValueError for unsorted or repeated minutes, a price that is not finite and positive, and prices that are too
    large or have too many decimals to compare exactly.
    """
    if len(minutes) != len(usd):
        raise ValueError(f"{len(minutes)} minutes for {len(usd)} closes")
    if len(minutes) > 1 and not (np.diff(minutes) > 0).all():
        raise ValueError("minutes must be strictly increasing")
    if not (np.isfinite(usd) & (usd > 0)).all():
        raise ValueError("closes must be finite and positive")
    for decimals in range(MAX_DECIMALS + 1):
        scale = 10**decimals
        scaled = np.rint(usd * scale)
        if np.array_equal(scaled / scale, usd):
            break
    else:
        finest = usd[scaled / scale != usd][0]
        raise ValueError(f"close {finest!r} has more than {MAX_DECIMALS} decimals and cannot be compared exactly")
    if len(usd) and scaled.max() > MAX_SCALED_PRICE:
        raise ValueError(f"close {usd.max()} with {decimals} decimals is too large for exact comparison")
    return Closes(minutes, scaled, scale)


@dataclass(frozen=True)
class BarBlock:
    """A block of bars in chronological order.

    `minutes`: int64[n] since 1970-01-01 UTC; `values`: float64[5, n]: open, high, low, close in USD, volume in coins.
    """

    minutes: Ints
    values: Floats


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that failed validation; `raw` is its content as JSON text."""

    file_sha256: str
    file_name: str
    source_row: int
    reason: str
    raw: str
