"""The model as it was known at each quote of settled markets: fitted before its day, read at its minute.

Instants are minutes since 1970-01-01 UTC; a quote at an instant is compared with the bar that closes then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.recorded_quotes import Bools, RecordedQuotes
from pipelines.domain.markets.basis import GRID_BPS, QuotedBasis, choose_basis
from pipelines.domain.markets.settlement import Settlement, SettlementRule
from pipelines.domain.models.base import FittedModel, MarketStates, Model
from pipelines.domain.models.interpolation import clip_before_close, linear_weights
from pipelines.domain.prices.bars import MINUTES_PER_DAY, SECONDS_PER_MINUTE, Floats, Ints, instant_of_minute
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import BPS_PER_UNIT, NO_BUCKET

#: Parameters of models are fitted again after this time, as in a walk-forward evaluation by quarters.
FOLD_DAYS = 91


@dataclass(frozen=True)
class ReplayedDay:
    """The quotes of one UTC day, and a model fitted at its start."""

    history: MarketHistory
    fit: FittedModel
    quotes: RecordedQuotes

    @property
    def rows(self) -> Ints:
        """The row of the history that closes at each quote."""
        return self.quotes.instants - 1 - self.history.first_minute

    @property
    def prices_usd(self) -> Floats:
        """The close at each quote."""
        return np.asarray(self.history.scaled[self.rows] / self.history.scale)

    def probabilities(self, rule: SettlementRule, bases_bps: Floats) -> Floats:
        """P(yes) of each quote's market, fractions: float64[n, k]; `bases_bps`: float64[n or 1, k]."""
        lower, upper = self.quotes.lower_usd, self.quotes.upper_usd
        found = np.ones((len(lower), bases_bps.shape[1]))
        for bounds, sign in ((lower, 1.0), (upper, -1.0)):
            bounded = np.flatnonzero(~np.isnan(bounds))
            above = self._at_or_above(rule, bounds, bounded, bases_bps)
            # Without a lower bound every value is high enough.
            found[bounded] = above if sign > 0 else found[bounded] - above
        return np.clip(found, 0.0, 1.0)  # of two bounds at the price, the upper one may be the likelier by a rounding

    def quoted_bases(self, rule: SettlementRule, quoted: QuotedBasis, counted: Bools | None = None) -> Floats:
        """The basis at each quote by the quotes of minutes before it, in basis points: float64[n], 0 without one.

        `quoted`: what is known at the start of the day, which is updated by the quotes of each minute. `counted`:
        bool[n], the quotes that it is updated by; by default all.
        """
        quotes, prices = self.quotes, self.prices_usd
        counts = np.ones(len(quotes), dtype=np.bool_) if counted is None else counted
        on_grid = np.full((len(quotes), len(GRID_BPS)), np.nan)
        on_grid[counts] = replace(self, quotes=quotes.part(counts)).probabilities(rule, GRID_BPS[None, :])
        bases = np.zeros(len(quotes))
        for these in np.split(np.arange(len(bases)), np.flatnonzero(np.diff(quotes.instants)) + 1):
            at = instant_of_minute(int(quotes.instants[these[0]]))
            basis = choose_basis([quoted.estimate()], at).basis
            bases[these] = 0.0 if basis is None else basis.bps
            if len(kept := these[counts[these]]):
                quoted.add(at, float(prices[kept[0]]), on_grid[kept].T, quotes.bids[kept], quotes.asks[kept])
        return bases

    def _at_or_above(self, rule: SettlementRule, strikes_usd: Floats, numbers: Ints, bases_bps: Floats) -> Floats:
        """P(the market's value is at or above the strike) of some of the quotes: float64[len(numbers), k]."""
        settlement, fit = Settlement(rule), self.fit
        shifts = np.broadcast_to(np.exp(-bases_bps / BPS_PER_UNIT), (len(self.quotes), bases_bps.shape[1]))[numbers]
        rows, prices, left = self.rows[numbers], self.prices_usd[numbers], self.quotes.ttc_seconds[numbers]
        found = np.empty(shifts.shape)
        for seconds in np.unique(left).tolist():
            these = np.flatnonzero(left == seconds)
            # A minute or more before the close no value is known, so that the price does not matter.
            strikes = settlement.effective_strikes(strikes_usd[numbers][these], seconds, 0.0)[:, None] * shifts[these]
            moves_bps = (strikes / prices[these][:, None] - 1.0) * BPS_PER_UNIT
            states = fit.rule.states(self.history, rows[these])
            found[these] = _at_or_above(fit, states, settlement.effective_seconds(seconds), moves_bps)
        return found


def quotes_with_bars(history: MarketHistory, quotes: RecordedQuotes) -> RecordedQuotes:
    """The quotes at whose minute the history has a close with momentum."""
    return quotes.part(have_bars(history, quotes.instants))


def have_bars(history: MarketHistory, instants: Ints) -> Bools:
    """Whether the history has a close with momentum at each instant."""
    rows = instants - 1 - history.first_minute
    inside = (rows >= 0) & (rows < len(history))
    inside[inside] = ~np.isnan(history.scaled[rows[inside]] + history.score[rows[inside]])
    return inside


def folds(quotes: RecordedQuotes) -> list[RecordedQuotes]:
    """The quotes in parts of FOLD_DAYS from the first day on; parts without quotes are left out."""
    days = quotes.instants // MINUTES_PER_DAY
    found, start = [], 0
    while start < len(quotes):
        stop = int(np.searchsorted(days, days[start] + FOLD_DAYS))
        found.append(quotes.part(slice(start, stop)))
        start = stop
    return found


def replay(history: MarketHistory, quotes: RecordedQuotes, model: Model, config: ModelConfig) -> Iterator[ReplayedDay]:
    """The days of quotes that have bars: fitted at the start of the first day, updated at that of each.

    Raises ValueError when too little is known at the first.
    """
    days = quotes.instants // MINUTES_PER_DAY
    each: Sequence[int] = np.unique(days).tolist()
    fits = model.fit_each(history, [day * MINUTES_PER_DAY for day in each], config)
    for day, fit in zip(each, fits, strict=True):
        start, stop = np.searchsorted(days, (day, day + 1)).tolist()
        yield ReplayedDay(history, fit, quotes.part(slice(start, stop)))


def _at_or_above(fit: FittedModel, states: MarketStates, seconds: float, moves_bps: Floats) -> Floats:
    """P(the price is at or above price x (1 + move) after `seconds`): float64[n, k]; `moves_bps`: [n, k]."""
    minutes = min(seconds / SECONDS_PER_MINUTE, fit.tables.horizons)
    labels = [NO_BUCKET if label is None else label for label in fit.tables.buckets]
    columns = linear_weights(fit.tables.nodes, fit.rule.positions(states, minutes, moves_bps))
    horizons = linear_weights(np.arange(1, fit.tables.horizons + 1), minutes)
    upward = moves_bps > 0
    sides = np.stack([fit.tables.negative, fit.tables.positive])
    table = np.searchsorted(labels, fit.rule.buckets(states))[:, None] + upward * len(labels)
    low, high = (columns.at(sides[:, :, int(horizon)], table) for horizon in (horizons.lower, horizons.upper))
    beyond = clip_before_close(horizons.between(low, high), seconds, fit.rule.axes.profile) / 100.0
    return np.where(upward, beyond, 1.0 - beyond)
