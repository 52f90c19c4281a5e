"""`climatology`: the baseline fingerprint, past without present. Skill is counted from it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.base import FittedModel, MarketStates, Model, Rule
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.lookup import LookupAxes
from pipelines.domain.models.momentum import MomentumRule, fitted_fingerprints, move_axes
from pipelines.domain.prices.bars import Ints
from pipelines.domain.prices.history import MarketHistory


class ClimatologyRule(MomentumRule):
    """One table for every state."""

    @property
    def axes(self) -> LookupAxes:
        """Moves in basis points by TTC."""
        return move_axes(self.config, (0,))

    def buckets(self, states: MarketStates) -> Ints:
        """Always the one table."""
        return np.zeros(len(states.instants), dtype=np.int64)


def baseline_of(tables: FingerprintSet) -> FingerprintSet:
    """The baseline as a set of its own, under bucket 0."""
    at = slice(tables.index(None), tables.index(None) + 1)
    evidence = tables.evidence
    if evidence is not None:
        evidence = type(evidence)(evidence.step, evidence.positive[at], evidence.negative[at])
    return FingerprintSet(
        (0,), tables.nodes, tables.positive[at], tables.negative[at], tables.n[at], tables.n_eff[at], evidence
    )


class ClimatologyModel(Model):
    """Fitted once, with the fingerprints."""

    name = "climatology"

    def walk(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        """As in the base class."""
        tables = baseline_of(fitted_fingerprints(history, instants[0], config))
        for _ in instants:
            yield FittedModel(self.name, instants[0], tables, ClimatologyRule(config))

    def rule(self, stored: Mapping[str, Any]) -> Rule:
        """As in the base class."""
        return ClimatologyRule(ModelConfig.from_json(stored))
