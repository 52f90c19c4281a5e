"""Price history of one symbol on a gapless minute grid, with access limited to what was known at an instant.

Instants are minutes since 1970-01-01 UTC. A bar that opens at minute m closes at instant m + 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

import numpy as np

from pipelines.domain.prices.bars import Closes, Floats
from pipelines.domain.prices.momentum import PERCENT_PER_UNIT, Momentum
from pipelines.domain.prices.volatility import (
    VolatilityParameters,
    VolatilityState,
    VolatilityTrack,
    track_volatility,
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class MarketHistory:
    """`scaled`: float64[n], closes x `scale` as whole numbers, NaN where a minute is missing; `score`: float64[n],
    momentum as a fraction, NaN where undefined; `first_minute`: of the grid, since 1970-01-01 UTC; `log_extremes`:
    float64[2, n], logs of highs and lows in USD, NaN where a minute is missing, None when they are not known.
    """

    first_minute: int
    scaled: Floats
    scale: int
    score: Floats
    log_extremes: Floats | None = None
    #: Intermediate results that models share, under keys of their own.
    cache: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.scaled)

    @cached_property
    def log_close(self) -> Floats:
        """Logarithms of the closes in USD."""
        return np.log(self.scaled / self.scale)

    def starting_at(self, minute: int) -> "MarketHistory":
        """The history on a grid that begins at an earlier `minute`, NaN before its first bar."""
        n = self.first_minute - minute
        scaled, score = (np.concatenate([np.full(n, np.nan), values]) for values in (self.scaled, self.score))
        extremes = self.log_extremes
        if extremes is not None:
            extremes = np.concatenate([np.full((2, n), np.nan), extremes], axis=1)
        return MarketHistory(minute, scaled, self.scale, score, extremes)

    def track(self, parameters: VolatilityParameters, before: VolatilityState | None = None) -> VolatilityTrack:
        """Volatility over the whole history, continued from `before`."""
        return track_volatility(self.log_close, self.first_minute, parameters, before, self.log_extremes)

    @property
    def end(self) -> int:
        """Instant of the last close."""
        return self.first_minute + len(self)

    def cached(self, key: object, compute: Callable[[], Result]) -> Result:
        """The result of `compute`, which runs once per history and key."""
        if key not in self.cache:
            self.cache[key] = compute()
        return cast(Result, self.cache[key])

    def closed_rows(self, instant: int) -> int:
        """Number of grid rows that had closed at `instant`."""
        return min(max(0, instant - self.first_minute), len(self))

    def until(self, instant: int) -> "MarketHistory":
        """The history as known at `instant`."""
        n = self.closed_rows(instant)
        extremes = None if self.log_extremes is None else self.log_extremes[:, :n]
        return MarketHistory(self.first_minute, self.scaled[:n], self.scale, self.score[:n], extremes)

    def closes(self) -> Closes:
        """Closes of the bars that exist."""
        rows = np.flatnonzero(~np.isnan(self.scaled))
        return Closes(self.first_minute + rows, self.scaled[rows], self.scale)


def market_history(closes: Closes, momentum: Momentum, extremes: Floats | None = None) -> MarketHistory:
    """Place closes, their momentum and, if known, highs and lows on the minute grid.

    `extremes`: float64[2, bars], highs and lows in USD.
    """
    grid, rows = closes.on_grid()
    score = np.full(len(grid), np.nan)
    score[rows] = momentum.score_pct / PERCENT_PER_UNIT
    log_extremes = None
    if extremes is not None:
        log_extremes = np.full((2, len(grid)), np.nan)
        log_extremes[:, rows] = np.log(extremes)
    return MarketHistory(int(closes.minutes[0]), grid, closes.scale, score, log_extremes)
