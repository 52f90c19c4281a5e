"""Score a model with a settlement rule and a basis against recorded quotes, and the rule itself against an index.

Instants are minutes since 1970-01-01 UTC; a quote at an instant is compared with the bar that closes then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from pipelines.domain.evaluation.scoring import Interval
from pipelines.domain.markets.basis import GRID_BPS, QUOTES_HALF_LIFE, Basis, QuotedBasis
from pipelines.domain.markets.settlement import VALUES, Settlement, SettlementRule
from pipelines.domain.models.base import FittedModel, MarketStates
from pipelines.domain.models.interpolation import clip_before_close, linear_weights
from pipelines.domain.models.standardised import StandardisedRule
from pipelines.domain.models.standardised_fingerprint import HORIZON_MINUTES, axis_position
from pipelines.domain.prices.bars import MINUTES_PER_DAY, SECONDS_PER_MINUTE, Floats, Ints, instant_of_minute
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import BPS_PER_UNIT

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RecordedQuotes:
    """Quotes of markets "above the strike" with their results, in the order of their instants.

    `events`: int64[n], number of the close; `instants`: int64[n]; `ttc_minutes`: int64[n], 1 or more; `strikes_usd`:
    float64[n]; `bids`, `asks`: float64[n], of YES, in dollars; `outcomes`: bool[n], the market settled as YES.
    """

    events: Ints
    instants: Ints
    ttc_minutes: Ints
    strikes_usd: Floats
    bids: Floats
    asks: Floats
    outcomes: Bools

    @property
    def mids(self) -> Floats:
        """The middle of each quote, dollars."""
        return (self.bids + self.asks) / 2


@dataclass(frozen=True)
class Replay:
    """Quotes with the model as it was known at each of them. `fits`: of the standardised model, by UTC day."""

    history: MarketHistory
    fits: dict[int, FittedModel]
    quotes: RecordedQuotes

    @classmethod
    def of(cls, history: MarketHistory, fits: Sequence[FittedModel], quotes: RecordedQuotes) -> "Replay":
        """`fits`: one for each day of the quotes, fitted until its start. Quotes without a bar are left out."""
        rows = quotes.instants - 1 - history.first_minute
        inside = (rows >= 0) & (rows < len(history))
        inside[inside] = ~np.isnan(history.scaled[rows[inside]] + history.score[rows[inside]])
        of_quotes = RecordedQuotes(*(values[inside] for values in vars(quotes).values()))
        return cls(history, {fit.fitted_until // MINUTES_PER_DAY: fit for fit in fits}, of_quotes)

    def probabilities(self, rule: SettlementRule, bases_bps: Floats) -> Floats:
        """P(the market's value is at or above its strike), as fractions: float64[n, k]; `bases_bps`: [n or 1, k]."""
        quotes, shape = self.quotes, (len(self.quotes.instants), bases_bps.shape[1])
        settlement = Settlement(rule)
        found = np.empty(shape)
        shifts = np.broadcast_to(np.exp(-bases_bps / BPS_PER_UNIT), shape)
        rows = quotes.instants - 1 - self.history.first_minute
        prices = self.history.scaled[rows] / self.history.scale
        for fit, minutes, these in self._groups():
            seconds = float(minutes * SECONDS_PER_MINUTE)
            # A minute or more before the close no value is known, so that the price does not matter.
            strikes = settlement.effective_strikes(quotes.strikes_usd[these], seconds, 0.0)[:, None] * shifts[these]
            log_moves = np.log(strikes / prices[these][:, None])
            states = fit.rule.states(self.history, rows[these])
            found[these] = _at_or_above(fit, states, settlement.effective_seconds(seconds), log_moves)
        return found

    def quoted_bases(self, rule: SettlementRule, half_life: timedelta = QUOTES_HALF_LIFE) -> Floats:
        """The basis at each quote by the quotes of minutes before it, in basis points: float64[n], 0 without one."""
        quotes = self.quotes
        on_grid = self.probabilities(rule, GRID_BPS[None, :])
        prices = self.history.scaled[quotes.instants - 1 - self.history.first_minute] / self.history.scale
        bases, quoted = np.zeros(len(quotes.instants)), QuotedBasis(half_life)
        for these in np.split(np.arange(len(bases)), np.flatnonzero(np.diff(quotes.instants)) + 1):
            found = quoted.estimate()
            bases[these] = found.bps if isinstance(found, Basis) else 0.0
            at, price = instant_of_minute(int(quotes.instants[these[0]])), float(prices[these[0]])
            quoted.add(at, price, on_grid[these].T, quotes.bids[these], quotes.asks[these])
        return bases

    def _groups(self) -> Iterator[tuple[FittedModel, int, Ints]]:
        """(fit, minutes to the close, numbers of the quotes)."""
        keys = np.stack([self.quotes.instants // MINUTES_PER_DAY, self.quotes.ttc_minutes])
        groups, group = np.unique(keys, axis=1, return_inverse=True)
        for number, (day, minutes) in enumerate(groups.T.tolist()):
            yield self.fits[day], minutes, np.flatnonzero(group.ravel() == number)


def _at_or_above(fit: FittedModel, states: MarketStates, seconds: float, log_moves: Floats) -> Floats:
    """P(the price is at or above price x exp(move) after `seconds`): float64[n, k]; `log_moves`: [n, k]."""
    assert isinstance(fit.rule, StandardisedRule)
    minutes = min(seconds / SECONDS_PER_MINUTE, HORIZON_MINUTES)
    positions = axis_position(log_moves, fit.rule.sigma(states, minutes)[:, None], minutes)
    columns = linear_weights(fit.tables.nodes, positions)
    ttcs = linear_weights(np.arange(1, HORIZON_MINUTES + 1), minutes)
    upward = log_moves > 0
    sides = np.stack([fit.tables.negative, fit.tables.positive])
    table = fit.rule.buckets(states)[:, None] + upward * len(fit.tables.buckets)
    low, high = (columns.at(sides[:, :, int(horizon)], table) for horizon in (ttcs.lower, ttcs.upper))
    beyond = clip_before_close(ttcs.between(low, high), seconds, fit.rule.axes.profile) / 100.0
    return np.where(upward, beyond, 1.0 - beyond)


def brier_difference(
    probabilities: Floats, reference: Floats, quotes: RecordedQuotes, rows: Bools | slice = slice(None)
) -> Interval:
    """Brier score of probabilities minus that of the reference over the quotes of `rows`, with its 95 % interval.

    The interval is the percentile interval of 2,000 draws of events with replacement. Raises ValueError for fewer than
    2 events.
    """
    outcomes, events = quotes.outcomes[rows], quotes.events[rows]
    excess = (probabilities[rows] - outcomes) ** 2 - (reference[rows] - outcomes) ** 2
    _, event = np.unique(events, return_inverse=True)
    n, sums = np.bincount(event), np.bincount(event, weights=excess)
    if len(n) < 2:
        raise ValueError(f"quotes of {len(n)} event, expected 2 or more for an interval")
    draws = np.random.default_rng(1).integers(len(n), size=(2000, len(n)))
    low, high = np.quantile(sums[draws].sum(axis=1) / n[draws].sum(axis=1), (0.025, 0.975)).tolist()
    return Interval(float(excess.mean()), low, high)


def pooled_with(mids: Floats, probabilities: Floats) -> Floats:
    """Half of the log odds of each, as a fraction."""
    odds = np.sqrt(mids / (1.0 - mids) * probabilities / (1.0 - probabilities))
    return odds / (1.0 + odds)


def spread_ratios(values: Floats, closes: Ints) -> tuple[Floats, Floats]:
    """Error of the mean of a minute of index values over the error predicted, r = 1..59 seconds before its end.

    `values`: float64[n], an index by the second, NaN where unknown; `closes`: positions of closes, the last second of
    their minute. Returns two float64[59]: with the effective time of the settlement rule, and with r seconds as for a
    last price. The variance per second is that of the values' own changes. Closes with unknown values are left out.
    """
    logs = np.log(values)
    changes = np.diff(logs)
    variance = float(np.nanmean(changes**2))
    settlement = Settlement(SettlementRule.MEAN_60S)
    with_rule, without = [], []
    for r in range(1, VALUES):
        # Of the mean of the values to come against the newest one.
        ahead = np.stack([values[closes - r + 1 + second] for second in range(r)]).mean(axis=0)
        errors = np.log(ahead / values[closes - r])
        squared = float(np.nanmean(errors**2))
        with_rule.append(np.sqrt(squared / (variance * settlement.effective_seconds(r))))
        without.append(np.sqrt(squared / (variance * r)))
    return np.array(with_rule), np.array(without)
