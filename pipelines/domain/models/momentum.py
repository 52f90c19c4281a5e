"""`momentum` and `climatology`: fingerprints of the move by momentum bucket, and their baseline alone.

domain.md, sections 3 and 4. Momentum is the benchmark for the other models; skill is measured against climatology.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.base import FittedModel, MarketStates, Model, Rule
from pipelines.domain.models.fingerprint import FingerprintSet, compute_fingerprints
from pipelines.domain.models.interpolation import scaled_move_bps
from pipelines.domain.models.lookup import AxisKind, LookupAxes
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats, Ints
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.momentum import bucket_of, compute_momentum


@dataclass(frozen=True)
class MomentumRule(Rule):
    """Momentum bucket; a strike's position is its distance from the price in basis points."""

    config: ModelConfig

    @property
    def axes(self) -> LookupAxes:
        """TTC by move in basis points, for each momentum bucket."""
        config = self.config
        return LookupAxes(
            config.profile,
            config.lookup_ttc_step_seconds,
            config.horizon_minutes * SECONDS_PER_MINUTE,
            config.lookup_move_step_bps,
            config.move_max_bps,
            AxisKind.MOVE_BPS,
            config.uncertainty_step_bps,
            config.buckets,
        )

    def buckets(self, states: MarketStates) -> Ints:
        """Momentum bucket, NO_BUCKET where momentum is unknown."""
        return bucket_of(states.score, self.config).astype(np.int64)

    def positions(self, states: MarketStates, ttc_minutes: float, moves_bps: Floats) -> Floats:
        """The absolute move; below a minute, the equally likely move of 60 seconds."""
        del states
        seconds = ttc_minutes * SECONDS_PER_MINUTE
        return np.atleast_2d(scaled_move_bps(seconds, np.abs(moves_bps), self.config.profile))

    def as_json(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.as_json()


class ClimatologyRule(MomentumRule):
    """One bucket, 0, for every state."""

    @property
    def axes(self) -> LookupAxes:
        """TTC by move in basis points."""
        return replace(super().axes, buckets=(0,))

    def buckets(self, states: MarketStates) -> Ints:
        """Always 0."""
        return np.zeros(len(states.instants), dtype=np.int64)


def climatology_tables(tables: FingerprintSet) -> FingerprintSet:
    """The baseline as a set of its own, under bucket 0."""
    at = slice(tables.index(None), tables.index(None) + 1)
    uncertainty = tables.uncertainty
    if uncertainty is not None:
        uncertainty = replace(uncertainty, positive=uncertainty.positive[at], negative=uncertainty.negative[at])
    return FingerprintSet(
        (0,), tables.nodes, tables.positive[at], tables.negative[at], tables.n[at], tables.n_eff[at], uncertainty
    )


def fitted_fingerprints(history: MarketHistory, until: int, config: ModelConfig) -> FingerprintSet:
    """All fingerprints from what was known at `until`; computed once per history, instant and configuration.

    Raises ValueError without bars.
    """

    def compute() -> FingerprintSet:
        closes = history.until(until).closes()
        if not len(closes):
            raise ValueError("no bar is known yet")
        return compute_fingerprints(closes, compute_momentum(closes, config), config)

    return history.cached(("fingerprints", until, config), compute)


class MomentumModel(Model):
    """Fitted once, at the first instant: a quarter of new bars hardly changes five years of history."""

    name = "momentum"
    rule_type = MomentumRule

    def fit_each(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        tables = self.select(fitted_fingerprints(history, instants[0], config))
        for _ in instants:
            yield FittedModel(self.name, instants[0], tables, self.rule_type(config))

    def select(self, tables: FingerprintSet) -> FingerprintSet:
        """The tables of this model among all fingerprints."""
        return tables

    def rule(self, stored: Mapping[str, Any]) -> Rule:
        return self.rule_type(ModelConfig.from_json(stored))


class ClimatologyModel(MomentumModel):
    """Fitted once, at the first instant, as `MomentumModel`."""

    name = "climatology"
    rule_type = ClimatologyRule

    def select(self, tables: FingerprintSet) -> FingerprintSet:
        return climatology_tables(tables)
