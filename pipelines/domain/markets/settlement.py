"""How a market settles, and what that means for a model of the price.

A market's value at its close is the last price, or the mean of the 60 one-second values before it. The models know the
distribution of a price at one instant. `Settlement` turns the question "is the market's value at or above K?" into "is
the price at or above K' after t seconds?", with the same mean and variance: everything that reads a model asks that.

With log-price variance s per second and T seconds to the close, r = ceil(T) of the 60 values are still open, the first
of them in T - (r - 1) seconds (all 60 earlier than a minute before the close). Their mean has variance
s (T - (r - 1) + (r - 1)(2 r - 1) / (6 r)): at 60 seconds or more s (T - 39.497). It must be at or above
(60 K - (60 - r) m) / r, with m the mean of the values that are known.

The index that a market settles on is our price times exp(basis).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, exp, isnan

import numpy as np

from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.momentum import BPS_PER_UNIT

#: One-second values of a mean.
VALUES = 60
#: The value of a second is the last price before its end, if it is not older than this.
MAX_VALUE_AGE_MS = 10_000
#: Significant digits of a mean. In binary, the mean of 60 equal prices was below their price for 37 % of random prices
#: in cents, and so below a strike that it is at.
MEAN_DIGITS = 12
MS_PER_SECOND = 1_000


class SettlementRule(StrEnum):
    """What a market's value at its close is."""

    LAST_PRICE = "last_price"
    MEAN_60S = "mean_60s"


#: The rule of hourly ladders.
DEFAULT_RULE = SettlementRule.MEAN_60S
#: What the markets of the exchange, and of the simulated one, settle on.
MARKET_RULE = SettlementRule.MEAN_60S


@dataclass(frozen=True)
class Settlement:
    """The settlement of a market, as far as it is known.

    `known_mean_usd`: mean of the values that are known, in our own prices; None: it is taken to be the current price.
    It matters in the last minute of MEAN_60S. `basis_bps`: the log of the index over our price, in basis points.
    """

    rule: SettlementRule = SettlementRule.LAST_PRICE
    known_mean_usd: float | None = None
    basis_bps: float = 0.0

    def effective_seconds(self, ttc_seconds: float) -> float:
        """The time after which the price itself has the variance that the market's value still has."""
        if self.rule is SettlementRule.LAST_PRICE or ttc_seconds <= 0:
            return ttc_seconds
        r = open_values(ttc_seconds)
        return ttc_seconds - (r - 1) + (r - 1) * (2 * r - 1) / (6 * r)

    def expected_usd(self, ttc_seconds: float, price_usd: float) -> float:
        """The market's value if the price stays where it is."""
        r = VALUES if self.rule is SettlementRule.LAST_PRICE else open_values(ttc_seconds)
        known = price_usd if self.known_mean_usd is None else self.known_mean_usd
        return (r * price_usd + (VALUES - r) * known) / VALUES * exp(self.basis_bps / BPS_PER_UNIT)

    def effective_strikes(self, strikes_usd: Floats, ttc_seconds: float, price_usd: float) -> Floats:
        """What the price must reach after `effective_seconds`.

        Zero or less where the market's value is certain to reach the strike, infinite where it is certain not to.
        """
        strikes = strikes_usd * exp(-self.basis_bps / BPS_PER_UNIT) if self.basis_bps else strikes_usd
        r = open_values(ttc_seconds)
        if self.rule is SettlementRule.LAST_PRICE or r == VALUES:
            return strikes
        known = price_usd if self.known_mean_usd is None else self.known_mean_usd
        if r == 0:
            return np.where(known >= strikes, 0.0, np.inf)
        return (VALUES * strikes - (VALUES - r) * known) / r


#: The price itself, as the models' tables have it.
LAST_PRICE = Settlement()


def open_values(ttc_seconds: float) -> int:
    """How many of the values of a mean are not known yet: 60 until a minute before the close, 0 at it."""
    return min(VALUES, max(0, ceil(ttc_seconds)))


@dataclass(frozen=True)
class KnownValues:
    """The values of a market's last minute whose seconds have ended.

    `due`: how many there are; `missing`: how many of them have no price; `mean_usd`: of the others, None without any.
    """

    due: int
    missing: int
    mean_usd: float | None

    @property
    def usable(self) -> bool:
        """Whether at least half of the values are there."""
        return 2 * self.missing <= self.due


def second_values(ticked_ms: Ints, prices_usd: Floats, close_ms: int) -> Floats:
    """The 60 values of the minute before a close: float64[60], NaN where unknown. The close itself is not in it.

    `ticked_ms`: int64[n], rising, milliseconds since 1970 UTC, as `close_ms`; `prices_usd`: float64[n].
    """
    ends = close_ms - MS_PER_SECOND * np.arange(VALUES - 1, -1, -1)
    newest = np.searchsorted(ticked_ms, ends, side="left") - 1
    if not len(ticked_ms):
        return np.full(VALUES, np.nan)
    known = (newest >= 0) & (ends - ticked_ms[newest] <= MAX_VALUE_AGE_MS)
    return np.where(known, prices_usd[newest], np.nan)


def known_values(ticked_ms: Ints, prices_usd: Floats, close_ms: int, ttc_seconds: float) -> KnownValues:
    """The values whose seconds have ended `ttc_seconds` before the close; arguments as in `second_values`."""
    due = VALUES - open_values(ttc_seconds)
    values = second_values(ticked_ms, prices_usd, close_ms)[:due] if due else np.empty(0)
    known = values[~np.isnan(values)]
    return KnownValues(due, due - len(known), float(known.mean()) if len(known) else None)


def settled_price(rule: SettlementRule, ticked_ms: Ints, prices_usd: Floats, close_ms: int) -> float | None:
    """The market's value by a rule, in our own prices; None where the prices of its last minute do not give it.

    The mean needs all 60 values; without the first it is that of the other 59, since prices that begin with the minute
    have none before the end of its first second. The last price is one within the minute, at the latest at the close.
    Arguments as in `second_values`.
    """
    if rule is SettlementRule.MEAN_60S:
        values = second_values(ticked_ms, prices_usd, close_ms)
        mean = float(values[int(isnan(values[0])) :].mean())
        return None if isnan(mean) else float(f"{mean:.{MEAN_DIGITS}g}")
    newest = int(np.searchsorted(ticked_ms, close_ms, side="right")) - 1
    if newest < 0 or close_ms - ticked_ms[newest] >= VALUES * MS_PER_SECOND:
        return None
    return float(prices_usd[newest])
