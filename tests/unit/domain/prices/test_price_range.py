"""Variance by price range: the correction for ticks, and ranges that are not usable."""

import numpy as np
import pytest

from pipelines.domain.prices.price_range import MEAN_SQUARED_RANGE, MIN_TICKS, PriceRange, mean_squared_range


@pytest.mark.parametrize(("ticks", "tolerance"), [(20, 0.04), (30, 0.03), (60, 0.02), (120, 0.015), (600, 0.015)])
def test_the_variance_by_the_ticks_of_a_brownian_path_is_that_of_the_path(ticks: int, tolerance: float) -> None:
    rng, sigma = np.random.default_rng(ticks), 4e-4
    paths = np.cumsum(rng.normal(0.0, sigma / np.sqrt(ticks), (30_000, ticks)), axis=1)
    high, low = 100.0 * np.exp(paths.max(axis=1)), 100.0 * np.exp(paths.min(axis=1))
    roots = [PriceRange(h, lo, ticks).root_variance(100.0) for h, lo in zip(high.tolist(), low.tolist(), strict=True)]
    assert np.mean(np.square(roots)) / sigma**2 == pytest.approx(1.0, abs=tolerance)
    uncorrected = [PriceRange(h, lo).root_variance(100.0) for h, lo in zip(high.tolist(), low.tolist(), strict=True)]
    assert np.mean(np.square(uncorrected)) < np.mean(np.square(roots))


def test_a_bar_needs_no_correction() -> None:
    assert mean_squared_range(float("inf")) == MEAN_SQUARED_RANGE
    assert PriceRange(101.0, 99.0).root_variance(100.0) ** 2 == pytest.approx(np.log(101 / 99) ** 2 / (4 * np.log(2)))


@pytest.mark.parametrize(("previous", "high", "low"), [(105.0, 105.0, 99.0), (95.0, 101.0, 95.0), (100.0, 101.0, 99.0)])
def test_the_close_before_is_a_price_of_the_minute(previous: float, high: float, low: float) -> None:
    assert PriceRange(101.0, 99.0).root_variance(previous) == PriceRange(high, low).root_variance(100.0)


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
    assert prices.root_variance(99.0) == 0.0


def test_ranges_of_parts_of_a_minute_add_up_to_the_range_of_all() -> None:
    rng = np.random.default_rng(3)
    ticks = rng.uniform(99.0, 101.0, 50).tolist()
    found = PriceRange.of_tick(ticks[0])
    for price in ticks[1:]:
        found = found.extended(PriceRange.of_tick(price))
    assert found == PriceRange(max(ticks), min(ticks), 50)
