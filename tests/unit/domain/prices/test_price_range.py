"""Variance by price range: the correction for ticks, ranges that are not usable, and the range ratio."""

import numpy as np
import pytest

from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.price_range import (
    MEAN_SQUARED_RANGE,
    MIN_TICKS,
    PriceRange,
    fit_range_ratio,
    tick_correction,
)

SIGMA = 4e-4


def mean_variance(paths: Floats, ticks: float, range_ratio: float) -> float:
    """Mean over minutes of the variance by the range of log prices [minutes, prices], which start at 0."""
    high, low = 100.0 * np.exp(paths.max(axis=1)), 100.0 * np.exp(paths.min(axis=1))
    ranges = (PriceRange(*each, ticks) for each in zip(high.tolist(), low.tolist(), strict=True))
    return float(np.mean([each.root_variance(100.0, range_ratio) ** 2 for each in ranges]))


@pytest.mark.parametrize(("ticks", "tolerance"), [(20, 0.04), (30, 0.03), (60, 0.02), (120, 0.015), (600, 0.015)])
def test_the_variance_by_the_ticks_of_a_brownian_path_is_that_of_the_path(ticks: int, tolerance: float) -> None:
    rng = np.random.default_rng(ticks)
    paths = np.cumsum(rng.normal(0.0, SIGMA / np.sqrt(ticks), (30_000, ticks)), axis=1)
    assert mean_variance(paths, ticks, 1.0) / SIGMA**2 == pytest.approx(1.0, abs=tolerance)
    assert mean_variance(paths, np.inf, 1.0) < mean_variance(paths, ticks, 1.0), "uncorrected it is too small"


@pytest.mark.parametrize("moves", [8, 15, 60])
@pytest.mark.parametrize("ticks", [20, 60])
def test_the_variance_by_the_ticks_of_a_path_that_moves_seldom_is_that_of_its_bars(moves: int, ticks: int) -> None:
    """By the correction of a Brownian path, 20 ticks of such a path would give up to 31 % too much."""
    rng, n = np.random.default_rng(moves), 10_000
    at = np.sort(rng.random((n, moves)), axis=1)
    paths = np.cumsum(np.concatenate([np.zeros((n, 1)), rng.normal(0.0, SIGMA / np.sqrt(moves), (n, moves))], 1), 1)
    seen = (at[:, :, None] <= np.arange(1, ticks + 1) / ticks).sum(axis=1)
    polled = np.take_along_axis(paths, seen, axis=1)
    bars = mean_variance(paths, np.inf, 1.0)
    ratio = bars / SIGMA**2
    assert ratio < 0.9
    error = mean_variance(polled, ticks, ratio) / bars - 1
    assert -0.02 < error < 0.09
    assert error < mean_variance(polled, ticks, 1.0) / bars - 1


def test_a_bar_needs_no_correction() -> None:
    assert tick_correction(np.inf, 0.7) == tick_correction(np.inf, 1.0) == 1.0
    by_hand = np.log(101 / 99) ** 2 / (4 * np.log(2))
    assert PriceRange(101.0, 99.0).root_variance(100.0, 0.7) ** 2 == pytest.approx(by_hand)


@pytest.mark.parametrize(("previous", "high", "low"), [(105.0, 105.0, 99.0), (95.0, 101.0, 95.0), (100.0, 101.0, 99.0)])
def test_the_close_before_is_a_price_of_the_minute(previous: float, high: float, low: float) -> None:
    assert PriceRange(101.0, 99.0).root_variance(previous, 1.0) == PriceRange(high, low).root_variance(100.0, 1.0)


@pytest.mark.parametrize(
    "prices",
    [
        PriceRange(100.0, 100.0),
        PriceRange.of_tick(100.0),
        PriceRange(101.0, 99.0, MIN_TICKS - 1),
        PriceRange(float("nan"), float("nan")),
    ],
)
def test_equal_or_few_prices_are_no_range(prices: PriceRange) -> None:
    assert prices.root_variance(99.0, 1.0) == 0.0


def test_ranges_of_parts_of_a_minute_add_up_to_the_range_of_all() -> None:
    ticks = np.random.default_rng(3).uniform(99.0, 101.0, 50).tolist()
    found = PriceRange.of_tick(ticks[0])
    for price in ticks[1:]:
        found = found.extended(PriceRange.of_tick(price))
    assert found == PriceRange(max(ticks), min(ticks), 50)


def test_the_range_ratio_is_that_of_usual_hours_and_1_without_ranges() -> None:
    rng = np.random.default_rng(4)
    steps = rng.normal(0.0, SIGMA / np.sqrt(15), (6_000, 15))
    steps[3_000:3_060] = 0.0  # an hour without moves
    inside = np.cumsum(steps.reshape(-1)).reshape(steps.shape)
    closes, extremes = inside[:, -1], np.array([inside.max(axis=1), inside.min(axis=1)])
    paths = np.concatenate([np.zeros((6_000, 1)), np.cumsum(steps, axis=1)], axis=1)
    expected = np.mean(np.ptp(paths, axis=1) ** 2) / MEAN_SQUARED_RANGE / np.mean(steps.sum(axis=1) ** 2)
    assert fit_range_ratio(closes, extremes) == pytest.approx(expected, rel=0.1)
    wrong = extremes.copy()
    wrong[0, 1_000] += np.log(10)
    assert fit_range_ratio(closes, wrong) == pytest.approx(fit_range_ratio(closes, extremes), rel=0.03)
    for nothing in (None, np.full_like(extremes, np.nan), np.array([closes, closes])):
        assert fit_range_ratio(closes, nothing) == 1.0
