"""Momentum compared with exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.prices.bars import Closes, closes_from_usd
from pipelines.domain.prices.momentum import NO_BUCKET, bucket_of, compute_momentum, weighted_return

WEIGHTS = {1: Fraction(30, 100), 2: Fraction(25, 100), 3: Fraction(20, 100)} | {
    4: Fraction(15, 100),
    15: Fraction(5, 100),
    30: Fraction(5, 100),
}
SOUND, SOURCE = ModelConfig(), ModelConfig(profile=Profile.SOURCE)


def _closes(minutes: list[int], cents: list[int]) -> Closes:
    return closes_from_usd(np.array(minutes, dtype=np.int64), np.array(cents) / 100)


def _score_bps(minutes: list[int], cents: list[int], row: int, profile: Profile) -> Fraction | None:
    """S in basis points by its definition."""
    at_minute = dict(zip(minutes, cents, strict=True))
    score = Fraction(0)
    for lag, weight in WEIGHTS.items():
        if profile is Profile.SOURCE:
            past = cents[row - lag] if row >= lag else None
        else:
            past = at_minute.get(minutes[row] - lag)
        if past is None:
            return None
        score += weight * Fraction(cents[row] - past, past)
    return score * 10_000


def _buckets(score_bps: Fraction, profile: Profile) -> set[int]:
    """The bucket, or both neighbours when the score is within rounding of an edge."""
    buckets = set()
    for nudged in (score_bps - Fraction(1, 10**9), score_bps + Fraction(1, 10**9)):
        bucket = round(nudged)
        if profile is Profile.SOURCE and abs(bucket) > 30:
            bucket = NO_BUCKET
        elif abs(bucket) > 30:
            bucket = 30 if bucket > 0 else -30
        buckets.add(bucket)
    return buckets


@pytest.mark.parametrize("profile", Profile)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_score_and_bucket_equal_the_formula(profile: Profile, data: st.DataObject) -> None:
    count = data.draw(st.integers(32, 70))
    skips = data.draw(st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2, 45]), min_size=count, max_size=count))
    minutes = (28_000_000 + np.cumsum(skips)).tolist()
    cents = data.draw(st.lists(st.integers(9_900_000, 10_100_000), min_size=count, max_size=count))
    if data.draw(st.booleans()):
        cents = [10_000_000 + (price - 10_000_000) // 10 for price in cents]
    momentum = compute_momentum(_closes(minutes, cents), ModelConfig(profile=profile))
    for row in range(count):
        expected = _score_bps(minutes, cents, row, profile)
        if expected is None:
            assert np.isnan(momentum.score_pct[row])
            assert momentum.buckets[row] == NO_BUCKET
        else:
            assert momentum.score_pct[row] == pytest.approx(float(expected / 100), rel=1e-9, abs=1e-12)
            assert int(momentum.buckets[row]) in _buckets(expected, profile)


def test_a_return_is_relative_to_the_earlier_price() -> None:
    # From 100 to 200 is +100 %, not +50 %: with one lag only, S is that return.
    config = ModelConfig(momentum_lags_minutes=(1,), momentum_weights=(1.0,))
    momentum = compute_momentum(_closes([1, 2, 3], [10_000, 20_000, 10_000]), config)
    assert momentum.score_pct[1:].tolist() == [100.0, -50.0]


def test_each_lag_has_its_own_weight() -> None:
    for position, weight in enumerate((0.30, 0.25, 0.20, 0.15, 0.05, 0.05)):
        lagged = np.full((6, 1), 100.0)
        lagged[position] = 80.0
        assert weighted_return(np.array([100.0]), lagged, SOUND)[0] == pytest.approx(weight * 0.25)


def _single_move(half_bps: int) -> Closes:
    """30 bars at 200.00 and one `half_bps` cents above: S is exactly `half_bps` / 2 bps."""
    return _closes(list(range(1, 32)), [20_000] * 30 + [20_000 + half_bps])


def test_a_score_of_exactly_half_a_basis_point_rounds_to_even() -> None:
    halves = [half for half in range(-59, 60) if half % 2]
    exact = {half: round(Fraction(half, 2)) for half in halves}
    buckets = {half: int(compute_momentum(_single_move(half), SOUND).buckets[-1]) for half in halves}
    assert buckets == exact


def test_halves_round_to_even() -> None:
    scores = np.array([0.5, 2.5, 4.5, -0.5, -2.5, -4.5]) / 10_000
    assert (scores * 10_000).tolist() == [0.5, 2.5, 4.5, -0.5, -2.5, -4.5]
    assert bucket_of(scores, SOUND).tolist() == [0, 2, 4, 0, -2, -4]


@pytest.mark.parametrize(
    ("bps", "sound", "source"),
    [
        (29.4, 29, 29),
        (30.0, 30, 30),
        (30.4, 30, 30),
        (30.6, 30, NO_BUCKET),
        (31.0, 30, NO_BUCKET),
        (500.0, 30, NO_BUCKET),
        (-30.4, -30, -30),
        (-30.6, -30, NO_BUCKET),
        (-500.0, -30, NO_BUCKET),
        (float("inf"), 30, NO_BUCKET),
        (float("nan"), NO_BUCKET, NO_BUCKET),
    ],
)
def test_scores_beyond_30_are_clamped_in_sound_and_have_no_bucket_in_source(
    bps: float, sound: int, source: int
) -> None:
    score = np.array([bps / 10_000])
    assert bucket_of(score, SOUND).tolist() == [sound]
    assert bucket_of(score, SOURCE).tolist() == [source]


def test_the_bucket_limit_is_configurable() -> None:
    assert bucket_of(np.array([0.0012, -0.0012]), ModelConfig(bucket_limit=5)).tolist() == [5, -5]


@pytest.mark.parametrize("profile", Profile)
def test_the_first_30_bars_have_no_momentum(profile: Profile) -> None:
    momentum = compute_momentum(_closes(list(range(40)), [10_000] * 40), ModelConfig(profile=profile))
    assert np.isnan(momentum.score_pct).tolist() == [True] * 30 + [False] * 10
    assert momentum.buckets.tolist() == [NO_BUCKET] * 30 + [0] * 10


def test_one_missing_minute_leaves_exactly_the_bars_at_its_lags_without_momentum_in_sound() -> None:
    minutes = [minute for minute in range(100) if minute != 50]
    momentum = compute_momentum(_closes(minutes, [10_000] * 99), SOUND)
    without = {minute for minute, bucket in zip(minutes, momentum.buckets, strict=True) if bucket == NO_BUCKET}
    assert without == set(range(30)) | {50 + lag for lag in WEIGHTS}


def test_lags_count_rows_in_source_and_minutes_in_sound() -> None:
    # The price doubles during a gap of ten hours.
    minutes = [*range(40), *range(640, 680)]
    cents = [10_000] * 40 + [20_000] * 40
    source = compute_momentum(_closes(minutes, cents), SOURCE)
    sound = compute_momentum(_closes(minutes, cents), SOUND)
    assert source.score_pct[40] == pytest.approx(100.0)
    assert not np.isnan(source.score_pct[30:]).any()
    assert np.isnan(sound.score_pct[40:70]).all()
    assert sound.score_pct[70:].tolist() == [0.0] * 10


def test_momentum_does_not_depend_on_the_unit_of_price() -> None:
    rng = np.random.default_rng(5)
    cents = np.cumsum(rng.integers(-3_000, 3_001, 400)) + 10_000_000
    minutes = np.arange(400, dtype=np.int64)
    in_cents = compute_momentum(Closes(minutes, cents.astype(np.float64), 100), SOUND)
    in_mills = compute_momentum(Closes(minutes, (cents * 10).astype(np.float64), 1000), SOUND)
    np.testing.assert_allclose(in_cents.score_pct, in_mills.score_pct, rtol=1e-12, atol=1e-15)
    assert len(set(in_cents.buckets.tolist())) > 10
