"""The distribution of the closing price: its quantiles, the curve of the page, and strikes chosen by probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from pipelines.domain.models.probability import Reading
from pipelines.domain.models.uncertainty import wilson_interval_pct
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.decimals import price_decimals, step_decimals

#: Percent of closes at or below each quantile.
QUANTILES_PCT = (5, 25, 50, 75, 95)
STRIKES_PCT = (1, *range(5, 100, 5), 99)
_TAIL_PCT = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4)
CURVE_PCT = (*_TAIL_PCT, *range(5, 96, 3), *(100 - level for level in reversed(_TAIL_PCT)))
_CURVE: Floats = np.array(CURVE_PCT, dtype=np.float64)
#: Distances from the price at which the distribution is read; 240 a side keep quantiles within 0.02 points of exact.
_DISTANCES_BPS = np.geomspace(0.01, 5_000.0, 240)
_MOVES = np.concatenate([-_DISTANCES_BPS[::-1], _DISTANCES_BPS]) / 10_000.0


@dataclass(frozen=True)
class Distribution:
    """P(close at or above a price), falling in the price; empty where nothing is known or the table does not reach.

    `independent`: float64[n], independent outcomes behind each probability, NaN where unknown.
    """

    prices_usd: Floats
    at_or_above_pct: Floats
    independent: Floats

    @classmethod
    def of(cls, price_usd: float, prices: Floats, reading: Reading) -> "Distribution":
        """From a reading at `prices` (rising), seen from the price.

        A close at exactly the price counts for both sides; there the two sides meet in the middle.
        """
        chance = at_or_above(price_usd, prices, reading)
        usable = ~(np.isnan(chance) | reading.clamped)
        chance = chance[usable]
        falling = (np.minimum.accumulate(chance) + np.maximum.accumulate(chance[::-1])[::-1]) / 2
        return cls(prices[usable], falling, reading.independent[usable])

    def quantiles_usd(self, percents: Sequence[float] | Floats) -> Floats:
        """The prices below which the hour closes with these probabilities; NaN where the table does not reach."""
        if not len(self.prices_usd):
            return np.full(len(percents), np.nan)
        above = 100.0 - np.asarray(percents, dtype=np.float64)
        rising, prices = self.at_or_above_pct[::-1], self.prices_usd[::-1]
        return np.interp(above, rising, prices, left=np.nan, right=np.nan)

    def strikes_usd(self, step_usd: float) -> Floats:
        """The quantiles of STRIKES_PCT as multiples of `step_usd`, rising; fewer where they coincide or are unknown."""
        quantiles = self.quantiles_usd(STRIKES_PCT)
        steps = np.unique(np.rint(quantiles[~np.isnan(quantiles)] / step_usd))
        return (steps * step_usd).round(step_decimals(step_usd))

    @property
    def _decimals(self) -> int:
        """Decimals of the price in the middle."""
        return price_decimals(float(self.prices_usd[len(self.prices_usd) // 2]))

    def quantile_rows(self) -> list[dict[str, float | None]]:
        """The quantiles of QUANTILES_PCT as the live JSON has them; empty where nothing is known."""
        prices = self.quantiles_usd(QUANTILES_PCT)
        if np.isnan(prices).all():
            return []
        rows = zip(QUANTILES_PCT, prices.round(self._decimals).tolist(), strict=True)
        return [{"percent": percent, "price": None if isnan(price) else price} for percent, price in rows]

    def curve_rows(self) -> list[dict[str, Any]]:
        """The curve as the live JSON has it, lowest price first, with the 95 % interval of each point."""
        prices = self.quantiles_usd(_CURVE)
        known = ~np.isnan(prices)
        if not known.any():
            return []
        chance = 100.0 - _CURVE[known]
        low, high = wilson_interval_pct(chance, np.interp(prices[known], self.prices_usd, self.independent))
        shown = prices[known].round(self._decimals)
        columns = (column.tolist() for column in (shown, chance.round(2), low.round(2), high.round(2)))
        return [
            {"price": price, "at_or_above": above, "low": None, "high": None}
            if isnan(least)
            else {"price": price, "at_or_above": above, "low": least, "high": most}
            for price, above, least, most in zip(*columns, strict=True)
        ]


def prices_around(centre_usd: float) -> Floats:
    """The prices at which a model is read for its distribution, rising, most of them near the centre."""
    return centre_usd * (1.0 + _MOVES)


def at_or_above(price_usd: float, strikes_usd: Floats, reading: Reading) -> Floats:
    """P(close at or above each strike) in percent, from P(close at or past it, seen from the price)."""
    return np.where(strikes_usd > price_usd, reading.beyond, 100.0 - reading.beyond)
