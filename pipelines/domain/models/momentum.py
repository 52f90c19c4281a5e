"""`momentum`: the fingerprints of old, by momentum bucket (domain.md, sections 3 and 4). The yardstick to beat."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """The momentum bucket; strikes lie at their distance from the price."""

    config: ModelConfig

    @property
    def axes(self) -> LookupAxes:
        """Moves in basis points by TTC, for each momentum bucket."""
        return move_axes(self.config, self.config.buckets)

    def buckets(self, states: MarketStates) -> Ints:
        """Momentum bucket, NO_BUCKET where momentum is not known."""
        return bucket_of(states.score, self.config).astype(np.int64)

    def positions(self, states: MarketStates, ttc_minutes: float, moves_bps: Floats) -> Floats:
        """The move itself; below a minute the move of 60 seconds that is as rare."""
        del states
        return scaled_move_bps(ttc_minutes * SECONDS_PER_MINUTE, np.abs(moves_bps), self.config.profile)[None, :]

    def as_json(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.as_json()


def move_axes(config: ModelConfig, buckets: tuple[int, ...]) -> LookupAxes:
    """A lookup by move as configured, with these buckets."""
    return LookupAxes(
        config.profile,
        config.lookup_ttc_step_seconds,
        config.horizon_minutes * SECONDS_PER_MINUTE,
        config.lookup_move_step_bps,
        config.move_max_bps,
        AxisKind.MOVE_BPS,
        config.evidence_step_bps,
        buckets,
    )


def fitted_fingerprints(history: MarketHistory, until: int, config: ModelConfig) -> FingerprintSet:
    """All fingerprints from what was known at `until`; computed once per history, instant and configuration."""
    key = ("fingerprints", until, config)
    if key not in history.cache:
        closes = history.until(until).closes()
        if not len(closes):
            raise ValueError("no bar is known yet")
        history.cache[key] = compute_fingerprints(closes, compute_momentum(closes, config), config)
    tables = history.cache[key]
    assert isinstance(tables, FingerprintSet)
    return tables


class MomentumModel(Model):
    """Fitted once, at the first instant: five years of history do not change in a quarter."""

    name = "momentum"

    def walk(self, history: MarketHistory, instants: Sequence[int], config: ModelConfig) -> Iterator[FittedModel]:
        """As in the base class."""
        tables = fitted_fingerprints(history, instants[0], config)
        for _ in instants:
            yield FittedModel(self.name, instants[0], tables, MomentumRule(config))

    def rule(self, stored: Mapping[str, Any]) -> Rule:
        """As in the base class."""
        return MomentumRule(ModelConfig.from_json(stored))
