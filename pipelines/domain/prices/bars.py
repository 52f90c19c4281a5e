"""One symbol's closes, in a form in which thresholds can be compared exactly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SECONDS_PER_MINUTE = 60
MAX_DECIMALS = 8
#: Up to here a move is compared with its threshold exactly (see `fingerprint`): 2**53 / 200 bps is ten times this.
MAX_SCALED_PRICE = 4.5e12


@dataclass(frozen=True)
class Closes:
    """Closes of one symbol, oldest first.

    `minutes`: int64[n], minutes since 1970-01-01 UTC of each bar's open, strictly rising; a missing minute is absent.
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

    def on_grid(self) -> tuple[Floats, Ints]:
        """Closes on a gapless minute grid (NaN where a minute is missing), and the grid index of each bar."""
        rows = self.minutes - self.minutes[0]
        grid = np.full(int(rows[-1]) + 1, np.nan)
        grid[rows] = self.scaled
        return grid, rows


def closes_from_usd(minutes: Ints, usd: Floats) -> Closes:
    """Closes as whole numbers, at the coarsest power of ten that holds every one of them exactly.

    Raises ValueError on unsorted or repeated minutes, on a price that is not finite and positive, and on prices that
    are too large or too fine to compare exactly.
    """
    if len(minutes) != len(usd):
        raise ValueError(f"{len(minutes)} minutes for {len(usd)} closes")
    if len(minutes) > 1 and not (np.diff(minutes) > 0).all():
        raise ValueError("minutes must rise strictly")
    if not (np.isfinite(usd) & (usd > 0)).all():
        raise ValueError("closes must be finite and positive")
    for decimals in range(MAX_DECIMALS + 1):
        scale = 10**decimals
        scaled = np.rint(usd * scale)
        if np.array_equal(scaled / scale, usd):
            break
    else:
        finest = usd[scaled / scale != usd][0]
        raise ValueError(f"close {finest!r} has more than {MAX_DECIMALS} decimals, which cannot be compared exactly")
    if len(usd) and scaled.max() > MAX_SCALED_PRICE:
        raise ValueError(f"close {usd.max()} with {decimals} decimals is beyond exact comparison")
    return Closes(minutes, scaled, scale)


@dataclass(frozen=True)
class BarBlock:
    """Bars in order of time.

    `minutes`: int64[n] since 1970-01-01 UTC; `values`: float64[5, n]: open, high, low, close in USD, volume in coins.
    """

    minutes: Ints
    values: Floats


@dataclass(frozen=True)
class QuarantinedRow:
    """A refused row, `raw` as JSON text."""

    file_sha256: str
    file_name: str
    source_row: int
    reason: str
    raw: str
