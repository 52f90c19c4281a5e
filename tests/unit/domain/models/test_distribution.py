"""Quantiles, the curve and strikes by probability, against a distribution that is known in closed form."""

from statistics import NormalDist

import numpy as np
import pytest

from pipelines.domain.models.distribution import CURVE_PCT, QUANTILES_PCT, STRIKES_PCT, Distribution, prices_around
from pipelines.domain.models.probability import Reading
from pipelines.domain.prices.bars import Floats

PRICE, SD_USD = 100_000.0, 120.0
CLOSE = NormalDist(PRICE, SD_USD)
AROUND = prices_around(PRICE)


def read(strikes: Floats) -> Reading:
    """A close that is normally distributed around the price."""
    below = np.array([CLOSE.cdf(strike) for strike in strikes]) * 100
    beyond = np.clip(np.where(strikes > PRICE, 100 - below, below), 0.01, 99.99)
    return Reading(beyond, np.zeros(len(strikes), dtype=np.bool_), 1_000.0, np.full(len(strikes), 900.0))


def reaching(bps: float) -> Distribution:
    """The same, by a table that reaches so far."""

    found = read(AROUND)
    clamped = np.abs(AROUND / PRICE - 1) * 10_000 > bps
    return Distribution.of(PRICE, AROUND, Reading(found.beyond, clamped, found.n_eff, found.independent))


@pytest.fixture(scope="module")
def distribution() -> Distribution:
    return Distribution.of(PRICE, AROUND, read(AROUND))


def test_quantiles_are_those_of_the_distribution(distribution: Distribution) -> None:
    for percent, price in zip(CURVE_PCT, distribution.quantiles_usd(CURVE_PCT), strict=True):
        assert CLOSE.cdf(price) * 100 == pytest.approx(percent, abs=0.02)
    rows = distribution.quantile_rows()
    assert [row["percent"] for row in rows] == list(QUANTILES_PCT)
    assert [row["price"] for row in rows] == pytest.approx([CLOSE.inv_cdf(q / 100) for q in QUANTILES_PCT], abs=0.5)


def test_the_curve_falls_and_lies_within_its_intervals(distribution: Distribution) -> None:
    rows = distribution.curve_rows()
    assert len(rows) == len(CURVE_PCT)
    prices = [row["price"] for row in rows]
    chances = [row["at_or_above"] for row in rows]
    assert prices == sorted(prices)
    assert chances == sorted(chances, reverse=True)
    assert (chances[0], chances[-1]) == (99.9, 0.1)
    assert all(row["low"] <= row["at_or_above"] <= row["high"] for row in rows)


def test_strikes_by_probability_are_steps_of_probability(distribution: Distribution) -> None:
    strikes = distribution.strikes_usd(0.25)
    assert len(strikes) == len(STRIKES_PCT) == 21
    assert [round(100 * CLOSE.cdf(strike)) for strike in strikes] == list(STRIKES_PCT)
    assert (strikes / 0.25 == np.rint(strikes / 0.25)).all()


def test_strikes_that_coincide_are_one(distribution: Distribution) -> None:
    strikes = distribution.strikes_usd(100.0)
    assert strikes.tolist() == [99_700.0, 99_800.0, 99_900.0, 100_000.0, 100_100.0, 100_200.0, 100_300.0]


def test_what_the_table_does_not_reach_is_unknown() -> None:
    short = reaching(15.0)  # 150 USD: from 10.6 to 89.4 %
    assert [row["price"] is None for row in short.quantile_rows()] == [True, False, False, False, True]
    assert [row["at_or_above"] for row in short.curve_rows()] == [100 - q for q in CURVE_PCT if 11 <= q <= 89]
    assert len(short.strikes_usd(0.25)) == 15


def test_without_an_answer_everything_is_empty() -> None:
    nothing = np.full(len(AROUND), np.nan)
    unknown = Distribution.of(PRICE, AROUND, Reading(nothing, np.zeros(len(AROUND), dtype=np.bool_), 0.0, nothing))
    assert (unknown.quantile_rows(), unknown.curve_rows(), len(unknown.strikes_usd(0.25))) == ([], [], 0)


def test_closes_at_exactly_the_price_leave_the_curve_falling() -> None:
    """With 30 % of closes unchanged, 65 % are at or above the price and 65 % at or below it."""

    found = read(AROUND)
    beyond = 0.7 * found.beyond + 30.0 * np.exp(-np.abs(AROUND - PRICE))
    distribution = Distribution.of(PRICE, AROUND, Reading(beyond, found.clamped, found.n_eff, found.independent))
    assert (np.diff(distribution.at_or_above_pct) <= 0).all()
    assert distribution.quantiles_usd([50.0])[0] == pytest.approx(PRICE, abs=0.5)
