"""Quotes of settled markets for scores: which ones count, and what is left out.

A quote counts at the minute that its candle ends with, if it is at most 2 s old then; it is not carried on to later
minutes. Against older quotes a model looks better than it is, because it knows a newer price: by 0.006 of Brier score
on quotes that were recorded once a minute, 58 s before the end of their candle. A quote has a bid and an ask above it,
at most 20 cents apart, 1 to 59 minutes before the close, and its market has a final result of yes or no.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from pipelines.domain.markets.basis import MAX_SPREAD, two_sided
from pipelines.domain.markets.contracts import Market, MarketResult
from pipelines.domain.models.strike_table import MAX_QUOTE_AGE
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats, Ints
from pipelines.domain.prices.ticks import EPOCH

Bools = npt.NDArray[np.bool_]

SECONDS_PER_DAY = 86_400
#: As in strike tables, where older quotes show no edge.
MAX_AGE_SECONDS = MAX_QUOTE_AGE.total_seconds()
#: Time to close of the quotes that count. Recordings choose their strikes by the price 60 minutes before the close.
SHORTEST_SECONDS, LONGEST_SECONDS = SECONDS_PER_MINUTE, 59 * SECONDS_PER_MINUTE


@dataclass(frozen=True)
class RecordedQuotes:
    """Quotes of markets with their results, in the order of their instants.

    `events`: int64[n], a number for each event; `instants`: int64[n], minutes since 1970 UTC; `ttc_seconds`: int64[n],
    60 or more; `lower_usd`, `upper_usd`: float64[n], the market is YES for values at or above the first and below the
    second, NaN for no bound; `bids`, `asks`: float64[n], of YES, in dollars; `outcomes`: bool[n], it settled as YES.
    """

    events: Ints
    instants: Ints
    ttc_seconds: Ints
    lower_usd: Floats
    upper_usd: Floats
    bids: Floats
    asks: Floats
    outcomes: Bools

    def __len__(self) -> int:
        return len(self.events)

    @property
    def mids(self) -> Floats:
        """The middle of each quote, dollars."""
        return (self.bids + self.asks) / 2

    @property
    def close_days(self) -> Ints:
        """The UTC day of the last second before each market's close, days since 1970."""
        return (self.instants * SECONDS_PER_MINUTE + self.ttc_seconds - 1) // SECONDS_PER_DAY

    def part(self, rows: Bools | Ints | slice) -> "RecordedQuotes":
        """Some of the quotes."""
        return RecordedQuotes(*(values[rows] for values in vars(self).values()))

    @classmethod
    def joined(cls, parts: Sequence["RecordedQuotes"]) -> "RecordedQuotes":
        """All quotes of parts, at least one, in the order of their instants."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        joined = cls(*(np.concatenate(column) for column in columns))
        return joined.part(np.argsort(joined.instants, kind="stable"))


@dataclass(frozen=True)
class Candles:
    """The last quotes of minutes of markets.

    `markets`: int64[n], positions in a list of markets; `instants`: int64[n], their ends in minutes since 1970 UTC;
    `bids`, `asks`: float64[n], of YES, in dollars; NaN, 0 and 1 for none; `ages_seconds`: float64[n], or one for all,
    of the quotes at these ends: 0 in candles of the exchange.
    """

    markets: Ints
    instants: Ints
    bids: Floats
    asks: Floats
    ages_seconds: Floats | float = 0.0


NO_CANDLES = Candles(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))


class SettledMarkets:
    """The markets of one series that can be scored, and what was left out.

    `left_out`: counts of markets and quotes by reason; `refused`: events whose results contradict each other, in words,
    `contradictory`: their tickers.
    """

    def __init__(self, markets: Sequence[Market]) -> None:
        """Raises ValueError for markets of more than one series."""
        if len(series := sorted({market.series_ticker for market in markets})) > 1:
            raise ValueError(f"markets of {len(series)} series: {', '.join(series)}; expected those of one")
        self.left_out: Counter[str] = Counter()
        self.refused: list[str] = []
        self.contradictory: set[str] = set()
        tickers = sorted({market.event_ticker for market in markets})
        numbers = {ticker: number for number, ticker in enumerate(tickers)}
        self.event_tickers = tuple(tickers)
        self._events = np.array([numbers[market.event_ticker] for market in markets], dtype=np.int64)
        self._closes_at = np.array([_seconds(market) for market in markets], dtype=np.int64)
        self._lower, self._upper = _bounds(markets)
        self._outcomes = np.array([market.result is MarketResult.YES for market in markets], dtype=np.bool_)
        self._scored = np.array([self._is_scored(market) for market in markets], dtype=np.bool_)
        self._refuse_contradictory(markets)

    def quotes(self, candles: Candles) -> RecordedQuotes:
        """The quotes of candles that count, in the order of their instants; the others are counted in `left_out`."""
        return self.quotes_of(candles, self.counted(candles))

    def counted(self, candles: Candles) -> Ints:
        """The candles whose quotes count, in the order of their instants; the others are counted in `left_out`."""
        left = self._closes_at[candles.markets] - candles.instants * SECONDS_PER_MINUTE
        asked = self._scored[candles.markets] & (left >= SHORTEST_SECONDS) & (left <= LONGEST_SECONDS)
        spread = candles.asks - candles.bids
        reasons: tuple[tuple[str, Bools], ...] = (
            ("quotes on one side", ~((candles.bids > 0) & (candles.asks < 1))),
            ("crossed or locked quotes", spread <= 0),
            (
                f"quotes older than {MAX_AGE_SECONDS:.0f} s at their minute",
                ~(np.asarray(candles.ages_seconds) <= MAX_AGE_SECONDS),
            ),
            (f"quotes wider than {100 * MAX_SPREAD:.0f} cents", ~two_sided(candles.bids, candles.asks)),
        )
        for reason, applies in reasons:
            if count := int((asked & applies).sum()):
                self.left_out[reason] += count
            asked &= ~applies
        return in_order(candles, asked)

    def quotes_of(self, candles: Candles, rows: Ints) -> RecordedQuotes:
        """The quotes of some of the candles, in the order of `rows`, whether or not they count."""
        market, instants = candles.markets[rows], candles.instants[rows]
        return RecordedQuotes(
            self._events[market],
            instants,
            self._closes_at[market] - instants * SECONDS_PER_MINUTE,
            self._lower[market],
            self._upper[market],
            candles.bids[rows],
            candles.asks[rows],
            self._outcomes[market],
        )

    def _is_scored(self, market: Market) -> bool:
        if market.result in {MarketResult.SCALAR, MarketResult.VOID}:
            self.left_out[f"markets with the result {market.result}"] += 1
        elif not market.is_settled:
            self.left_out["markets without a final result"] += 1
        else:
            return True
        return False

    def _refuse_contradictory(self, markets: Sequence[Market]) -> None:
        scored = np.flatnonzero(self._scored)
        by_event = scored[np.argsort(self._events[scored], kind="stable")].tolist()
        for event, group in groupby(by_event, key=lambda row: int(self._events[row])):
            rows = np.array(list(group))
            lower, upper, outcomes = self._lower[rows], self._upper[rows], self._outcomes[rows]
            if not consistent_results(lower, upper, outcomes):
                pair = rows[_contradictory_pair(lower, upper, outcomes)].tolist()
                named = ", ".join(f"{markets[row].ticker} {markets[row].result}" for row in pair)
                self.refused.append(
                    f"{self.event_tickers[event]}: no value of the index gives all its results: {named}"
                )
                self.contradictory.add(self.event_tickers[event])
                self._scored[rows] = False


def in_order(candles: Candles, chosen: Bools) -> Ints:
    """The chosen candles by instant, those of one instant by market."""
    rows = np.flatnonzero(chosen)
    return rows[np.lexsort((candles.markets[rows], candles.instants[rows]))]


def consistent_results(lower: Floats, upper: Floats, outcomes: Bools) -> bool:
    """Whether some value of the index gives all results of an event's markets; arrays as in `RecordedQuotes`."""
    bounds = np.unique(np.concatenate([lower, upper]))
    bounds = bounds[~np.isnan(bounds)]
    # Between two bounds nothing changes: a value below the first, and each bound.
    values = np.concatenate([[-np.inf], bounds])[:, None]
    with np.errstate(invalid="ignore"):
        is_yes = ~(values < lower) & ~(values >= upper)
    return bool((is_yes == outcomes).all(axis=1).any())


def _contradictory_pair(lower: Floats, upper: Floats, outcomes: Bools) -> list[int]:
    """Two markets whose results alone contradict each other, or all markets where it takes more than two."""
    for one in range(len(outcomes)):
        for other in range(one):
            pair = [other, one]
            if not consistent_results(lower[pair], upper[pair], outcomes[pair]):
                return pair
    return list(range(len(outcomes)))


def _bounds(markets: Iterable[Market]) -> tuple[Floats, Floats]:
    bounds = [market.bounds_usd() for market in markets]
    lower, upper = (
        np.array([np.nan if one is None else float(one) for one in side], dtype=np.float64)
        for side in (zip(*bounds, strict=True) if bounds else ((), ()))
    )
    return lower, upper


def _seconds(market: Market) -> int:
    return int((market.closes_at - EPOCH).total_seconds())
