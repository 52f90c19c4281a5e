"""Recorded quotes for a backtest of the paper desk, with the model's probability as it was known at each.

The desk is shown every candle of the last hour of markets that have a final result, whatever the result is: which
markets become void is not known while they trade. The basis and the decision about the pool are made from the quotes
that count for scores (`recorded_quotes`), of earlier minutes and of events that were settled before.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.block_bootstrap import block_intervals
from pipelines.domain.evaluation.recorded_quotes import (
    LONGEST_SECONDS,
    SECONDS_PER_DAY,
    SHORTEST_SECONDS,
    Bools,
    Candles,
    RecordedQuotes,
    SettledMarkets,
    in_order,
)
from pipelines.domain.evaluation.replay import folds, have_bars, replay
from pipelines.domain.markets.basis import QuotedBasis, two_sided
from pipelines.domain.markets.contracts import Market
from pipelines.domain.markets.pool import PoolDecision, pool_decision, pooled_with
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.base import Model
from pipelines.domain.prices.bars import MINUTES_PER_DAY, SECONDS_PER_MINUTE, Floats, Ints
from pipelines.domain.prices.history import MarketHistory


@dataclass(frozen=True)
class DeskQuotes:
    """Quotes that the desk is shown, by instant.

    `markets`: int64[n], positions in the list of markets; `ages_seconds`: float64[n], of the quotes at their instants,
    infinite where unknown; `counted`: bool[n], those that count for scores.
    """

    quotes: RecordedQuotes
    markets: Ints
    ages_seconds: Floats
    counted: Bools

    def __len__(self) -> int:
        return len(self.markets)

    @property
    def mids(self) -> Floats:
        """The middle of two sides, NaN where the strike table shows none: on one side, crossed, locked, or too wide."""
        return np.where(two_sided(self.quotes.bids, self.quotes.asks), self.quotes.mids, np.nan)

    def part(self, rows: Bools | Ints | slice) -> "DeskQuotes":
        """Some of the quotes."""
        return DeskQuotes(self.quotes.part(rows), self.markets[rows], self.ages_seconds[rows], self.counted[rows])

    def with_bars(self, history: MarketHistory) -> "DeskQuotes":
        """The quotes at whose minute the history has a close with momentum."""
        return self.part(have_bars(history, self.quotes.instants))

    @classmethod
    def joined(cls, parts: Sequence["DeskQuotes"]) -> "DeskQuotes":
        """All quotes of parts, at least one, in the order of their instants."""
        quotes = RecordedQuotes.joined([part.quotes for part in parts])
        markets, ages, counted = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("markets", "ages_seconds", "counted")
        )
        order = np.argsort(np.concatenate([part.quotes.instants for part in parts]), kind="stable")
        return cls(quotes, markets[order], ages[order], counted[order])


class DeskMarkets:
    """The markets of one series that the desk can be shown, and what was left out.

    `left_out`: counts of markets and quotes by reason; `settled`: the markets that can be scored, with the events that
    are refused because their results contradict each other.
    """

    def __init__(self, markets: Sequence[Market]) -> None:
        """Raises ValueError for markets of more than one series."""
        self.markets = tuple(markets)
        self.settled = SettledMarkets(markets)
        self.left_out: Counter[str] = Counter()
        self._shown = np.array([self._is_shown(market) for market in markets], dtype=np.bool_)

    def quotes(self, candles: Candles) -> DeskQuotes:
        """The quotes that the desk is shown; the others are counted in `left_out`."""
        every = self.settled.quotes_of(candles, np.arange(len(candles.markets)))
        in_time = (every.ttc_seconds >= SHORTEST_SECONDS) & (every.ttc_seconds <= LONGEST_SECONDS)
        shown = self._shown[candles.markets]
        for reason, count in (
            ("quotes of markets that are left out", int((~shown).sum())),
            ("quotes less than 1 or more than 59 minutes before the close", int((shown & ~in_time).sum())),
        ):
            if count:
                self.left_out[reason] += count
        rows = in_order(candles, shown & in_time)
        ages = np.broadcast_to(np.asarray(candles.ages_seconds, dtype=np.float64), len(candles.markets))
        counted = np.isin(rows, self.settled.counted(candles))
        return DeskQuotes(self.settled.quotes_of(candles, rows), candles.markets[rows], ages[rows], counted)

    def _is_shown(self, market: Market) -> bool:
        if not market.is_settled:
            self.left_out["markets without a final result"] += 1
        elif market.event_ticker in self.settled.contradictory:
            self.left_out["markets of events whose results contradict each other"] += 1
        else:
            return True
        return False


def model_probabilities(
    history: MarketHistory, quotes: DeskQuotes, rule: SettlementRule, model: Model, config: ModelConfig
) -> Floats:
    """P(yes) of each quote's market by the model, fractions: float64[n]; NaN where it has none.

    `quotes`: with bars, at least one. Causal: the model is fitted on bars before the day of a quote, and the basis is
    that of the quotes of earlier minutes. Raises ValueError when too little is known at the first quote.
    """
    quoted = QuotedBasis()
    parts: list[Floats] = []
    done = 0
    for fold in folds(quotes.quotes):
        for day in replay(history, fold, model, config):
            counted = quotes.counted[done : done + len(day.quotes)]
            bases = day.quoted_bases(rule, quoted, counted)
            parts.append(day.probabilities(rule, bases[:, None])[:, 0])
            done += len(day.quotes)
        history.cache.clear()
    return np.concatenate(parts)


def pool_decisions(quotes: DeskQuotes, by_model: Floats, result_delay_seconds: int) -> Mapping[int, PoolDecision]:
    """Whether the pool is served on each UTC day of quotes (days since 1970), by what was settled before the day.

    The rule is that of live sessions, on the Brier difference of the pool to the mid. `by_model`: float64[n], P(yes);
    `result_delay_seconds`: from an event's close until its result is known.
    """
    of_all, pools = quotes.quotes, pooled_with(quotes.mids, by_model)
    rows = np.flatnonzero(quotes.counted & np.isfinite(pools))
    outcomes = of_all.outcomes[rows]
    excess = (pools[rows] - outcomes) ** 2 - (quotes.mids[rows] - outcomes) ** 2
    known_at = of_all.instants[rows] * SECONDS_PER_MINUTE + of_all.ttc_seconds[rows] + result_delay_seconds
    _, first, event, counts = np.unique(of_all.events[rows], return_index=True, return_inverse=True, return_counts=True)
    means = np.bincount(event, weights=excess, minlength=len(counts)) / counts
    found = {}
    for day in np.unique(of_all.instants // MINUTES_PER_DAY).tolist():
        known = known_at[first] <= day * SECONDS_PER_DAY
        found[day] = _decision(means[known], counts[known].astype(np.float64))
    return found


def _decision(means: Floats, counts: Floats) -> PoolDecision:
    """By the mean difference of each event, and its quotes."""
    if len(means) < 2:
        return pool_decision(len(means), np.nan, None)
    (interval,) = block_intervals(means[:, None], np.arange(len(means)), counts)
    return pool_decision(len(means), interval.estimate, (interval.low, interval.high))


def served_probabilities(quotes: DeskQuotes, by_model: Floats, decisions: Mapping[int, PoolDecision]) -> Floats:
    """P(yes) as strike tables show it, fractions: float64[n]: the pool on days on which it is served, else the mid."""
    days, of_quote = np.unique(quotes.quotes.instants // MINUTES_PER_DAY, return_inverse=True)
    served = np.array([decisions[day].served for day in days.tolist()], dtype=np.bool_)[of_quote]
    return np.where(served, pooled_with(quotes.mids, by_model), quotes.mids)
