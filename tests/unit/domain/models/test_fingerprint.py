"""Fingerprints, compared with a direct count in whole numbers."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.domain.configuration.model import AgeWeight, ModelConfig, Profile
from pipelines.domain.models.fingerprint import FingerprintSet, compute_fingerprints, weight_bands
from pipelines.domain.prices.bars import Closes, Ints, closes_from_usd
from pipelines.domain.prices.momentum import NO_BUCKET, Momentum, compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_WEIGHTS = {2025: 5, 2024: 4, 2023: 3, 2022: 2, 2021: 1, 2020: 1}


def _minute(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int((datetime(year, month, day, hour, minute, tzinfo=UTC) - EPOCH).total_seconds()) // 60


def _closes(minutes: list[int], cents: list[int]) -> Closes:
    return closes_from_usd(np.array(minutes, dtype=np.int64), np.array(cents) / 100)


def _momentum(buckets: list[int]) -> Momentum:
    return Momentum(np.zeros(len(buckets)), np.array(buckets, dtype=np.int8))


def _weight(minute: int, newest: int, config: ModelConfig) -> int:
    if config.profile is Profile.SOURCE:
        return YEAR_WEIGHTS.get((EPOCH + timedelta(minutes=minute)).year, 1)
    for band in config.age_weights:
        if newest - minute < Fraction(band.max_age_days) * 24 * 60:
            return band.weight
    return config.oldest_weight


class Count:
    """One (bucket, TTC) of the slow reference: base rows, their weights, and the weight beyond each threshold."""

    def __init__(self, thresholds: list[int]) -> None:
        self.weights: list[int] = []
        self.positive = dict.fromkeys(thresholds, 0)
        self.negative = dict.fromkeys(thresholds, 0)
        self.ties = 0


def _reference(
    minutes: list[int], cents: list[int], buckets: list[int], config: ModelConfig
) -> dict[tuple[int | None, int], Count]:
    """Every fingerprint by its definition: whole numbers only, one row, one TTC and one threshold at a time."""
    source = config.profile is Profile.SOURCE
    thresholds = [bps for bps in range(0, 201, 5) if not (source and bps == 170)]
    counts: dict[tuple[int | None, int], Count] = defaultdict(lambda: Count(thresholds))
    at_minute = dict(zip(minutes, cents, strict=True))
    for row, (minute, base) in enumerate(zip(minutes, cents, strict=True)):
        weight = _weight(minute, minutes[-1], config)
        tables = [None] if buckets[row] == NO_BUCKET else [None, buckets[row]]
        for ttc in range(1, config.horizon_minutes + 1):
            later = at_minute.get(minute + ttc)
            if source:
                later = cents[row + ttc] if row + ttc < len(cents) else None
            if later is None:
                continue
            for count in (counts[table, ttc] for table in tables):
                count.weights.append(weight)
                for bps in thresholds:
                    up, down = (later - base) * 10_000 - bps * base, (base - later) * 10_000 - bps * base
                    count.positive[bps] += weight * (up >= 0)
                    count.negative[bps] += weight * (down >= 0)
                    count.ties += bps > 0 and (up == 0 or down == 0)
    return counts


def _assert_equal(made: FingerprintSet, expected: dict[tuple[int | None, int], Count], config: ModelConfig) -> None:
    source = config.profile is Profile.SOURCE
    assert made.buckets == (None, *range(-30, 31))
    n, n_eff = np.zeros(made.n.shape, dtype=np.int64), np.zeros(made.n.shape)
    sides = np.full((2, *made.positive.shape), 0.0 if source else np.nan)
    for (bucket, ttc), count in expected.items():
        cell = made.index(bucket), ttc - 1
        total = sum(count.weights)
        n[cell] = len(count.weights)
        n_eff[cell] = total**2 / sum(weight * weight for weight in count.weights)
        for side, sums in enumerate((count.positive, count.negative)):
            sides[side, *cell] = [float(Fraction(100 * weight, total)) for weight in sums.values()]
    np.testing.assert_array_equal(made.n, n)
    np.testing.assert_allclose(made.n_eff, n_eff, rtol=1e-12)
    shown = np.stack([made.positive, made.negative])
    if source:
        np.testing.assert_allclose(shown, sides, rtol=0, atol=0.005 + 1e-9)
        assert [round(value, 2) for value in shown.ravel().tolist()] == shown.ravel().tolist()
    else:
        np.testing.assert_allclose(shown, sides, rtol=1e-13, atol=0)


def _walk() -> tuple[list[int], list[int], list[int]]:
    """Four runs of bars over seven years, with missing minutes; prices are often exactly a threshold apart."""
    rng = np.random.default_rng(2)
    starts = [_minute(2019, 12, 31, 23, 20), _minute(2022, 6, 1), _minute(2024, 12, 31, 23, 20), _minute(2026, 2, 1)]
    minutes = [minute for start in starts for minute in range(start, start + 75) if rng.random() > 0.03]
    levels = rng.choice([0, *range(-20, 21), -110, 110], len(minutes), p=[0.3, *[0.66 / 41] * 41, 0.02, 0.02])
    cents = (2_000_000 + 500 * levels).tolist()
    return minutes, cents, rng.choice([NO_BUCKET, -30, -1, 0, 7, 30], len(minutes)).tolist()


@pytest.mark.parametrize("profile", Profile)
def test_all_62_tables_equal_a_count_in_whole_numbers(profile: Profile) -> None:
    minutes, cents, buckets = _walk()
    config = ModelConfig(profile=profile)
    expected = _reference(minutes, cents, buckets, config)
    assert sum(count.ties for count in expected.values()) > 100, "the walk must meet thresholds exactly"
    assert len({_weight(minute, minutes[-1], config) for minute in minutes}) >= 3
    made = compute_fingerprints(_closes(minutes, cents), _momentum(buckets), config)
    assert made.positive.shape == made.negative.shape == (62, 60, 40 if profile is Profile.SOURCE else 41)
    assert made.horizons == 60
    _assert_equal(made, expected, config)


@pytest.mark.parametrize("profile", Profile)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_cent_prices_equal_a_count_in_whole_numbers(profile: Profile, data: st.DataObject) -> None:
    config = ModelConfig(profile=profile, horizon_minutes=3, age_weights=(AgeWeight(1 / 256, 3), AgeWeight(0.25, 2)))
    base = data.draw(st.integers(1, 50_000_000))
    count = data.draw(st.integers(1, 10))
    skips = data.draw(st.lists(st.sampled_from([1, 1, 1, 2, 300]), min_size=count, max_size=count))
    moves = data.draw(st.lists(st.integers(-210, 210), min_size=count, max_size=count))
    cents = [max(1, base + base * move // 10_000) for move in moves]
    minutes = (_minute(2024, 12, 31, 23, 57) + np.cumsum(skips)).tolist()
    buckets = data.draw(st.lists(st.sampled_from([NO_BUCKET, -30, 0, 30]), min_size=count, max_size=count))
    made = compute_fingerprints(_closes(minutes, cents), _momentum(buckets), config)
    _assert_equal(made, _reference(minutes, cents, buckets, config), config)


@settings(deadline=None, max_examples=120)
@given(base=st.integers(1, 400_000_000), step=st.integers(1, 40), up=st.booleans(), decimals=st.integers(0, 6))
def test_an_exact_tie_counts_as_a_tie(base: int, step: int, up: bool, decimals: int) -> None:
    base += -base % (2_000 // np.gcd(2_000, step))
    move, left = divmod(base * step * 5, 10_000)
    assert left == 0
    assume(move > 0)
    units = np.array([base, base + move if up else base - move])
    closes = closes_from_usd(np.array([10, 11]), units / 10**decimals)
    made = compute_fingerprints(closes, _momentum([0, 0]), ModelConfig(horizon_minutes=1))
    side, other = (made.positive, made.negative) if up else (made.negative, made.positive)
    assert side[0, 0].tolist() == [100.0] * (step + 1) + [0.0] * (40 - step)
    assert other[0, 0].tolist() == [0.0] * 41


@settings(deadline=None, max_examples=120)
@given(base=st.integers(2_000, 400_000_000), step=st.integers(1, 40), up=st.booleans())
def test_a_move_one_cent_short_of_a_threshold_does_not_count(base: int, step: int, up: bool) -> None:
    short = -(-base * step * 5 // 10_000) - 1
    closes = _closes([10, 11], [base, base + short if up else base - short])
    made = compute_fingerprints(closes, _momentum([0, 0]), ModelConfig(horizon_minutes=1))
    assert (made.positive if up else made.negative)[0, 0, step] == 0.0


def test_an_unchanged_price_counts_only_at_the_zero_threshold_of_both_sides() -> None:
    made = compute_fingerprints(_closes([1, 2], [777, 777]), _momentum([0, 0]), ModelConfig())
    assert made.positive[0, 0].tolist() == made.negative[0, 0].tolist() == [100.0] + [0.0] * 40


def test_a_gap_of_hours_never_counts_as_adjacent_minutes_in_sound() -> None:
    closes, momentum = _closes([0, 1, 601, 602], [10_000, 10_000, 20_000, 20_000]), _momentum([0] * 4)
    sound = compute_fingerprints(closes, momentum, ModelConfig())
    source = compute_fingerprints(closes, momentum, ModelConfig(profile=Profile.SOURCE))
    assert sound.n[0].tolist() == [2] + [0] * 59
    assert sound.positive[0, 0, -1] == 0.0
    assert np.isnan(sound.positive[0, 1]).all()
    assert source.n[0].tolist() == [3, 2, 1] + [0] * 57
    assert source.positive[0, :4, -1].tolist() == [33.33, 100.0, 100.0, 0.0]


def test_a_base_row_is_weighted_by_its_age_against_the_newest_bar_in_sound() -> None:
    newest, year = _minute(2026, 7, 1), 525_960  # minutes in 365.25 days
    ages = [4 * year, 4 * year - 1, 3 * year, 3 * year - 1, 2 * year, 2 * year - 1, year, year - 1, 0]
    bands = weight_bands(newest - np.array(ages, dtype=np.int64), ModelConfig())
    assert [band.weight for band in bands for _ in range(band.stop - band.start)] == [1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [band.start for band in bands[1:]] == [band.stop for band in bands[:-1]]


def test_a_base_row_is_weighted_by_its_calendar_year_in_source() -> None:
    minutes: Ints = np.array([_minute(year, 6, 1) for year in range(2018, 2028)])
    edges = np.array([_minute(2024, 12, 31, 23, 59), _minute(2025, 1, 1)])
    config = ModelConfig(profile=Profile.SOURCE)
    for rows, weights in ((minutes, [1, 1, 1, 1, 2, 3, 4, 5, 1, 1]), (edges, [4, 5])):
        assert [band.weight for band in weight_bands(rows, config) for _ in range(band.stop - band.start)] == weights


@pytest.mark.parametrize("profile", Profile)
def test_tables_of_synthetic_bars_never_rise_with_the_move_and_add_up(profile: Profile) -> None:
    bars = generate_bars(SimulationParameters(100_000.0, gaps_per_day=3.0), 40, _minute(2026, 1, 10), 7)
    closes, config = closes_from_usd(bars.minutes, bars.close), ModelConfig(profile=profile)
    momentum = compute_momentum(closes, config)
    made = compute_fingerprints(closes, momentum, config)
    for side in (made.positive, made.negative):
        assert (np.diff(side, axis=-1)[made.n > 0] <= 0).all()
    assert (made.positive[0, :, 0] + made.negative[0, :, 0] >= 100.0 - 0.01).all()
    unbucketed = momentum.buckets == NO_BUCKET
    present = set(bars.minutes.tolist())
    for ttc in (1, 30, 60):
        later = np.array([minute + ttc in present for minute in bars.minutes.tolist()])
        if profile is Profile.SOURCE:
            later = np.arange(len(closes)) + ttc < len(closes)
        assert made.n[0, ttc - 1] == later.sum()
        assert made.n[1:, ttc - 1].sum() == (later & ~unbucketed).sum()


def test_the_index_of_a_missing_bucket_raises() -> None:
    made = compute_fingerprints(_closes([1, 2], [5, 5]), _momentum([0, 0]), ModelConfig(bucket_limit=2))
    assert [made.index(bucket) for bucket in (None, -2, 0, 2)] == [0, 1, 3, 5]
    with pytest.raises(KeyError):
        made.index(3)


def test_fingerprints_without_bars_raise() -> None:
    with pytest.raises(ValueError, match="no bars"):
        compute_fingerprints(_closes([], []), _momentum([]), ModelConfig())
