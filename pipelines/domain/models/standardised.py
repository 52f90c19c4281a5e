"""`standardised`: tables of the standardised move, by group of momentum over volatility, renewed daily."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.base import FittedModel, MarketStates, Model, Rule
from pipelines.domain.models.lookup import AxisKind, LookupAxes
from pipelines.domain.models.standardised_fingerprint import (
    AXIS_MAX,
    AXIS_STEP,
    EVIDENCE_STEP,
    GROUP_SIGMA_MINUTES,
    GROUPS,
    HORIZON_MINUTES,
    OLDEST_WEEKS,
    AgedCounts,
    Counted,
    StandardisedParameters,
    axis_position,
    count_outcomes,
    fit_parameters,
)
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats, Ints
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import BPS_PER_UNIT
from pipelines.domain.prices.volatility import MINUTES_PER_WEEK, VolatilityTrack

#: The season is averaged over at least a second ahead.
LEAST_AHEAD_MINUTES = 1 / 60


class StandardisedRule(Rule):
    """Group of momentum over volatility; strikes lie where their log move over volatility puts them."""

    def __init__(self, parameters: StandardisedParameters, given_sigma: float | None = None) -> None:
        self.parameters = parameters
        self.volatility = parameters.volatility
        self._given_sigma = given_sigma

    @property
    def axes(self) -> LookupAxes:
        """Standardised moves for each whole minute: between minutes the tables are linear anyway."""
        return standardised_axes(tuple(range(GROUPS + 1)))

    def sigma(self, states: MarketStates, ttc_minutes: float) -> Floats:
        """Forecast over the next `ttc_minutes`, or what was given instead."""
        if self._given_sigma is not None:
            return np.full(len(states.instants), self._given_sigma)
        volatility = self.parameters.volatility
        ahead = min(max(ttc_minutes, LEAST_AHEAD_MINUTES), HORIZON_MINUTES)
        return volatility.sigma(volatility.log_states(states.variances), states.instants, ahead)

    def buckets(self, states: MarketStates) -> Ints:
        """1..9; 0, all together, where momentum is not known."""
        return self.parameters.group_of(states.score, self.sigma(states, GROUP_SIGMA_MINUTES))

    def positions(self, states: MarketStates, ttc_minutes: float, moves_bps: Floats) -> Floats:
        """The log move over what is to be expected."""
        ttc = min(ttc_minutes, HORIZON_MINUTES)
        log_moves = np.log1p(moves_bps / BPS_PER_UNIT)
        return axis_position(log_moves[None, :], self.sigma(states, ttc)[:, None], ttc)

    def with_sigma(self, sigma: float) -> Rule:
        """As in the base class."""
        return type(self)(self.parameters, sigma)

    def as_json(self) -> dict[str, Any]:
        """Season, weights, floor and edges."""
        return self.parameters.as_json()


def standardised_axes(buckets: tuple[int, ...]) -> LookupAxes:
    """A lookup by standardised move with these buckets."""
    return LookupAxes(
        Profile.SOUND,
        SECONDS_PER_MINUTE,
        HORIZON_MINUTES * SECONDS_PER_MINUTE,
        AXIS_STEP,
        AXIS_MAX,
        AxisKind.STANDARDISED_MOVE,
        EVIDENCE_STEP,
        buckets,
    )


def shared_parameters(history: MarketHistory, until: int) -> tuple[StandardisedParameters, VolatilityTrack]:
    """Parameters from what was known at `until`, and the track by them over the whole history; computed once."""
    key = ("standardised", until)
    if key not in history.cache:
        parameters = fit_parameters(history.until(until))
        history.cache[key] = parameters, StandardisedRule(parameters).track(history)
    found = history.cache[key]
    assert isinstance(found, tuple)
    return found


class StandardisedModel(Model):
    """Season, weights and edges are fitted at the first instant; the tables are renewed at each."""

    name = "standardised"

    def walk(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        """As in the base class."""
        del config
        parameters, track = shared_parameters(history, instants[0])
        for instant, aged in walk_counts(history, parameters, track, instants):
            yield FittedModel(self.name, instant, aged.tables(), StandardisedRule(parameters))

    def from_counts(self, counted: Counted, parameters: StandardisedParameters, fitted_until: int) -> FittedModel:
        """As in the base class."""
        return FittedModel(self.name, fitted_until, counted.tables, StandardisedRule(parameters))

    def rule(self, stored: Mapping[str, Any]) -> Rule:
        """As in the base class."""
        return StandardisedRule(StandardisedParameters.from_json(stored))


def walk_counts(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, instants: Sequence[int]
) -> Iterator[tuple[int, AgedCounts]]:
    """Counts as of each instant, of base rows whose longest horizon was known then. Raises ValueError without any."""
    first_week = instants[0] // MINUTES_PER_WEEK
    row = history.closed_rows((first_week - OLDEST_WEEKS + 1) * MINUTES_PER_WEEK - HORIZON_MINUTES)
    aged = AgedCounts.empty((history.first_minute + row + HORIZON_MINUTES) // MINUTES_PER_WEEK)
    for instant in instants:
        last = history.closed_rows(instant) - HORIZON_MINUTES
        while row < last:
            week = (history.first_minute + row + HORIZON_MINUTES) // MINUTES_PER_WEEK
            stop = min(last, (week + 1) * MINUTES_PER_WEEK - HORIZON_MINUTES - history.first_minute)
            aged = aged.aged_to(week)
            aged.add(count_outcomes(history, parameters, track, row, stop), week)
            row = stop
        aged = aged.aged_to(instant // MINUTES_PER_WEEK)
        if not aged.n.any():
            raise ValueError("no outcome is known yet")
        yield instant, aged
