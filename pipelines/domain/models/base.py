"""What a model is.

A fitted model is a set of tables, percent at or past each node of an axis, per bucket and horizon; a rule that gives
each state of the market its bucket; and a rule that places a strike on the axis. Storage, lookup, live session, SQL and
scoring need nothing else, so a model is one module in this package and nothing outside of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.interpolation import served, weights_on
from pipelines.domain.models.lookup import LookupAxes
from pipelines.domain.models.standardised_fingerprint import Counted, StandardisedParameters
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import NO_BUCKET, PERCENT_PER_UNIT
from pipelines.domain.prices.volatility import (
    HALF_LIVES_MINUTES,
    VolatilityParameters,
    VolatilityTrack,
    track_volatility,
)


@dataclass(frozen=True)
class MarketStates:
    """What a model may know at n instants.

    `instants`: float64[n], minutes since 1970 UTC; `score`: float64[n], momentum as a fraction, NaN = not known;
    `variances`: float64[half-lives, n] as in `volatility`, by the parameters of the rule that asks; NaN = not known.
    """

    instants: Floats
    score: Floats
    variances: Floats

    @classmethod
    def single(
        cls, instant: float, momentum_pct: float | None, variances: Sequence[float] | None = None
    ) -> "MarketStates":
        """One state; None stands for what is not known."""
        score = np.nan if momentum_pct is None else momentum_pct / PERCENT_PER_UNIT
        columns = np.full((len(HALF_LIVES_MINUTES), 1), np.nan) if variances is None else np.array(variances)[:, None]
        return cls(np.array([instant]), np.array([score]), columns)


class Rule(ABC):
    """What turns a state and a strike into a place in the tables; rebuilt from its own `as_json`."""

    #: By which `MarketStates.variances` are to be computed; None when the rule does not look at them.
    volatility: VolatilityParameters | None = None

    @abstractmethod
    def buckets(self, states: MarketStates) -> Ints:
        """Bucket of each state: int64[n]; NO_BUCKET where the state has none."""

    @abstractmethod
    def positions(self, states: MarketStates, ttc_minutes: float, moves_bps: Floats) -> Floats:
        """Where strikes lie on the axis: float64[n or 1, k], >= 0. `moves_bps`: [k], signed, of the price."""

    def sigma(self, states: MarketStates, ttc_minutes: float) -> Floats | None:
        """Forecast volatility per square root of a minute, float64[n]; None for a rule without."""
        del states, ttc_minutes
        return None

    def with_sigma(self, sigma: float) -> "Rule":
        """The same rule with volatility given, per square root of a minute, instead of forecast."""
        del sigma
        return self

    @property
    @abstractmethod
    def axes(self) -> LookupAxes:
        """Nodes and buckets of the lookup that goes with the tables."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """All that was set or fitted besides the tables, as JSON values."""

    def track(self, history: MarketHistory) -> VolatilityTrack:
        """Volatility over the whole history by this rule's parameters; computed once."""
        assert self.volatility is not None
        key = ("track", self.volatility.season.tobytes(), self.volatility.variance_floor)
        if key not in history.cache:
            history.cache[key] = track_volatility(history.log_close, history.first_minute, self.volatility)
        track = history.cache[key]
        assert isinstance(track, VolatilityTrack)
        return track

    def states(self, history: MarketHistory, rows: Ints) -> MarketStates:
        """States at the closes of rows of the history's grid."""
        variances = np.full((len(HALF_LIVES_MINUTES), len(rows)), np.nan)
        if self.volatility is not None:
            variances = self.track(history).variances[:, rows]
        return MarketStates((history.first_minute + rows + 1).astype(np.float64), history.score[rows], variances)


@dataclass(frozen=True)
class FittedModel:
    """A model fitted on what was known at the instant `fitted_until` (minutes since 1970 UTC)."""

    name: str
    fitted_until: int
    tables: FingerprintSet
    rule: Rule

    def prob_beyond(self, states: MarketStates, ttc_minutes: int, moves_bps: Floats) -> Floats:
        """P(the close `ttc_minutes` later is at or past price x (1 + move)) as a fraction: float64[n, k].

        Past means above for moves > 0, otherwise below. Linear between nodes, clamped at the last, and never certain,
        as answers are served. A state without a bucket is answered by the baseline. NaN without evidence or forecast.
        """
        nodes, labels = self.tables.nodes, self.tables.buckets
        table = np.searchsorted([NO_BUCKET if label is None else label for label in labels], self.rule.buckets(states))
        columns = weights_on(nodes, self.rule.positions(states, ttc_minutes, moves_bps))
        sides = np.stack([self.tables.negative[:, ttc_minutes - 1], self.tables.positive[:, ttc_minutes - 1]])
        row_start = (table[:, None] + (moves_bps > 0)[None, :] * len(labels)) * len(nodes)
        low, high = (sides.take(row_start + node) for node in (columns.lower, columns.upper))
        return served(columns.between(low, high), ttc_minutes, self.rule.axes.profile) / 100.0


class Model(ABC):
    """A way of fitting. Subclasses are found by `registry`; `name` is how people call them."""

    name: str

    @abstractmethod
    def walk(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        """One fitted model per instant (rising), each from what was known then; whatever follows is not looked at.

        Raises ValueError when too little was known at the first.
        """

    @abstractmethod
    def rule(self, stored: Mapping[str, Any]) -> Rule:
        """The rule of a fit that is stored, from its `as_json`."""

    def from_counts(
        self, counted: Counted, parameters: StandardisedParameters, fitted_until: int
    ) -> FittedModel | None:
        """Fitted on stored counts, with evidence; None for a model that is not made of counts."""
        del counted, parameters, fitted_until
        return None

    def fit(self, history: MarketHistory, until: int, config: ModelConfig) -> FittedModel:
        """Fitted on what was known at `until`."""
        return next(self.walk(history, [until], config))
