"""Configuration of the momentum model as one validated value.

Every build stores its `ModelConfig` with its generation, so that its numbers can be recomputed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

MODEL_NAME = "momentum"


class Profile(StrEnum):
    """`sound` is correct; `source` reproduces the original's numbers for parity reports."""

    SOUND = "sound"
    SOURCE = "source"


#: The original exported no column for 1.70 %.
SOURCE_MISSING_MOVE_BPS = 170
#: Weight of a base row by its calendar year, 1 for any other year.
SOURCE_YEAR_WEIGHTS = {2025: 5, 2024: 4, 2023: 3, 2022: 2, 2021: 1, 2020: 1}


@dataclass(frozen=True)
class AgeWeight:
    """Base rows younger than `max_age_days` (against the newest bar) weigh `weight`."""

    max_age_days: float
    weight: int

    def __post_init__(self) -> None:
        if not self.max_age_days > 0:
            raise ValueError(f"max_age_days must be positive, not {self.max_age_days}")
        if self.weight < 1:
            raise ValueError(f"weight must be 1 or more, not {self.weight}")


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of the momentum model, with the domain's defaults.

    Moves are in basis points (1 % = 100 bps), horizons in minutes, lags in minutes (`source`: rows). Raises ValueError
    that lists all invalid values.
    """

    #: `sound` is correct; `source` reproduces the original's numbers, for parity reports.
    profile: Profile = Profile.SOUND
    #: Lags of the momentum, rising; 1 or more each.
    momentum_lags_minutes: tuple[int, ...] = (1, 2, 3, 4, 15, 30)
    #: Weights of the lags, whose sum is 1.
    momentum_weights: tuple[float, ...] = (0.30, 0.25, 0.20, 0.15, 0.05, 0.05)
    #: Number of the highest momentum bucket, 1 to 99; the lowest has the negative number.
    bucket_limit: int = 30
    #: Longest time to the close, 1 to 60.
    horizon_minutes: int = 60
    #: Distance between the moves of a fingerprint, 1 or more.
    move_step_bps: int = 5
    #: Largest move of a fingerprint, a multiple of `move_step_bps`.
    move_max_bps: int = 200
    #: Weights of bars by their age against the newest bar, rising in `max_age_days`; yearly steps as in the original.
    age_weights: tuple[AgeWeight, ...] = (
        AgeWeight(365.25, 5),
        AgeWeight(730.5, 4),
        AgeWeight(1095.75, 3),
        AgeWeight(1461.0, 2),
    )
    #: Weight of older bars, 1 or more.
    oldest_weight: int = 1
    #: Distance between the times to the close of a lookup; divides 60.
    lookup_ttc_step_seconds: int = 5
    #: Distance between the moves of a lookup; divides `move_step_bps`.
    lookup_move_step_bps: int = 1
    name: str = field(default=MODEL_NAME, init=False)

    def __post_init__(self) -> None:
        problems = []
        lags = list(self.momentum_lags_minutes)
        if len(self.momentum_weights) != len(lags):
            problems.append("momentum_lags_minutes and momentum_weights differ in length")
        if not lags or lags != sorted(set(lags)):
            problems.append("momentum_lags_minutes must be a rising list")
        elif lags[0] < 1:
            problems.append("momentum_lags_minutes must be 1 or more")
        if not abs(sum(self.momentum_weights) - 1.0) <= 1e-9:
            problems.append(f"momentum_weights must add up to 1, not {sum(self.momentum_weights)}")
        if not 1 <= self.bucket_limit <= 99:
            problems.append("bucket_limit must be 1..99")
        if not 1 <= self.horizon_minutes <= 60:
            problems.append("horizon_minutes must be 1..60")
        if self.move_step_bps < 1 or self.move_max_bps < 1 or self.move_max_bps % self.move_step_bps:
            problems.append("move_max_bps must be a positive multiple of move_step_bps")
        if self.lookup_ttc_step_seconds < 1 or 60 % self.lookup_ttc_step_seconds:
            problems.append("lookup_ttc_step_seconds must divide 60")
        # Each threshold of the fingerprint must be a node of the lookup, or interpolation misses the kinks.
        if self.lookup_move_step_bps < 1 or self.move_step_bps % self.lookup_move_step_bps:
            problems.append("lookup_move_step_bps must divide move_step_bps")
        ages = [band.max_age_days for band in self.age_weights]
        if ages != sorted(set(ages)):
            problems.append("age_weights must rise in max_age_days")
        if self.oldest_weight < 1:
            problems.append("oldest_weight must be 1 or more")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def buckets(self) -> tuple[int, ...]:
        """Momentum buckets, lowest first."""
        return tuple(range(-self.bucket_limit, self.bucket_limit + 1))

    @property
    def moves_bps(self) -> tuple[int, ...]:
        """Thresholds of a fingerprint, in basis points, rising from 0."""
        moves = range(0, self.move_max_bps + 1, self.move_step_bps)
        if self.profile is Profile.SOURCE:
            return tuple(move for move in moves if move != SOURCE_MISSING_MOVE_BPS)
        return tuple(moves)

    @property
    def uncertainty_step_bps(self) -> int:
        """Distance of the moves with uncertainty: every fifth threshold if the last is among them, else every one."""
        coarse = 5 * self.move_step_bps
        return self.move_step_bps if self.move_max_bps % coarse else coarse

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return {**asdict(self), "profile": str(self.profile)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ModelConfig":
        """The inverse of `as_json`."""
        values = {key: value for key, value in stored.items() if key != "name"}
        values["profile"] = Profile(values["profile"])
        values["age_weights"] = tuple(AgeWeight(**band) for band in values["age_weights"])
        for name in ("momentum_lags_minutes", "momentum_weights"):
            values[name] = tuple(values[name])
        return cls(**values)
