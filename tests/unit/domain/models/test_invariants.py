"""Checks of a build: correct builds pass, each kind of error fails, and months of prices pass."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_series import price_series, without
from real_data import SOURCES

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.fingerprint import FingerprintSet, compute_fingerprints
from pipelines.domain.models.invariants import (
    CheckResult,
    bars_with_later_bar,
    check_fingerprints,
    check_lookup_block,
    check_n_adds_up,
    find_gaps,
    largest_difference,
)
from pipelines.domain.models.lookup import MISSING, LookupBlock, build_lookup_block
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import Closes, Floats, Ints, closes_from_usd
from pipelines.domain.prices.momentum import Momentum, compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars

BARS = 200_000
CONFIG = ModelConfig()


@pytest.fixture(scope="module")
def closes() -> Closes:
    bars = generate_bars(SimulationParameters(100_000.0, gaps_per_day=4.0), 30, 29_400_000, 3)
    return closes_from_usd(bars.minutes, bars.close)


@pytest.fixture(scope="module")
def momentum(closes: Closes) -> Momentum:
    return compute_momentum(closes, CONFIG)


@pytest.fixture(scope="module")
def fingerprints(closes: Closes, momentum: Momentum) -> FingerprintSet:
    return compute_fingerprints(closes, momentum, CONFIG)


@pytest.fixture(scope="module")
def block(fingerprints: FingerprintSet) -> LookupBlock:
    return build_lookup_block(fingerprints, 0, MomentumRule(CONFIG).axes)


@pytest.fixture(scope="module", params=SOURCES)
def long_series(request: pytest.FixtureRequest) -> tuple[Ints, Floats]:
    """Minutes since 1970 and closes in USD of 139 days from 2021-07-17 on, with two gaps of hours."""
    gone = np.r_[50_000:50_270, 120_000:120_120]
    return without(price_series(request.param, "BTC", 0, BARS + len(gone)), gone)


def _broken(checks: list[CheckResult]) -> dict[str, int]:
    return {check.name: check.failed for check in checks if not check.passed}


def test_a_correct_build_passes_every_check(
    fingerprints: FingerprintSet, momentum: Momentum, closes: Closes, block: LookupBlock
) -> None:
    checks = check_fingerprints(fingerprints, CONFIG)
    assert [check.name for check in checks] == [
        "cells_complete",
        "percent_0_to_100",
        "monotone_in_move",
    ]
    assert _broken(checks) == {}
    assert checks[0].total == 2 * 62 * 60 * 41
    assert check_n_adds_up(fingerprints, momentum, closes, bars_with_later_bar(closes, CONFIG)).passed
    assert check_lookup_block(block) == (0, 0, 0)


def test_a_nan_cell_is_valid_only_where_n_is_zero(fingerprints: FingerprintSet) -> None:
    positive, n = fingerprints.positive.copy(), fingerprints.n.copy()
    positive[5, 7, 3] = np.nan
    assert _broken(check_fingerprints(replace(fingerprints, positive=positive), CONFIG)) == {"cells_complete": 1}
    n[5, 7] = 0
    assert _broken(check_fingerprints(replace(fingerprints, positive=positive, n=n), CONFIG)) == {}


@pytest.mark.parametrize("config", [ModelConfig(horizon_minutes=30), ModelConfig(bucket_limit=29)])
def test_tables_of_another_shape_are_not_complete(fingerprints: FingerprintSet, config: ModelConfig) -> None:
    assert _broken(check_fingerprints(fingerprints, config)) == {"cells_complete": 1}


@pytest.mark.parametrize(("value", "cell"), [(100.5, 0), (-0.5, -1)])
def test_a_percentage_outside_0_to_100_fails(fingerprints: FingerprintSet, value: float, cell: int) -> None:
    negative = fingerprints.negative.copy()
    negative[0, 0, cell] = value
    assert _broken(check_fingerprints(replace(fingerprints, negative=negative), CONFIG)) == {"percent_0_to_100": 1}


@pytest.mark.parametrize(("rise", "broken"), [(0.01, {}), (0.02, {"monotone_in_move": 1})])
def test_a_rise_with_the_move_fails_unless_it_is_rounding(
    fingerprints: FingerprintSet, rise: float, broken: dict[str, int]
) -> None:
    positive = fingerprints.positive.copy()
    positive[0, 30, -1] = positive[0, 30, -2] + rise
    assert _broken(check_fingerprints(replace(fingerprints, positive=positive), CONFIG)) == broken


def test_lost_or_duplicated_rows_fail(fingerprints: FingerprintSet, momentum: Momentum, closes: Closes) -> None:
    later = bars_with_later_bar(closes, CONFIG)
    baseline = int(fingerprints.n[0, 9])
    for tables, count in ((0, baseline - 1), (0, baseline + 1), (31, baseline), (slice(1, None), 0)):
        n = fingerprints.n.copy()
        n[tables, 9] = count
        assert check_n_adds_up(replace(fingerprints, n=n), momentum, closes, later).failed == 1


@settings(deadline=None)
@given(skips=st.lists(st.sampled_from([1, 1, 1, 2, 5, 90]), min_size=1, max_size=60))
def test_bars_with_a_later_bar_are_counted_by_minute_in_sound_and_by_row_in_source(skips: list[int]) -> None:
    minutes = np.cumsum(skips)
    closes = closes_from_usd(minutes, np.full(len(skips), 5.0))
    present = set(minutes.tolist())
    by_minute = [sum(minute + ttc in present for minute in present) for ttc in range(1, 61)]
    by_row = [max(len(skips) - ttc, 0) for ttc in range(1, 61)]
    assert bars_with_later_bar(closes, CONFIG).tolist() == by_minute
    assert bars_with_later_bar(closes, ModelConfig(profile=Profile.SOURCE)).tolist() == by_row


def test_each_kind_of_invalid_lookup_cell_is_counted(block: LookupBlock) -> None:
    for value, row, expected in ((10_001, 200, (1, 0, 0)), (0, 200, (0, 1, 0)), (MISSING, 200, (1, 1, 1))):
        negative = block.within_negative.copy()
        negative[300, row] = value
        assert check_lookup_block(replace(block, within_negative=negative)) == expected
    negative[300] = MISSING
    assert check_lookup_block(replace(block, within_negative=negative))[2] > 0, "one side has data, the other none"
    positive = block.within_positive.copy()
    positive[300] = MISSING
    assert check_lookup_block(replace(block, within_positive=positive, within_negative=negative)) == (0, 0, 0)


def test_the_largest_difference_of_two_lookups_is_in_points_of_percent(block: LookupBlock) -> None:
    negative, positive = block.within_negative.copy(), block.within_positive.copy()
    negative[100, 50] -= 37
    positive[5] = MISSING
    assert largest_difference(block, block) == 0.0
    assert largest_difference(replace(block, within_negative=negative), block) == 0.37
    assert largest_difference(block, replace(block, within_positive=positive)) == float("inf")
    narrow = replace(block, within_positive=positive[:, ::2], within_negative=negative[:, ::2])
    assert largest_difference(narrow, block) == float("inf")


def test_two_lookups_without_data_do_not_differ(block: LookupBlock) -> None:
    nothing = np.full_like(block.within_positive, MISSING)
    empty = replace(block, within_positive=nothing, within_negative=nothing)
    assert largest_difference(empty, empty) == 0.0
    assert largest_difference(empty, block) == largest_difference(block, empty) == float("inf")


@settings(deadline=None)
@given(skips=st.lists(st.integers(1, 9), max_size=30))
def test_gaps_are_exactly_the_minutes_between_bars_that_have_none(skips: list[int]) -> None:
    minutes = np.cumsum([1_000, *skips])
    gaps = find_gaps(minutes)
    missing = [m for gap in gaps for m in range(gap.first_missing_minute, gap.last_missing_minute + 1)]
    assert missing == sorted(set(range(int(minutes[0]), int(minutes[-1]))) - set(minutes.tolist()))
    assert len(missing) == sum(gap.missing_minutes for gap in gaps)
    assert len(gaps) == sum(skip > 1 for skip in skips)


@pytest.mark.real_data
def test_the_known_gaps_of_the_real_prices_are_found() -> None:
    minutes, _ = price_series("real", "BTC", 0, BARS)
    around = [(gap.first_missing_minute - 1, gap.last_missing_minute + 1) for gap in find_gaps(minutes)]
    assert np.array(around).astype("datetime64[m]").astype(str).tolist() == [
        ["2021-08-13T01:59", "2021-08-13T06:30"],
        ["2021-09-29T06:59", "2021-09-29T09:00"],
    ]


@pytest.mark.parametrize("profile", Profile)
def test_fingerprints_of_many_months_pass_and_equal_a_direct_count(
    long_series: tuple[Ints, Floats], profile: Profile
) -> None:
    config = ModelConfig(profile=profile)
    closes = closes_from_usd(*long_series)
    assert (len(closes), closes.scale) == (BARS, 100)
    momentum = compute_momentum(closes, config)
    made = compute_fingerprints(closes, momentum, config)
    assert _broken(check_fingerprints(made, config)) == {}
    assert check_n_adds_up(made, momentum, closes, bars_with_later_bar(closes, config)).passed
    for side in (made.positive, made.negative):
        assert (np.diff(side, axis=-1) <= 0).all()

    # All of these bars are younger than a year in sound, and of 2021 in source: their weights are equal.
    minutes, cents = long_series[0].tolist(), [int(Decimal(repr(close)) * 100) for close in long_series[1].tolist()]
    row_at = {minute: row for row, minute in enumerate(minutes)}
    for bucket, ttc, bps in (
        (None, 1, 5),
        (None, 60, 50),
        (-30, 60, 50),
        (0, 17, 0),
        (0, 5, 10),
        (13, 45, 175),
        (30, 2, 200),
    ):
        n = up = down = 0
        for row in range(BARS) if bucket is None else np.flatnonzero(momentum.buckets == bucket).tolist():
            later = row + ttc if profile is Profile.SOURCE else row_at.get(minutes[row] + ttc, BARS)
            if later < BARS:
                move = (cents[later] - cents[row]) * 10_000
                n, up, down = n + 1, up + (move >= bps * cents[row]), down + (move <= -bps * cents[row])
        cell = made.index(bucket), ttc - 1, made.nodes.index(bps)
        rounding = 0.005 + 1e-9 if profile is Profile.SOURCE else 1e-10
        assert made.n[cell[:2]] == n > 100
        assert made.positive[cell] == pytest.approx(100 * up / n, abs=rounding)
        assert made.negative[cell] == pytest.approx(100 * down / n, abs=rounding)
