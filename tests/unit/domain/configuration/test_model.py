"""Configuration of the momentum model."""

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from pipelines.domain.configuration.model import AgeWeight, ModelConfig, Profile
from pipelines.domain.models.momentum import MomentumRule


def test_the_defaults_are_those_of_the_domain() -> None:
    config = ModelConfig()
    assert config.profile is Profile.SOUND
    assert dict(zip(config.momentum_lags_minutes, config.momentum_weights, strict=True)) == {
        1: 0.30,
        2: 0.25,
        3: 0.20,
        4: 0.15,
        15: 0.05,
        30: 0.05,
    }
    assert (config.buckets[0], config.buckets[-1], len(config.buckets)) == (-30, 30, 61)
    assert config.horizon_minutes == 60
    assert config.name == "momentum"


def test_a_sound_fingerprint_has_41_thresholds_from_0_to_2_percent() -> None:
    moves = ModelConfig().moves_bps
    assert len(moves) == 41
    assert moves == tuple(5 * i for i in range(41))


def test_a_source_fingerprint_has_40_thresholds_and_no_170_bps() -> None:
    moves = ModelConfig(profile=Profile.SOURCE).moves_bps
    assert len(moves) == 40
    assert set(ModelConfig().moves_bps) - set(moves) == {170}


@pytest.mark.parametrize("profile", Profile)
def test_the_default_lookup_has_8840181_cells(profile: Profile) -> None:
    axes = MomentumRule(ModelConfig(profile=profile)).axes
    assert list(axes.ttcs_seconds) == list(range(0, 3601, 5))
    assert list(axes.nodes) == list(range(201))
    assert axes.rows == 721 * 61 == 43_981
    assert axes.cells == 721 * 201 * 61 == 8_840_181


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"momentum_weights": (0.5, 0.5)}, "differ in length"),
        ({"momentum_lags_minutes": (1, 2, 3, 4, 30, 15)}, "rising"),
        ({"momentum_lags_minutes": (1, 2, 3, 4, 4, 30)}, "rising"),
        ({"momentum_lags_minutes": (), "momentum_weights": ()}, "rising"),
        ({"momentum_lags_minutes": (0, 2, 3, 4, 15, 30)}, "1 or more"),
        ({"momentum_lags_minutes": (-1, 2, 3, 4, 15, 30)}, "1 or more"),
        ({"momentum_weights": (0.30, 0.25, 0.20, 0.15, 0.05, 0.06)}, "add up to 1"),
        ({"bucket_limit": 0}, "bucket_limit"),
        ({"bucket_limit": 100}, "bucket_limit"),
        ({"horizon_minutes": 0}, "horizon_minutes"),
        ({"horizon_minutes": 61}, "horizon_minutes"),
        ({"move_step_bps": 0}, "move_step_bps"),
        ({"move_step_bps": -5}, "move_step_bps"),
        ({"move_step_bps": 7}, "move_step_bps"),
        ({"lookup_ttc_step_seconds": 7}, "divide 60"),
        ({"lookup_move_step_bps": 0}, "lookup_move_step_bps"),
        ({"lookup_move_step_bps": 3}, "lookup_move_step_bps"),
        ({"age_weights": (AgeWeight(20, 1), AgeWeight(10, 2))}, "rise"),
        ({"age_weights": (AgeWeight(10, 1), AgeWeight(10, 2))}, "rise"),
        ({"oldest_weight": 0}, "oldest_weight"),
    ],
)
def test_an_invalid_value_is_rejected(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ModelConfig(**values)


@pytest.mark.parametrize("step", [0, -5])
def test_a_ttc_step_that_is_not_positive_is_rejected(step: int) -> None:
    with pytest.raises(ValueError, match="lookup_ttc_step_seconds"):
        ModelConfig(lookup_ttc_step_seconds=step)


def test_a_negative_largest_move_is_rejected() -> None:
    with pytest.raises(ValueError, match="move_max_bps"):
        ModelConfig(move_max_bps=-5)


def test_a_nan_momentum_weight_is_rejected() -> None:
    with pytest.raises(ValueError, match="momentum_weights"):
        ModelConfig(momentum_weights=(float("nan"), 0.25, 0.20, 0.15, 0.05, 0.05))


@pytest.mark.parametrize("step", [2, 4, 8, 10])
def test_a_lookup_step_that_skips_thresholds_is_rejected(step: int) -> None:
    # Between its nodes such a lookup differs from interpolation by far more than rounding.
    with pytest.raises(ValueError, match="lookup_move_step_bps"):
        ModelConfig(lookup_move_step_bps=step)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"bucket_limit.*horizon_minutes.*oldest_weight"):
        ModelConfig(bucket_limit=0, horizon_minutes=0, oldest_weight=0)


@pytest.mark.parametrize(("days", "weight"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (1.0, 0), (1.0, -1)])
def test_an_age_weight_of_zero_is_rejected(days: float, weight: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        AgeWeight(days, weight)


def test_an_unknown_profile_is_rejected() -> None:
    with pytest.raises(ValueError, match="exact"):
        Profile("exact")


def test_a_configuration_is_immutable() -> None:
    config = ModelConfig()
    with pytest.raises(FrozenInstanceError):
        config.bucket_limit = 10  # type: ignore[misc]
    assert config == ModelConfig()
    assert hash(config) == hash(ModelConfig())


def test_the_model_name_is_not_a_parameter() -> None:
    with pytest.raises(TypeError):
        ModelConfig(name="other")  # type: ignore[call-arg]


@pytest.mark.parametrize("profile", Profile)
def test_a_configuration_round_trips_through_json(profile: Profile) -> None:
    config = ModelConfig(profile=profile, bucket_limit=10, age_weights=(AgeWeight(7.5, 3),))
    stored = json.loads(json.dumps(config.as_json(), allow_nan=False))
    assert set(stored) == {entry.name for entry in fields(ModelConfig)}
    assert stored.pop("name") == "momentum"
    stored["profile"] = Profile(stored["profile"])
    stored["age_weights"] = tuple(AgeWeight(**band) for band in stored["age_weights"])
    for name in ("momentum_lags_minutes", "momentum_weights"):
        stored[name] = tuple(stored[name])
    assert ModelConfig(**stored) == config
