"""Closes as scaled whole numbers."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.domain.prices.bars import MAX_SCALED_PRICE, closes_from_usd


def _minutes(count: int) -> np.ndarray:
    return np.arange(28_000_000, 28_000_000 + count, dtype=np.int64)


@settings(deadline=None)
@given(
    decimals=st.integers(0, 8),
    units=st.lists(st.integers(1, int(MAX_SCALED_PRICE)), min_size=1, max_size=20),
)
def test_every_decimal_price_is_exact_at_the_smallest_scale(decimals: int, units: list[int]) -> None:
    exact = [Decimal(unit).scaleb(-decimals) for unit in units]
    closes = closes_from_usd(_minutes(len(units)), np.array([float(price) for price in exact]))
    held = [Fraction(int(scaled), closes.scale) for scaled in closes.scaled.tolist()]
    assert held == [Fraction(price) for price in exact]
    needed = max(max(0, -int(price.normalize().as_tuple().exponent)) for price in exact)
    assert closes.scale == 10**needed


def test_scaled_closes_are_whole_numbers_that_convert_back_exactly() -> None:
    usd = np.array([0.07, 1.1, 2.675, 118_499.99, 95_000.0])
    closes = closes_from_usd(_minutes(5), usd)
    assert closes.scale == 1000
    assert closes.scaled.tolist() == [70.0, 1100.0, 2675.0, 118_499_990.0, 95_000_000.0]
    assert closes.usd.tolist() == usd.tolist()
    assert len(closes) == 5


def test_a_missing_minute_is_nan_on_the_grid() -> None:
    minutes = np.array([100, 101, 104, 110], dtype=np.int64)
    closes = closes_from_usd(minutes, np.array([1.0, 2.0, 3.0, 4.0]))
    grid, rows = closes.on_grid()
    assert rows.tolist() == [0, 1, 4, 10]
    assert len(grid) == 11
    assert grid[rows].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert np.flatnonzero(np.isnan(grid)).tolist() == [2, 3, 5, 6, 7, 8, 9]


def test_an_empty_series_is_accepted() -> None:
    assert len(closes_from_usd(_minutes(0), np.array([]))) == 0


@pytest.mark.parametrize("minutes", [[2, 1], [1, 1], [1, 3, 2]])
def test_minutes_that_do_not_increase_are_rejected(minutes: list[int]) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        closes_from_usd(np.array(minutes, dtype=np.int64), np.full(len(minutes), 5.0))


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_price_that_is_not_finite_and_positive_is_rejected(price: float) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        closes_from_usd(_minutes(2), np.array([100.0, price]))


def test_a_close_without_a_minute_is_rejected() -> None:
    with pytest.raises(ValueError, match="2 minutes for 3 closes"):
        closes_from_usd(_minutes(2), np.array([1.0, 2.0, 3.0]))


def test_a_price_too_large_to_compare_exactly_is_rejected() -> None:
    assert len(closes_from_usd(_minutes(1), np.array([MAX_SCALED_PRICE]))) == 1
    with pytest.raises(ValueError, match="too large for exact comparison"):
        closes_from_usd(_minutes(1), np.array([MAX_SCALED_PRICE + 1.0]))


def test_prices_without_a_common_exact_scale_are_rejected() -> None:
    with pytest.raises(ValueError, match="too large for exact comparison"):
        closes_from_usd(_minutes(2), np.array([100_000.0, 0.00012345]))


@pytest.mark.parametrize("price", [0.123456789, 1.0000000001, 0.1 + 0.2])
def test_a_price_with_too_many_decimals_is_rejected_rather_than_rounded(price: float) -> None:
    with pytest.raises(ValueError, match="exact"):
        closes_from_usd(_minutes(2), np.array([1.0, price]))
