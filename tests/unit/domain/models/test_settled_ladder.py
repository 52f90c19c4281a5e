"""Ladders of markets that settle on a mean, read from a model's lookup."""

from itertools import pairwise

import numpy as np
import pytest

from pipelines.domain.markets.settlement import Settlement, SettlementRule
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import LadderAnswers, LadderQuery
from pipelines.domain.models.lookup import LookupRow, to_hundredths
from pipelines.domain.models.parametric import axis_nodes, t_survival
from pipelines.domain.models.standardised import StandardisedRule
from pipelines.domain.models.standardised_fingerprint import GROUPS, StandardisedParameters
from pipelines.domain.prices.season import Season
from pipelines.domain.prices.volatility import KNOTS_MINUTES, VolatilityParameters

PRICE = 100_000.0
SIGMA = 5e-4
STRIKES = PRICE + np.arange(-300.0, 301.0, 30.0)
VOLATILITY = VolatilityParameters(Season.of_day_kinds([1.0] * 192), np.zeros((len(KNOTS_MINUTES), 5)), 1e-9, 0)
RULE = StandardisedRule(StandardisedParameters(VOLATILITY, tuple(np.linspace(-1, 1, GROUPS - 1)))).with_sigma(SIGMA)
WITHIN = to_hundredths(100.0 - 100.0 * t_survival(axis_nodes(), 200.0))


def ladder(ttc: float, settlement: Settlement, strikes: np.ndarray = STRIKES) -> LadderAnswers:
    """The answers of a nearly normal model with a constant volatility."""
    axes = RULE.axes
    query = LadderQuery(RULE, axes, MarketStates.single(0.0, 0.0), PRICE, strikes, ttc, settlement=settlement)
    rows = {node: LookupRow(node, WITHIN, WITHIN, 1e6) for node in axes.nodes_around(query.effective_seconds)}
    return query.answer_from_lookup(rows)


def at_or_above(answers: LadderAnswers) -> np.ndarray:
    return np.array([row["positive_prob"] for row in answers.rows()])


@pytest.mark.parametrize("ttc", [3600, 900, 120, 60, 59, 30, 10, 2, 1])
def test_a_ladder_of_the_mean_agrees_with_simulated_means(ttc: int) -> None:
    generator = np.random.default_rng(ttc)
    seconds = np.exp(np.cumsum(generator.normal(0, SIGMA / 60**0.5, (20_000, min(ttc, 60))), axis=1))
    before = np.exp(generator.normal(0, SIGMA / 60**0.5 * max(0, ttc - 60) ** 0.5, (20_000, 1)))
    known = PRICE * (1 + 3e-4)
    due = max(0, 60 - ttc)
    means = (due * known + (PRICE * before * seconds).sum(axis=1)) / 60
    expected = 100.0 * (means[:, None] >= STRIKES).mean(axis=0)
    found = at_or_above(ladder(ttc, Settlement(SettlementRule.MEAN_60S, known)))
    assert found == pytest.approx(expected, abs=1.2)


def test_a_minute_before_the_close_the_spread_is_that_of_a_third_of_a_minute() -> None:
    by_mean = at_or_above(ladder(60, Settlement(SettlementRule.MEAN_60S)))
    by_price = at_or_above(ladder(60 - 39.497, Settlement()))
    assert by_mean == pytest.approx(by_price, abs=0.02)


def test_what_is_certain_is_certain_and_not_beyond_the_table() -> None:
    answers = ladder(1, Settlement(SettlementRule.MEAN_60S, PRICE), np.array([PRICE * 0.9, PRICE * 1.5]))
    assert at_or_above(answers)[0] == 100.0
    assert not answers.reading.clamped[0]
    settled = ladder(0, Settlement(SettlementRule.MEAN_60S, PRICE + 60.0))
    assert at_or_above(settled).tolist() == [100.0 if strike <= PRICE + 60 else 0.0 for strike in STRIKES]


def test_a_strike_above_the_price_and_below_the_known_mean_is_likely() -> None:
    answers = ladder(5, Settlement(SettlementRule.MEAN_60S, PRICE + 50.0))
    row = next(row for row in answers.rows() if row["strike"] == PRICE + 30)
    assert row["direction"] == "above"
    assert row["positive_prob"] == row["prob_beyond"] > 99
    assert [later <= earlier for earlier, later in pairwise(at_or_above(answers))].count(False) == 0


def test_the_distribution_is_that_of_the_markets_value() -> None:
    known = PRICE + 50.0
    answers = ladder(6, Settlement(SettlementRule.MEAN_60S, known))
    quantiles = {row["percent"]: row["price"] for row in answers.quantiles}
    assert quantiles[50] == pytest.approx((54 * known + 6 * PRICE) / 60, abs=1.0)
    spread = SIGMA * PRICE * (7 * 13 / 36 / 60) ** 0.5 * 6 / 60
    assert (quantiles[95] - quantiles[5]) / (2 * 1.645) == pytest.approx(spread, rel=0.1)


def test_the_basis_moves_the_ladder_by_itself() -> None:
    with_basis = ladder(900, Settlement(SettlementRule.MEAN_60S, basis_bps=3.0))
    moved = ladder(900, Settlement(SettlementRule.MEAN_60S), STRIKES * np.exp(-3e-4))
    assert at_or_above(with_basis) == pytest.approx(at_or_above(moved), abs=0.02)


def test_the_last_price_is_read_as_before() -> None:
    query = LadderQuery(RULE, RULE.axes, MarketStates.single(0.0, 0.0), PRICE, STRIKES, 45.0)
    assert query.effective_seconds == 45.0
    assert at_or_above(ladder(45, Settlement()))[10] == pytest.approx(50.0)
