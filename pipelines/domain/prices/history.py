"""One symbol's history on a gapless minute grid, as models see it: at any instant only what had happened."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipelines.domain.prices.bars import Closes, Floats
from pipelines.domain.prices.momentum import PERCENT_PER_UNIT, Momentum


@dataclass(frozen=True)
class MarketHistory:
    """`scaled`: float64[n], closes x `scale` as whole numbers, NaN where a minute is missing; `score`: float64[n],
    momentum as a fraction, NaN where there is none; `first_minute`: of the grid, since 1970 UTC.
    """

    first_minute: int
    scaled: Floats
    scale: int
    score: Floats
    #: What models computed on the way and share; keyed by their own names.
    cache: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.scaled)

    @cached_property
    def log_close(self) -> Floats:
        """Logs of the closes in USD."""
        return np.log(self.scaled / self.scale)

    @property
    def end(self) -> int:
        """The instant of the last close."""
        return self.first_minute + len(self)

    def closed_rows(self, instant: int) -> int:
        """Rows of the grid that had closed at `instant`."""
        return min(max(0, instant - self.first_minute), len(self))

    def until(self, instant: int) -> "MarketHistory":
        """What was known at `instant`."""
        n = self.closed_rows(instant)
        return MarketHistory(self.first_minute, self.scaled[:n], self.scale, self.score[:n])

    def closes(self) -> Closes:
        """The bars that are there."""
        rows = np.flatnonzero(~np.isnan(self.scaled))
        return Closes(self.first_minute + rows, self.scaled[rows], self.scale)


def market_history(closes: Closes, momentum: Momentum) -> MarketHistory:
    """History of bars and of their momentum."""
    grid, rows = closes.on_grid()
    score = np.full(len(grid), np.nan)
    score[rows] = momentum.score_pct / PERCENT_PER_UNIT
    return MarketHistory(int(closes.minutes[0]), grid, closes.scale, score)
