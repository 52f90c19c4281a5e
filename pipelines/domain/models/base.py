"""Interfaces of a model.

A fitted model consists of tables (percent at or past each axis node, per bucket and horizon) and a rule that maps a
market state to a bucket and a strike to a position on the axis. Storage, lookup, live session, SQL and scoring need
nothing else, so a new model is one module in this package.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.lookup import LookupAxes
from pipelines.domain.models.standardised_fingerprint import CountedTables, StandardisedParameters
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import PERCENT_PER_UNIT
from pipelines.domain.prices.volatility import STATE_HALF_LIVES, VolatilityParameters, VolatilityTrack


@dataclass(frozen=True)
class MarketStates:
    """Inputs of a model at n instants; NaN where unknown.

    `instants`: float64[n], minutes since 1970 UTC; `score`: float64[n], momentum as a fraction; `variances`:
    float64[states, n] as in `volatility`, by the parameters of the rule that uses them.
    """

    instants: Floats
    score: Floats
    variances: Floats

    @classmethod
    def single(
        cls, instant: float, momentum_pct: float | None, variances: Sequence[float] | None = None
    ) -> "MarketStates":
        """One state; None means unknown."""
        score = np.nan if momentum_pct is None else momentum_pct / PERCENT_PER_UNIT
        columns = np.full((len(STATE_HALF_LIVES), 1), np.nan) if variances is None else np.array(variances)[:, None]
        return cls(np.array([instant]), np.array([score]), columns)


class Rule(ABC):
    """Maps market states and strikes to positions in the tables; can be rebuilt from `as_json`."""

    #: Parameters for `MarketStates.variances`; None when the rule does not use volatility.
    volatility: VolatilityParameters | None = None

    @abstractmethod
    def buckets(self, states: MarketStates) -> Ints:
        """Bucket of each state: int64[n]; NO_BUCKET where the state has none."""

    @abstractmethod
    def positions(self, states: MarketStates, ttc_minutes: float, moves_bps: Floats) -> Floats:
        """Positions of strikes on the axis: float64[n or 1, k], >= 0.

        `moves_bps`: [k], or [n, k] with the strikes of each state; signed, of the price.
        """

    def sigma(self, states: MarketStates, ttc_minutes: float) -> Floats | None:
        """Forecast volatility per square root of a minute, float64[n]; None for a rule without volatility."""
        del states, ttc_minutes
        return None

    def with_sigma(self, sigma: float) -> "Rule":
        """The same rule with a given volatility per square root of a minute instead of the forecast."""
        del sigma
        return self

    @property
    @abstractmethod
    def axes(self) -> LookupAxes:
        """Nodes and buckets of the lookup of this model."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Everything set or fitted apart from the tables, as JSON values."""

    def track(self, history: MarketHistory) -> VolatilityTrack:
        """Volatility over the whole history by this rule's parameters; computed once."""
        parameters = self.volatility
        assert parameters is not None
        key = ("track", parameters.season.by_minute.tobytes(), parameters.variance_floor, parameters.range_ratio)
        return history.cached(key, lambda: history.track(parameters))

    def states(self, history: MarketHistory, rows: Ints) -> MarketStates:
        """States at the closes of rows of the history's grid."""
        variances = np.full((len(STATE_HALF_LIVES), len(rows)), np.nan)
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


class Model(ABC):
    """A method of fitting. `registry` finds the subclasses; `name` identifies the model to users and in storage."""

    name: str

    @abstractmethod
    def fit_each(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        """One fitted model per instant (rising), each from what was known then and nothing later.

        Raises ValueError when too little was known at the first.
        """

    @abstractmethod
    def rule(self, stored: Mapping[str, Any]) -> Rule:
        """The rule of a stored fit, from its `as_json`."""

    def from_counts(
        self, counted: CountedTables, parameters: StandardisedParameters, fitted_until: int
    ) -> FittedModel | None:
        """Fitted on stored counts, with uncertainty; None for a model that is not made of counts."""
        del counted, parameters, fitted_until
        return None

    def fit(self, history: MarketHistory, until: int, config: ModelConfig) -> FittedModel:
        """Fitted on what was known at `until`."""
        return next(self.fit_each(history, [until], config))
