"""`student_t` and `normal`: the standardised model's volatility with a parametric distribution.

`normal` is N(d2) without drift. `student_t` has degrees of freedom and a scale per horizon, fitted to the counts of the
standardised moves by maximum likelihood on a grid.
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
from pipelines.domain.models.standardised import StandardisedRule, counts_at_each, shared_parameters, standardised_axes
from pipelines.domain.models.standardised_fingerprint import (
    AXIS_MAX,
    AXIS_STEP,
    AXIS_UNITS,
    HORIZON_MINUTES,
    TOP,
    CountedTables,
    DecayedCounts,
    StandardisedParameters,
)
from pipelines.domain.models.uncertainty import Uncertainty
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.history import MarketHistory


class ParametricRule(StandardisedRule):
    """One bucket, 0, for every state."""

    @property
    def axes(self) -> LookupAxes:
        """Standardised moves for each whole minute."""
        return standardised_axes((0,))

    def buckets(self, states: MarketStates) -> Ints:
        """Always 0."""
        return np.zeros(len(states.instants), dtype=np.int64)


DEGREES_OF_FREEDOM = np.round(np.geomspace(2.2, 30.0, 40), 3)
SCALES = np.round(np.linspace(0.4, 1.3, 91), 2)
#: Integration nodes of the t density: from 0, in growing steps.
_FINE = np.sinh(np.linspace(0.0, 12.0, 24_001))


def axis_nodes() -> Floats:
    """z of each node of the axis: float64[141]."""
    return np.sinh(np.arange(0, AXIS_MAX + 1, AXIS_STEP) / AXIS_UNITS) / 2.0


def t_survival(z: Floats, degrees_of_freedom: float) -> Floats:
    """P(T >= z) for z >= 0, T Student's t, by the trapezoidal rule; accurate to about 1e-7."""
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


def parametric_tables(name: str, sums: DecayedCounts) -> FingerprintSet:
    """One table of `student_t` or `normal`, the same on both sides; NaN at horizons without outcomes."""
    if name == NormalModel.name:
        row = np.array([0.5 * erfc(z / sqrt(2.0)) for z in axis_nodes().tolist()])
        survival = np.tile(row, (HORIZON_MINUTES, 1))
    else:
        freedom, scale = fit_t(sums.weighted.sum(axis=1))
        fitted = zip(freedom.tolist(), scale.tolist(), strict=True)
        survival = np.stack([t_survival(axis_nodes() / s, nu) for nu, s in fitted])
    rows, squares = sums.weighted.sum(axis=(1, 2)), sums.squares.sum(axis=1)
    percent = np.where(rows[:, None] > 0, 100.0 * survival, np.nan)[None]
    n_eff = rows**2 / np.where(rows > 0, squares, 1.0)
    nodes = tuple(range(0, AXIS_MAX + 1, AXIS_STEP))
    return FingerprintSet((0,), nodes, percent, percent, sums.n.sum(axis=1)[None], n_eff[None])


class NormalModel(Model):
    """Only volatility is fitted, at the first instant."""

    name = "normal"

    def fit_each(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        del config
        parameters, track = shared_parameters(history, instants[0])
        _, sums = history.cached(
            ("counts", instants[0]), lambda: next(counts_at_each(history, parameters, track, instants[:1]))
        )
        tables = parametric_tables(self.name, sums)
        for _ in instants:
            yield FittedModel(self.name, instants[0], tables, ParametricRule(parameters))

    def from_counts(self, counted: CountedTables, parameters: StandardisedParameters, fitted_until: int) -> FittedModel:
        """Uncertainty is that of the pooled outcomes."""
        tables, uncertainty = parametric_tables(self.name, counted.sums), counted.tables.uncertainty
        if uncertainty is not None:
            pooled = Uncertainty(uncertainty.step, uncertainty.positive[:1], uncertainty.negative[:1])
            tables = replace(tables, uncertainty=pooled)
        return FittedModel(self.name, fitted_until, tables, ParametricRule(parameters))

    def rule(self, stored: Mapping[str, Any]) -> Rule:
        return ParametricRule(StandardisedParameters.from_json(stored))


class StudentTModel(NormalModel):
    """Degrees of freedom and scale are fitted at the first instant."""

    name = "student_t"
