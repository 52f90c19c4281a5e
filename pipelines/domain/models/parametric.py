"""`student_t` and `normal`: the same volatility with a distribution from a formula, for comparison and as a fallback.

`normal` is the textbook answer, N(d2) without drift. `student_t` has degrees of freedom and a scale per horizon, fitted
to the counts of the standardised moves by maximum likelihood on a grid.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import erfc, sqrt
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.base import FittedModel, MarketStates, Model, Rule
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.lookup import LookupAxes
from pipelines.domain.models.standardised import StandardisedRule, shared_parameters, standardised_axes, walk_counts
from pipelines.domain.models.standardised_fingerprint import (
    AXIS_MAX,
    AXIS_STEP,
    AXIS_UNITS,
    HORIZON_MINUTES,
    TOP,
    AgedCounts,
    Counted,
    StandardisedParameters,
)
from pipelines.domain.models.uncertainty import Evidence
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.history import MarketHistory


class ParametricRule(StandardisedRule):
    """One distribution for every state."""

    @property
    def axes(self) -> LookupAxes:
        """Standardised moves for each whole minute."""
        return standardised_axes((0,))

    def buckets(self, states: MarketStates) -> Ints:
        """Always the one table."""
        return np.zeros(len(states.instants), dtype=np.int64)


DEGREES_OF_FREEDOM = np.round(np.geomspace(2.2, 30.0, 40), 3)
SCALES = np.round(np.linspace(0.4, 1.3, 91), 2)
#: Where the distribution of t is summed up: from 0, in steps that grow.
_FINE = np.sinh(np.linspace(0.0, 12.0, 24_001))


def axis_nodes() -> Floats:
    """z of each node of the axis: float64[141]."""
    return np.sinh(np.arange(0, AXIS_MAX + 1, AXIS_STEP) / AXIS_UNITS) / 2.0


def t_survival(z: Floats, degrees_of_freedom: float) -> Floats:
    """P(T >= z) for z >= 0, T Student's t: the density summed up by trapezoids, to about 1e-7."""
    density = (1.0 + _FINE**2 / degrees_of_freedom) ** (-(degrees_of_freedom + 1.0) / 2.0)
    area = np.concatenate([[0.0], np.cumsum(np.diff(_FINE) * (density[1:] + density[:-1]) / 2.0)])
    return np.asarray(0.5 * (1.0 - np.interp(z, _FINE, area / area[-1])))


def fit_t(counts: Floats) -> tuple[Floats, Floats]:
    """Degrees of freedom and scale per horizon: [60] each. `counts`: float64[60, bins], by standardised move."""
    rising, falling = counts[:, TOP + 2 :], counts[:, : TOP + 1][:, ::-1]
    folded = rising + falling
    best = np.full(len(counts), -np.inf)
    freedom, scale = np.zeros(len(counts)), np.zeros(len(counts))
    edges = axis_nodes()
    for nu in DEGREES_OF_FREEDOM.tolist():
        survival = t_survival(edges[None, :] / SCALES[:, None], nu)
        mass = np.concatenate([-np.diff(survival, axis=1), survival[:, -1:]], axis=1)
        likelihood = folded @ np.log(np.maximum(mass, 1e-300)).T
        at = likelihood.argmax(axis=1)
        found = likelihood[np.arange(len(counts)), at]
        better = found > best
        best[better], freedom[better], scale[better] = found[better], nu, SCALES[at[better]]
    return freedom, scale


def symmetric_tables(survival: Floats, aged: AgedCounts) -> FingerprintSet:
    """One table from float64[60, nodes], the same on both sides; NaN where no outcome was counted."""
    rows, squares = aged.weighted.sum(axis=(1, 2)), aged.squares.sum(axis=1)
    percent = np.where(rows[:, None] > 0, 100.0 * survival, np.nan)[None]
    n_eff = rows**2 / np.where(rows > 0, squares, 1.0)
    return FingerprintSet(
        (0,),
        tuple(range(0, AXIS_MAX + 1, AXIS_STEP)),
        percent,
        percent,
        aged.n.sum(axis=1)[None],
        n_eff[None],
    )


def parametric_tables(name: str, aged: AgedCounts) -> FingerprintSet:
    """Tables of `student_t` or `normal`."""
    if name == NormalModel.name:
        row = np.array([0.5 * erfc(z / sqrt(2.0)) for z in axis_nodes().tolist()])
        return symmetric_tables(np.tile(row, (HORIZON_MINUTES, 1)), aged)
    freedom, scale = fit_t(aged.weighted.sum(axis=1))
    rows = [t_survival(axis_nodes() / s, nu) for nu, s in zip(freedom.tolist(), scale.tolist(), strict=True)]
    return symmetric_tables(np.stack(rows), aged)


class NormalModel(Model):
    """Fitted at the first instant: there is nothing but volatility to fit."""

    name = "normal"

    def walk(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        """As in the base class."""
        del config
        parameters, track = shared_parameters(history, instants[0])
        key = ("counts", instants[0])
        if key not in history.cache:
            _, history.cache[key] = next(walk_counts(history, parameters, track, instants[:1]))
        aged = history.cache[key]
        assert isinstance(aged, AgedCounts)
        tables = parametric_tables(self.name, aged)
        for _ in instants:
            yield FittedModel(self.name, instants[0], tables, ParametricRule(parameters))

    def from_counts(self, counted: Counted, parameters: StandardisedParameters, fitted_until: int) -> FittedModel:
        """As in the base class. The evidence is that of all outcomes together."""
        tables, evidence = parametric_tables(self.name, counted.aged), counted.tables.evidence
        if evidence is not None:
            tables = replace(tables, evidence=Evidence(evidence.step, evidence.positive[:1], evidence.negative[:1]))
        return FittedModel(self.name, fitted_until, tables, ParametricRule(parameters))

    def rule(self, stored: Mapping[str, Any]) -> Rule:
        """As in the base class."""
        return ParametricRule(StandardisedParameters.from_json(stored))


class StudentTModel(NormalModel):
    """Degrees of freedom and scale are fitted at the first instant."""

    name = "student_t"
