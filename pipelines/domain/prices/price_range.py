"""Variance of a minute from its high and low (Parkinson 1980), from bars and from ticks.

The path of a minute starts at the close of the minute before, which therefore counts as one of its prices. For a
Brownian path the mean of ln(high / low)^2 is 4 ln 2 times the variance. Each extreme of n equally spaced prices of the
path lies 0.5826 / sqrt(n) standard deviations inside that of the whole path on average (Chernoff 1965; Broadie,
Glasserman and Kou 1997).

The range of real bars is smaller too, as if they had few prices: 11 per minute of BTC in the year to 2025-07-16, 26 of
ETH. The range ratio of a symbol measures this: the variance by range over the squared return. It turns squared returns
into what a range would be on average, and ticks are corrected only as far as they miss prices that bars have.
"""

from dataclasses import dataclass
from math import inf, log, pi, sqrt

import numpy as np

from pipelines.domain.prices.bars import Floats

#: Mean of the squared log range over the variance.
MEAN_SQUARED_RANGE = 4.0 * log(2.0)
#: Mean of the log range over the standard deviation.
MEAN_RANGE = sqrt(8.0 / pi)
#: -zeta(1/2) / sqrt(2 pi)
EXTREME_SHORTFALL = 0.5825971579390106
#: With fewer ticks the range says little, and the correction reaches a third of the variance.
MIN_TICKS = 20
MINUTES_PER_BLOCK = 60


@dataclass(frozen=True)
class PriceRange:
    """Highest and lowest price in USD of a minute, or of its elapsed part; `ticks`: infinite for a bar."""

    high: float
    low: float
    ticks: float = inf

    @classmethod
    def of_tick(cls, price: float) -> "PriceRange":
        """The range of one tick."""
        return cls(price, price, 1)

    def extended(self, later: "PriceRange") -> "PriceRange":
        """The range of both together."""
        return PriceRange(max(self.high, later.high), min(self.low, later.low), self.ticks + later.ticks)

    def root_variance(self, previous_close: float, range_ratio: float) -> float:
        """Root of the variance by this range, as by that of a bar; 0 when the range is not usable.

        Not usable are a range of fewer than MIN_TICKS ticks, and one whose high and low are equal.
        """
        if self.ticks < MIN_TICKS or not self.high > self.low:
            return 0.0
        log_range = log(max(self.high, previous_close)) - log(min(self.low, previous_close))
        return log_range * sqrt(tick_correction(self.ticks, range_ratio) / MEAN_SQUARED_RANGE)


def tick_correction(ticks: float, range_ratio: float) -> float:
    """Mean squared log range of a bar over that of `ticks` prices of the same minute.

    For a Brownian path, whose ratio is 1, exact to 3 % from 20 ticks on and to 1 % from 60. A path that moves m times
    is taken for a Brownian one with m prices, of which n ticks leave as many as 1 / (1 / m + 1 / n).
    """
    spacing = _spacing(range_ratio)
    return _mean_squared_range(spacing) / _mean_squared_range(spacing + 1.0 / ticks)


def fit_range_ratio(log_closes: Floats, log_extremes: Floats | None) -> float:
    """Median over hours of the variance by range over that by returns; 1 without usable ranges.

    Arguments as in `volatility.track_volatility`.
    """
    if log_extremes is None:
        return 1.0
    previous, (high, low) = np.concatenate([[np.nan], log_closes[:-1]]), log_extremes
    known = (high > low) & ~np.isnan(log_closes - previous)
    by_return = np.where(known, np.square(log_closes - previous), 0.0)
    by_range = np.where(known, np.square(np.maximum(high, previous) - np.minimum(low, previous)), 0.0)
    end = len(log_closes) // MINUTES_PER_BLOCK * MINUTES_PER_BLOCK
    returns, ranges = (each[:end].reshape(-1, MINUTES_PER_BLOCK).sum(axis=1) for each in (by_return, by_range))
    ratios = ranges[returns > 0.0] / returns[returns > 0.0] / MEAN_SQUARED_RANGE
    return float(np.median(ratios)) if len(ratios) else 1.0


def _mean_squared_range(spacing: float) -> float:
    """Mean of the squared log range over the variance of a Brownian path, of prices this part of a minute apart."""
    shortfall = 2.0 * EXTREME_SHORTFALL * sqrt(spacing)
    return MEAN_SQUARED_RANGE - 2.0 * MEAN_RANGE * shortfall + shortfall**2


def _spacing(range_ratio: float) -> float:
    """Part of a minute between the prices of a Brownian path with this range ratio: 0 from a ratio of 1 on."""
    missing = MEAN_SQUARED_RANGE * (1.0 - min(range_ratio, 1.0))
    shortfall = MEAN_RANGE - sqrt(max(MEAN_RANGE**2 - missing, 0.0))
    return min(shortfall / (2.0 * EXTREME_SHORTFALL), 1.0) ** 2
