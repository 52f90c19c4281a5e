"""The markets of an event that are nearest to a price."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipelines.domain.markets.contracts import Market
from pipelines.domain.prices.bars import Floats


@dataclass(frozen=True)
class MarketBounds:
    """The bounds of markets: `lower`, `upper` float64[n] dollars, equal for markets with one bound."""

    tickers: tuple[str, ...]
    lower: Floats
    upper: Floats

    @classmethod
    def of(cls, markets: Iterable[Market]) -> Self:
        """The bounds of markets."""
        known = tuple(markets)
        bounds = [market.bounds_usd() for market in known]
        lower = [low if low is not None else high for low, high in bounds]
        upper = [high if high is not None else low for low, high in bounds]
        return cls(
            tuple(market.ticker for market in known), np.array(lower, dtype=np.float64), np.array(upper, np.float64)
        )

    def nearest(self, price_usd: float | None, count: int) -> tuple[str, ...]:
        """The tickers of at most `count` markets by the distance of their bounds to a price, nearest first.

        Between two bounds the distance is 0; of equal distances, the lower bound comes first. Without a price, those
        nearest to the middle of the ladder.
        """
        if not self.tickers:
            return ()
        price = np.median(self.lower) if price_usd is None else price_usd
        distances = np.maximum(np.maximum(self.lower - price, price - self.upper), 0.0)
        return tuple(self.tickers[index] for index in np.lexsort((self.lower, distances))[:count])
