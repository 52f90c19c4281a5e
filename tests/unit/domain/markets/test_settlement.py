"""Settlement of a market as a mean, as the question that a model of the price is asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.markets.settlement import (
    KnownValues,
    Settlement,
    SettlementRule,
    known_values,
    second_values,
    settled_price,
)

CLOSE_MS = 1_785_000_000_000
MEAN = Settlement(SettlementRule.MEAN_60S)


def each_second(*prices: float) -> tuple[np.ndarray, np.ndarray]:
    """A tick at the start of each of the last seconds before the close."""
    n = len(prices)
    return CLOSE_MS - 1_000 * np.arange(n, 0, -1), np.array(prices, dtype=np.float64)


@pytest.mark.parametrize(
    ("ttc", "expected"),
    [
        (3600, 3600 - 39.497),
        (60, 20.503),
        (59, 60 * 119 / (6 * 59)),
        (30, 31 * 61 / 180),
        (2, 3 * 5 / 12),
        (1, 1.0),
        (0.4, 0.4),
        (0, 0.0),
    ],
)
def test_the_mean_has_the_variance_of_a_price_at_an_earlier_time(ttc: float, expected: float) -> None:
    assert MEAN.effective_seconds(ttc) == pytest.approx(expected, abs=5e-4)
    assert Settlement().effective_seconds(ttc) == ttc


@given(ttc=st.floats(0.05, 200))
def test_the_effective_time_is_the_variance_of_the_open_values_mean(ttc: float) -> None:
    """The variance of a mean of Brownian values is the mean of their covariances, the smaller of two times."""
    times = ttc - np.arange(60)
    ahead = times[times > 0]
    variance = np.minimum(ahead[:, None], ahead[None, :]).mean()
    assert MEAN.effective_seconds(ttc) == pytest.approx(variance, rel=1e-9)


def test_simulated_closes_end_above_the_strike_as_often_as_the_effective_question_says() -> None:
    generator = np.random.default_rng(1)
    price, sigma, strike, known, r = 100_000.0, 2.0, 100_004.0, 100_003.0, 20
    paths = price + np.cumsum(generator.normal(0, sigma, (200_000, r)), axis=1)
    means = ((60 - r) * known + paths.sum(axis=1)) / 60
    settlement = Settlement(SettlementRule.MEAN_60S, known)
    reach = settlement.effective_strikes(np.array([strike]), r, price)[0]
    ends = price + generator.normal(0, sigma * settlement.effective_seconds(r) ** 0.5, 200_000)
    assert (means >= strike).mean() == pytest.approx((ends >= reach).mean(), abs=0.005)


def test_what_is_known_moves_the_strike() -> None:
    strikes = np.array([99.0, 100.0, 101.0])
    assert MEAN.effective_strikes(strikes, 60, 100.0).tolist() == strikes.tolist()
    known = Settlement(SettlementRule.MEAN_60S, 101.0)
    assert known.effective_strikes(strikes, 30, 100.0).tolist() == [97.0, 99.0, 101.0]
    assert known.effective_strikes(np.array([50.0, 101.0, 102.0]), 0, 100.0).tolist() == [0.0, 0.0, np.inf]
    assert known.effective_strikes(np.array([90.0]), 1, 100.0)[0] < 0  # certain: 59 values of 101
    assert MEAN.effective_strikes(strikes, 30, 100.0).tolist() == [98.0, 100.0, 102.0]


def test_the_basis_moves_the_strike_by_its_inverse() -> None:
    above = Settlement(SettlementRule.LAST_PRICE, basis_bps=5.0)
    assert above.effective_strikes(np.array([100_000.0]), 900, 1.0)[0] == pytest.approx(99_950.01, abs=0.01)


def test_the_mean_is_that_of_the_sixty_seconds_before_the_close() -> None:
    ticked, prices = each_second(*[118_510.0] * 50, *[118_490.0] * 10)
    assert settled_price(SettlementRule.MEAN_60S, ticked, prices, CLOSE_MS) == pytest.approx(118_506.666_667)
    assert settled_price(SettlementRule.LAST_PRICE, ticked, prices, CLOSE_MS) == 118_490.0


def test_a_price_at_the_close_is_the_last_price_and_not_in_the_mean() -> None:
    ticked, prices = each_second(*[100.0] * 60)
    ticked, prices = np.append(ticked, CLOSE_MS), np.append(prices, 160.0)
    assert settled_price(SettlementRule.MEAN_60S, ticked, prices, CLOSE_MS) == 100.0
    assert settled_price(SettlementRule.LAST_PRICE, ticked, prices, CLOSE_MS) == 160.0


@pytest.mark.parametrize("newest_before_close_ms", [80_000, 60_000])
def test_nothing_settles_without_a_last_minute(newest_before_close_ms: int) -> None:
    ticked, prices = np.array([CLOSE_MS - newest_before_close_ms]), np.array([2_000.0])
    for rule in SettlementRule:
        assert settled_price(rule, ticked, prices, CLOSE_MS) is None
        assert settled_price(rule, ticked[:0], prices[:0], CLOSE_MS) is None


def test_a_stream_that_stops_within_the_minute_gives_no_mean() -> None:
    ticked, prices = each_second(*[100.0] * 60)
    assert settled_price(SettlementRule.MEAN_60S, ticked[:-11], prices[:-11], CLOSE_MS) is None
    assert settled_price(SettlementRule.MEAN_60S, ticked[:-9], prices[:-9], CLOSE_MS) == 100.0
    assert settled_price(SettlementRule.LAST_PRICE, ticked[:-11], prices[:-11], CLOSE_MS) == 100.0


def test_a_mean_is_at_the_strike_that_it_equals() -> None:
    cents = np.random.default_rng(3).integers(1_000, 20_000_000, 500)
    for price in (cents / 100.0).tolist():
        ticked, flat = each_second(*[price] * 60)
        assert settled_price(SettlementRule.MEAN_60S, ticked, flat, CLOSE_MS) == price
        _, around = each_second(*[round(price - 0.01, 2)] * 30, *[round(price + 0.01, 2)] * 30)
        assert settled_price(SettlementRule.MEAN_60S, ticked, around, CLOSE_MS) == price


def test_prices_that_begin_with_the_minute_give_its_mean_without_the_first_value() -> None:
    ticked, prices = CLOSE_MS - 1_000 * np.arange(59, -1, -1), np.arange(60.0)
    assert np.isnan(second_values(ticked, prices, CLOSE_MS)).tolist() == [True] + 59 * [False]
    assert (
        settled_price(SettlementRule.MEAN_60S, ticked, prices, CLOSE_MS) == 29.0
    )  # the price at the close is not in it
    assert settled_price(SettlementRule.MEAN_60S, ticked[1:], prices[1:], CLOSE_MS) is None


def test_values_are_the_last_prices_before_the_end_of_each_second() -> None:
    ticked = CLOSE_MS - np.array([59_500, 59_200, 58_000, 30_000])
    values = second_values(ticked, np.array([1.0, 2.0, 3.0, 4.0]), CLOSE_MS)
    assert values[:4].tolist() == [2.0, 2.0, 3.0, 3.0]  # the third begins with its tick
    assert np.isnan(values[12:30]).all()
    assert values[30] == 4.0
    assert np.isnan(values[-1])


def test_the_known_part_grows_by_a_value_a_second() -> None:
    ticked, prices = each_second(*np.arange(1.0, 61.0))
    assert known_values(ticked, prices, CLOSE_MS, 60) == KnownValues(0, 0, None)
    assert known_values(ticked, prices, CLOSE_MS, 59) == KnownValues(1, 0, 1.0)
    assert known_values(ticked, prices, CLOSE_MS, 58.5) == KnownValues(1, 0, 1.0)
    assert known_values(ticked, prices, CLOSE_MS, 0) == KnownValues(60, 0, 30.5)
    late = known_values(ticked[50:], prices[50:], CLOSE_MS, 5)
    assert (late.due, late.missing, late.mean_usd, late.usable) == (55, 50, 53.0, False)
