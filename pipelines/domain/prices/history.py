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

Result = TypeVar("Result")


@dataclass(frozen=True)
class MarketHistory:
    """`scaled`: float64[n], closes x `scale` as whole numbers, NaN where a minute is missing; `score`: float64[n],
    momentum as a fraction, NaN where undefined; `first_minute`: of the grid, since 1970-01-01 UTC.
    """

    first_minute: int
    scaled: Floats
    scale: int
    score: Floats
    #: Intermediate results that models share, under keys of their own.
    cache: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.scaled)

    @cached_property
    def log_close(self) -> Floats:
        """Logarithms of the closes in USD."""
        return np.log(self.scaled / self.scale)

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
        return MarketHistory(self.first_minute, self.scaled[:n], self.scale, self.score[:n])

    def closes(self) -> Closes:
        """Closes of the bars that exist."""
        rows = np.flatnonzero(~np.isnan(self.scaled))
        return Closes(self.first_minute + rows, self.scaled[rows], self.scale)


def market_history(closes: Closes, momentum: Momentum) -> MarketHistory:
    """Place closes and their momentum on the minute grid."""
    grid, rows = closes.on_grid()
    score = np.full(len(grid), np.nan)
    score[rows] = momentum.score_pct / PERCENT_PER_UNIT
    return MarketHistory(int(closes.minutes[0]), grid, closes.scale, score)
