"""The market maker of the simulated exchange: its probabilities, its quotes and its order books.

It knows the index with a lag, and takes changes of its log to be normal with the volatility of the last hour,
which it estimates with an error. The settlement by a mean is exact (`Settlement`). The error is the same for all
markets of an event, so that probabilities, bids and asks never rise with the strike.

Prices are whole numbers of hundredths of a cent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from pipelines.domain.markets.contracts import Market, yes_probabilities
from pipelines.domain.markets.settlement import MS_PER_SECOND, Settlement, SettlementRule, known_values
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.momentum import BPS_PER_UNIT
from pipelines.markets.simulation.index import Index
from pipelines.markets.simulation.noise import drift, key_of, normals, uniform, uniforms

#: Hundredths of a cent in a dollar and in a cent; a tenth of a cent near the ends where the series has such prices.
DOLLAR, CENT, TENTH = 10_000, 100, 10
#: The maker sees the index of so many seconds ago: of an event, one of these.
LAGS_SECONDS = (1, 2)
#: Standard deviation of the error of its volatility (log), with knots this far apart; and of the index that it sees.
VOLATILITY_ERROR, VOLATILITY_KNOT_MS = 0.08, 300_000
PRICE_ERROR_BPS, PRICE_KNOT_MS = 0.3, 20_000
#: Half of the difference between ask and bid, in dollars: at least and at most at a probability of a half, calm or not.
LEAST_HALF_SPREAD, MOST_HALF_SPREAD = 0.004, 0.020
SPREAD_KNOT_MS = 60_000
#: Markets less likely than that to be one or the other are left alone by the maker, if they are of this share.
FAR, FAR_SHARE = 0.002, 0.15
MOST_LEVELS = 9
#: Sizes at the best price and deeper change this often.
BEST_SECONDS, DEEP_SECONDS = 3, 20
#: Of the log of a size: mean and standard deviation, at the best price; deeper levels are larger.
SIZE_MEAN, SIZE_DEVIATION, DEEPER = 4.5, 1.2, 0.35

Level = tuple[int, float]


@dataclass(frozen=True)
class EventQuotes:
    """Quotes of the markets of an event at an instant, in the order of the markets.

    `probabilities`: of YES, float64[n]; `bids`, `asks`: of YES, int64[n], hundredths of a cent, 0 and 10,000 for none.
    """

    at_ms: int
    probabilities: Floats
    bids: Ints
    asks: Ints


class Maker:
    """The maker of one event. `markets` have no sub-cent prices unless `tapered`."""

    def __init__(self, seed: int, index: Index, event: str, markets: Sequence[Market], *, tapered: bool) -> None:
        self._index = index
        self._markets = markets
        self._tapered = tapered
        self._keys = {name: key_of(seed, name, event) for name in ("lag", "volatility", "price", "spread")}
        self._market_keys = [key_of(seed, "book", market.ticker) for market in markets]
        self._left_alone = np.array([uniform(key) < FAR_SHARE for key in self._market_keys])
        self._known_depths: dict[int, Ints] = {}
        self.lag_seconds = LAGS_SECONDS[int(uniform(self._keys["lag"]) * len(LAGS_SECONDS))]

    def quotes(self, at_ms: int, close_ms: int) -> EventQuotes | None:
        """Quotes at a whole second before the close, None while the maker sees no index; milliseconds since 1970."""
        probabilities = self._probabilities(at_ms, close_ms)
        if probabilities is None:
            return None
        half = self._half_spreads(probabilities, at_ms, close_ms)
        bids = self._on_tick(probabilities - half, up=False)
        asks = self._on_tick(probabilities + half, up=True)
        far = self._left_alone & (np.minimum(probabilities, 1.0 - probabilities) < FAR)
        return EventQuotes(at_ms, probabilities, np.where(far, 0, bids), np.where(far, DOLLAR, asks))

    def book(self, quotes: EventQuotes, number: int) -> tuple[list[Level], list[Level]]:
        """The bids for YES and for NO of one market, best first: price and contracts."""
        key, second = self._market_keys[number], quotes.at_ms // MS_PER_SECOND
        yes, no = int(quotes.bids[number]), DOLLAR - int(quotes.asks[number])
        return self._bids(key, yes, second), self._bids(key ^ 0xFFFF, no, second)

    def _probabilities(self, at_ms: int, close_ms: int) -> Floats | None:
        seen_ms = at_ms - self.lag_seconds * MS_PER_SECOND
        value = self._index.value_at(seen_ms)
        if value is None:
            return None
        ttc_seconds = (close_ms - at_ms) / MS_PER_SECOND
        at = np.array([at_ms])
        error = float(drift(self._keys["volatility"], at, VOLATILITY_KNOT_MS)[0]) * VOLATILITY_ERROR
        volatility = self._index.volatility(seen_ms) * np.exp(error)
        seen = value * np.exp(float(drift(self._keys["price"], at, PRICE_KNOT_MS)[0]) * PRICE_ERROR_BPS / BPS_PER_UNIT)
        ticked_ms, values = self._index.values(close_ms - 75 * MS_PER_SECOND, seen_ms)
        known = known_values(ticked_ms, values, close_ms, ttc_seconds) if ttc_seconds < 60 else None
        settlement = Settlement(SettlementRule.MEAN_60S, None if known is None else known.mean_usd)
        deviation = volatility * sqrt(max(settlement.effective_seconds(ttc_seconds), 1e-9))

        def at_or_above(strikes: Floats) -> Floats:
            needed = settlement.effective_strikes(strikes, ttc_seconds, seen)
            with np.errstate(divide="ignore"):
                distances = np.log(np.maximum(needed, 0.0) / seen) / (deviation * sqrt(2.0))
            return np.array([0.5 - 0.5 * erf(distance) for distance in distances.tolist()])

        return np.clip(yes_probabilities(self._markets, at_or_above), 0.0, 1.0)

    def _half_spreads(self, probabilities: Floats, at_ms: int, close_ms: int) -> Floats:
        """Wider in the middle, long before the close, and in moments of the event."""
        hours = min((close_ms - at_ms) / 3_600_000, 1.0)
        moment = 0.5 + 0.5 * np.tanh(drift(self._keys["spread"], np.array([at_ms]), SPREAD_KNOT_MS)[0])
        more = (MOST_HALF_SPREAD - LEAST_HALF_SPREAD) * (0.4 + 0.6 * hours) * moment
        spreads: Floats = LEAST_HALF_SPREAD + more * 4.0 * probabilities * (1.0 - probabilities)
        return spreads

    def _on_tick(self, dollars: Floats, *, up: bool) -> Ints:
        scaled = np.clip(np.round(dollars * DOLLAR, 3), 0.0, DOLLAR)
        rounded = np.ceil if up else np.floor
        prices = (rounded(scaled / CENT) * CENT).astype(np.int64)
        if self._tapered:
            near_end = (scaled < DOLLAR // 10) | (scaled > DOLLAR - DOLLAR // 10)
            prices = np.where(near_end, (rounded(scaled / TENTH) * TENTH).astype(np.int64), prices)
        return prices

    def _depths(self, key: int) -> Ints:
        """Ticks between the best bid and each level of a side, which stay the same."""
        found = self._known_depths.get(key)
        if found is None:
            count = 1 + int(uniform(key, 1) * MOST_LEVELS)
            steps = 1 + (uniforms(key ^ 0xFF, np.arange(count - 1)) * 3).astype(np.int64)
            found = self._known_depths[key] = np.concatenate([[0], np.cumsum(steps)])
        return found

    def _bids(self, key: int, best: int, second: int) -> list[Level]:
        """Levels at and below the best bid, which is 0 without one."""
        if best <= 0:
            return []
        tick = TENTH if self._tapered and (best < DOLLAR // 10 or best > DOLLAR - DOLLAR // 10) else CENT
        prices = best - self._depths(key) * tick
        if self._tapered:
            inside = (prices > DOLLAR // 10) & (prices < DOLLAR - DOLLAR // 10)
            prices = np.unique(np.where(inside, prices - prices % CENT, prices))[::-1]
        prices = prices[prices > 0]
        depth = np.arange(len(prices))
        moments = np.where(depth == 0, second // BEST_SECONDS, second // DEEP_SECONDS)
        logs = SIZE_MEAN + SIZE_DEVIATION * normals(key, moments * DOLLAR + prices) + DEEPER * depth
        sizes = np.maximum(np.round(np.exp(logs), 2), 0.01)
        return list(zip(prices.tolist(), sizes.tolist(), strict=True))
