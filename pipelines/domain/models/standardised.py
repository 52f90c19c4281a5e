"""`standardised`: tables of the standardised move by group of momentum over volatility, updated daily."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.base import FittedModel, MarketStates, Model, Rule
from pipelines.domain.models.lookup import AxisKind, LookupAxes
from pipelines.domain.models.standardised_fingerprint import (
    AXIS_MAX,
    AXIS_STEP,
    GROUP_SIGMA_MINUTES,
    GROUPS,
    HORIZON_MINUTES,
    OLDEST_WEEKS,
    UNCERTAINTY_STEP,
    CountedTables,
    DecayedCounts,
    StandardisedParameters,
    axis_position,
    count_outcomes,
    fit_parameters,
    rows_by_week,
    week_of_row,
)
from pipelines.domain.prices.bars import MINUTES_PER_WEEK, SECONDS_PER_MINUTE, Floats, Ints
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import BPS_PER_UNIT
from pipelines.domain.prices.volatility import VolatilityTrack

#: The season is averaged over at least one second.
MIN_AHEAD_MINUTES = 1 / 60


class StandardisedRule(Rule):
    """Group of momentum over volatility; a strike's position is its log move over volatility."""

    def __init__(self, parameters: StandardisedParameters, given_sigma: float | None = None) -> None:
        self.parameters = parameters
        self.volatility = parameters.volatility
        self._given_sigma = given_sigma

    @property
    def axes(self) -> LookupAxes:
        """Whole minutes by standardised move; the tables are linear between minutes."""
        return standardised_axes(tuple(range(GROUPS + 1)))

    def sigma(self, states: MarketStates, ttc_minutes: float) -> Floats:
        """Forecast over the next `ttc_minutes`, or the given volatility."""
        if self._given_sigma is not None:
            return np.full(len(states.instants), self._given_sigma)
        ahead = min(max(ttc_minutes, MIN_AHEAD_MINUTES), HORIZON_MINUTES)
        log_states = self.parameters.volatility.log_states(states.variances)
        return self.parameters.volatility.sigma(log_states, states.instants, ahead)

    def buckets(self, states: MarketStates) -> Ints:
        """1..9; 0, the pooled table, where momentum is unknown."""
        return self.parameters.group_of(states.score, self.sigma(states, GROUP_SIGMA_MINUTES))

    def positions(self, states: MarketStates, ttc_minutes: float, moves_bps: Floats) -> Floats:
        """The log move over its forecast standard deviation."""
        ttc = min(ttc_minutes, HORIZON_MINUTES)
        log_moves = np.log1p(moves_bps / BPS_PER_UNIT)
        return axis_position(log_moves, self.sigma(states, ttc)[:, None], ttc)

    def with_sigma(self, sigma: float) -> Rule:
        return type(self)(self.parameters, sigma)

    def as_json(self) -> dict[str, Any]:
        """Season, weights, floor and edges."""
        return self.parameters.as_json()


def standardised_axes(buckets: tuple[int, ...]) -> LookupAxes:
    """Axes of a lookup by standardised move with these buckets."""
    return LookupAxes(
        Profile.SOUND,
        SECONDS_PER_MINUTE,
        HORIZON_MINUTES * SECONDS_PER_MINUTE,
        AXIS_STEP,
        AXIS_MAX,
        AxisKind.STANDARDISED_MOVE,
        UNCERTAINTY_STEP,
        buckets,
    )


def shared_parameters(history: MarketHistory, until: int) -> tuple[StandardisedParameters, VolatilityTrack]:
    """Parameters from what was known at `until`, and the track by them over the whole history; computed once."""
    parameters = history.cached(("standardised", until), lambda: fit_parameters(history.until(until)))
    return parameters, StandardisedRule(parameters).track(history)


class StandardisedModel(Model):
    """Season, weights and edges are fitted at the first instant; the tables are updated at each."""

    name = "standardised"

    def fit_each(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        del config
        parameters, track = shared_parameters(history, instants[0])
        for instant, sums in counts_at_each(history, parameters, track, instants):
            yield FittedModel(self.name, instant, sums.tables(), StandardisedRule(parameters))

    def from_counts(self, counted: CountedTables, parameters: StandardisedParameters, fitted_until: int) -> FittedModel:
        return FittedModel(self.name, fitted_until, counted.tables, StandardisedRule(parameters))

    def rule(self, stored: Mapping[str, Any]) -> Rule:
        return StandardisedRule(StandardisedParameters.from_json(stored))


def counts_at_each(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, instants: Sequence[int]
) -> Iterator[tuple[int, DecayedCounts]]:
    """Counts as of each instant, of base rows whose longest horizon had passed. Raises ValueError without any."""
    first_week = instants[0] // MINUTES_PER_WEEK
    row = history.closed_rows((first_week - OLDEST_WEEKS + 1) * MINUTES_PER_WEEK - HORIZON_MINUTES)
    sums = DecayedCounts.empty(week_of_row(history.first_minute + row))
    for instant in instants:
        last = history.closed_rows(instant) - HORIZON_MINUTES
        for week, start, stop in rows_by_week(history, row, last):
            sums = sums.decayed_to(week)
            sums.add(count_outcomes(history, parameters, track, start, stop), week)
        row = max(row, last)
        sums = sums.decayed_to(instant // MINUTES_PER_WEEK)
        if not sums.n.any():
            raise ValueError("no outcome is known yet")
        yield instant, sums
