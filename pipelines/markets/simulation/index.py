"""The simulated exchange's index of a symbol: our prices, times exp(basis), to the cent.

The basis is known exactly (`Index.basis_bps`). It is a mean-reverting drift: a level of the symbol, plus normal numbers
of each hour, weighted down by their age, with straight lines between the hours.
"""

from decimal import Decimal

import numpy as np

from pipelines.domain.markets.settlement import (
    MAX_VALUE_AGE_MS,
    MS_PER_SECOND,
    SettlementRule,
    known_values,
    settled_price,
)
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.momentum import BPS_PER_UNIT
from pipelines.markets.simulation.noise import key_of, normals, uniform

MS_PER_HOUR, MS_PER_MINUTE = 3_600_000, 60_000
#: The level of a symbol's basis is between minus and plus this; the standard deviation around it.
LEVEL_BPS = 2.0
DRIFT_BPS = 1.5
#: A deviation of the basis fades by the factor e in this many hours; older hours than MEMORY_HOURS do not count.
FADING_HOURS = 12
MEMORY_HOURS = 5 * FADING_HOURS
CENTS = Decimal("0.01")
#: Volatility: of the minutes of an hour, and of as many more that were as usual, for a history that is short.
VOLATILITY_MINUTES, USUAL_MINUTES = 60, 5
#: Per square root of a second, in log price: as usual, and at least.
USUAL_VOLATILITY = 7.5e-5
LEAST_VOLATILITY = 1.5e-5


class PriceHistory:
    """The last price of each second of one symbol, in the order of time."""

    def __init__(self, ticked_ms: Ints | None = None, prices_usd: Floats | None = None) -> None:
        """`ticked_ms`: int64[n], rising, milliseconds since 1970 UTC; `prices_usd`: float64[n]."""
        #: Prices until then have been read; None: there are no others.
        self.read_until_ms: int | None = None
        self._size = 0
        self._ticked_ms: Ints = np.empty(1024, dtype=np.int64)
        self._prices_usd: Floats = np.empty(1024)
        if ticked_ms is not None and prices_usd is not None:
            for ticked, price in zip(ticked_ms.tolist(), prices_usd.tolist(), strict=True):
                self.add(ticked, price)

    @property
    def ticked_ms(self) -> Ints:
        """Milliseconds since 1970 UTC, rising: int64[n]."""
        return self._ticked_ms[: self._size]

    @property
    def prices_usd(self) -> Floats:
        """Prices: float64[n]."""
        return self._prices_usd[: self._size]

    def add(self, ticked_ms: int, price_usd: float) -> None:
        """Append a price; in a second that has one, it replaces it. Earlier ones than the newest are left out."""
        if self._size and ticked_ms <= self._ticked_ms[self._size - 1]:
            return
        if not self._size or ticked_ms // MS_PER_SECOND != self._ticked_ms[self._size - 1] // MS_PER_SECOND:
            if self._size == len(self._ticked_ms):
                self._ticked_ms = np.concatenate([self._ticked_ms, np.empty_like(self._ticked_ms)])
                self._prices_usd = np.concatenate([self._prices_usd, np.empty_like(self._prices_usd)])
            self._size += 1
        self._ticked_ms[self._size - 1], self._prices_usd[self._size - 1] = ticked_ms, price_usd

    def drop_before(self, ms: int) -> None:
        """Drop earlier prices."""
        first = int(np.searchsorted(self.ticked_ms, ms))
        self._ticked_ms = self.ticked_ms[first:].copy() if first else self._ticked_ms
        self._prices_usd = self.prices_usd[first:].copy() if first else self._prices_usd
        self._size -= first


class Index:
    """The index of a symbol. Values at an instant are those of prices strictly before it, as in a market's mean."""

    def __init__(self, symbol: str, seed: int, prices: PriceHistory) -> None:
        self.symbol = symbol
        self.prices = prices
        self._drift_key = key_of(seed, "basis", symbol)
        self._level_bps = LEVEL_BPS * (2.0 * uniform(key_of(seed, "basis level", symbol)) - 1.0)
        self._volatility: tuple[int, float] | None = None

    def basis_bps(self, at_ms: Ints) -> Floats:
        """The log of the index over our price, basis points: float64[n], for int64[n] ms since 1970, n > 0."""
        hours, rest = np.divmod(at_ms, MS_PER_HOUR)
        first, share = int(hours.min()), rest / MS_PER_HOUR
        count = int(hours.max()) - first + 2
        fading = np.exp(-1.0 / FADING_HOURS)
        weights = fading ** np.arange(MEMORY_HOURS)
        shocks = normals(self._drift_key, np.arange(first - MEMORY_HOURS + 1, first + count))
        deviations = np.convolve(shocks, weights, "valid") * DRIFT_BPS * np.sqrt(1.0 - fading**2)
        nearest = hours - first
        bps: Floats = self._level_bps + (1.0 - share) * deviations[nearest] + share * deviations[nearest + 1]
        return bps

    def values(self, since_ms: int, until_ms: int) -> tuple[Ints, Floats]:
        """Values from an instant until before another: int64[n] milliseconds since 1970 UTC, float64[n] USD."""
        first, end = np.searchsorted(self.prices.ticked_ms, [since_ms, until_ms])
        ticked_ms = self.prices.ticked_ms[first:end]
        if not len(ticked_ms):
            return ticked_ms, np.empty(0)
        scale = np.exp(self.basis_bps(ticked_ms) / BPS_PER_UNIT)
        return ticked_ms, np.round(self.prices.prices_usd[first:end] * scale, 2)

    def value_at(self, ms: int) -> float | None:
        """The last value before an instant, None if it is older than ten seconds."""
        _, values = self.values(ms - MAX_VALUE_AGE_MS, ms)
        return float(values[-1]) if len(values) else None

    def first_live_ms(self, since_ms: int) -> int | None:
        """The first whole second from `since_ms` (one, too) on, at which prices follow one another within ten seconds.

        The prices before it give `value_at`.
        """
        ticked_ms = self.prices.ticked_ms
        last = int(np.searchsorted(ticked_ms, since_ms)) - 1
        if last >= 0 and since_ms - ticked_ms[last] <= MAX_VALUE_AGE_MS:
            return since_ms
        after = ticked_ms[max(last, 0) :]
        live = np.flatnonzero((np.diff(after) <= MAX_VALUE_AGE_MS) & (after[1:] >= since_ms))
        return (int(after[live[0] + 1]) // MS_PER_SECOND + 1) * MS_PER_SECOND if len(live) else None

    def is_complete(self, until_ms: int, now_ms: int, patience_ms: int) -> bool:
        """Whether all prices before an instant are known: later ones are, or none came for `patience_ms`."""
        read_ms = now_ms if self.prices.read_until_ms is None else min(now_ms, self.prices.read_until_ms)
        newest = self.newest_ms(read_ms)
        return (newest is not None and newest >= until_ms) or read_ms - until_ms >= patience_ms

    def newest_ms(self, now_ms: int) -> int | None:
        """The time of the newest price before an instant."""
        count = int(np.searchsorted(self.prices.ticked_ms, now_ms))
        return int(self.prices.ticked_ms[count - 1]) if count else None

    def settled_value(self, close_ms: int) -> Decimal | None:
        """What markets settle on: the mean of the 60 one-second values before their close, to the cent.

        Of fewer values, if prices are missing; None with less than half of them.
        """
        ticked_ms, values = self.values(close_ms - 60 * MS_PER_SECOND - MAX_VALUE_AGE_MS, close_ms)
        mean = settled_price(SettlementRule.MEAN_60S, ticked_ms, values, close_ms)
        if mean is None:
            known = known_values(ticked_ms, values, close_ms, 0.0)
            mean = known.mean_usd if known.usable else None
        return None if mean is None else Decimal(repr(mean)).quantize(CENTS)

    def volatility(self, at_ms: int) -> float:
        """The realised volatility of the hour before an instant, log price per square root of a second."""
        if self._volatility is None or self._volatility[0] != at_ms:
            self._volatility = at_ms, self._realised_volatility(at_ms)
        return self._volatility[1]

    def _realised_volatility(self, at_ms: int) -> float:
        """From changes between whole minutes, because replayed prices move in straight lines within them."""
        ends = at_ms // MS_PER_MINUTE * MS_PER_MINUTE - MS_PER_MINUTE * np.arange(VOLATILITY_MINUTES, -1, -1)
        before = np.searchsorted(self.prices.ticked_ms, ends) - 1
        before, ends = before[before >= 0], ends[before >= 0]
        changes = np.empty(0)
        if len(ends) > 1:
            changes = np.diff(np.log(self.prices.prices_usd[before]) + self.basis_bps(ends) / BPS_PER_UNIT)
        squares = float(np.square(changes).sum()) + USUAL_MINUTES * USUAL_VOLATILITY**2 * 60
        return max(float(np.sqrt(squares / (len(changes) + USUAL_MINUTES) / 60)), LEAST_VOLATILITY)
