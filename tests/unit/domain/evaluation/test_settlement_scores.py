"""Scores against recorded quotes: the reading equals that of the scores, and no quote knows of later ones."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from price_series import price_series
from recorded_markets import hourly_candles, index_seconds

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.settlement_scores import (
    RecordedQuotes,
    Replay,
    brier_difference,
    pooled_with,
    spread_ratios,
)
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models import probability
from pipelines.domain.models.standardised import StandardisedModel
from pipelines.domain.prices.bars import MINUTES_PER_DAY, closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum

NONE = np.zeros((1, 1))
MOVES_BPS = np.array([-40.0, -15.0, -5.0, 5.0, 15.0, 40.0])


def replay_of(history: MarketHistory, quotes: RecordedQuotes) -> Replay:
    days = np.unique(quotes.instants // MINUTES_PER_DAY)
    instants = (np.arange(days[0], days[-1] + 1) * MINUTES_PER_DAY).tolist()
    return Replay.of(history, list(StandardisedModel().fit_each(history, instants, ModelConfig())), quotes)


@pytest.fixture(scope="module")
def replay() -> Replay:
    """12 hours of quotes of 6 strikes around the price at the hour's beginning; all quotes are 49 to 51 cents."""
    closes = closes_from_usd(*price_series("generated", "BTC", 2_000_000, 35 * MINUTES_PER_DAY))
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    day = (history.end // MINUTES_PER_DAY - 1) * MINUTES_PER_DAY
    hours, left = (grid.ravel() for grid in np.meshgrid(day + 60 * np.arange(12), np.arange(59, 0, -1), indexing="ij"))
    prices = history.scaled[hours - 1 - history.first_minute] / history.scale
    strikes = (prices[:, None] * (1 + MOVES_BPS / 1e4)).ravel()
    n, each = len(strikes), len(MOVES_BPS)
    instants = np.repeat(hours + 60 - left, each)
    quotes = RecordedQuotes(
        np.repeat(hours // 60, each),
        instants,
        np.repeat(left, each),
        strikes,
        np.full(n, 0.49),
        np.full(n, 0.51),
        np.repeat(history.scaled[hours + 59 - history.first_minute] / history.scale, each) >= strikes,
    )
    return replay_of(history, quotes)


def quoted_at(replay: Replay, bases_bps: np.ndarray) -> Replay:
    """Quotes of the model itself, for an index at these bases."""
    mids = replay.probabilities(SettlementRule.MEAN_60S, bases_bps)[:, 0]
    return replace(replay, quotes=replace(replay.quotes, bids=mids - 0.01, asks=mids + 0.01))


def test_a_last_price_without_basis_is_read_as_in_the_scores(replay: Replay) -> None:
    found = replay.probabilities(SettlementRule.LAST_PRICE, NONE)[:, 0]
    quotes, history = replay.quotes, replay.history
    for row in range(0, len(found), 97):
        fit = replay.fits[quotes.instants[row] // MINUTES_PER_DAY]
        at = quotes.instants[row : row + 1] - 1 - history.first_minute
        move = quotes.strikes_usd[row] / (history.scaled[at] / history.scale) - 1
        beyond = probability.for_scoring(fit, fit.rule.states(history, at), quotes.ttc_minutes[row], move * 1e4)[0, 0]
        assert found[row] == pytest.approx(beyond if move[0] > 0 else 1 - beyond, abs=1e-9)


def test_the_rule_makes_outcomes_near_the_close_more_certain(replay: Replay) -> None:
    by_rule = {rule: replay.probabilities(rule, NONE)[:, 0] for rule in SettlementRule}
    one = replay.quotes.ttc_minutes == 1
    certainty = {rule: np.abs(p[one] - 0.5).mean() for rule, p in by_rule.items()}
    assert certainty[SettlementRule.MEAN_60S] > certainty[SettlementRule.LAST_PRICE]


def test_an_index_above_our_price_makes_every_strike_more_likely(replay: Replay) -> None:
    above, below = (replay.probabilities(SettlementRule.MEAN_60S, np.full((1, 1), bps)) for bps in (5.0, -5.0))
    assert (above >= below).all()
    assert (above - below).mean() > 0.01


@pytest.mark.parametrize("bps", [-3.0, 4.25])
def test_quotes_of_the_model_itself_show_their_basis(replay: Replay, bps: float) -> None:
    bases = quoted_at(replay, np.full((1, 1), bps)).quoted_bases(SettlementRule.MEAN_60S)
    assert (bases[:6] == 0.0).all()
    assert bases[-600:] == pytest.approx(bps, abs=0.1)


def test_a_basis_does_not_depend_on_the_present_or_later_quotes(replay: Replay) -> None:
    changed = quoted_at(replay, np.full((1, 1), 2.0))
    bases = changed.quoted_bases(SettlementRule.MEAN_60S)
    late = changed.quotes.instants >= changed.quotes.instants[2000]
    quotes = replace(
        changed.quotes, bids=np.where(late, 0.45, changed.quotes.bids), asks=np.where(late, 0.55, changed.quotes.asks)
    )
    again = replace(changed, quotes=quotes).quoted_bases(SettlementRule.MEAN_60S)
    first_after = changed.quotes.instants > changed.quotes.instants[2000]
    assert again[~first_after].tolist() == bases[~first_after].tolist()
    assert not np.array_equal(again[first_after], bases[first_after])


def test_quotes_without_a_bar_are_left_out(replay: Replay) -> None:
    history = replay.history
    scaled = history.scaled.copy()
    scaled[replay.quotes.instants[0] - 1 - history.first_minute] = np.nan
    without = replace(history, scaled=scaled, cache={})
    kept = Replay.of(without, list(replay.fits.values()), replay.quotes).quotes
    assert len(kept.instants) == len(replay.quotes.instants) - len(MOVES_BPS)


def test_differences_are_resampled_by_event(replay: Replay) -> None:
    quotes = replay.quotes
    right = np.where(quotes.outcomes, 0.9, 0.1)
    found = brier_difference(right, np.full(len(right), 0.5), quotes)
    assert found.estimate == pytest.approx(0.01 - 0.25)
    assert (found.low, found.high) == pytest.approx((found.estimate, found.estimate))
    with pytest.raises(ValueError, match="of 1 event"):
        brier_difference(right, right, quotes, quotes.events == quotes.events[0])


def test_a_pool_lies_between_its_parts() -> None:
    assert pooled_with(np.array([0.5, 0.2, 0.9]), np.array([0.5, 0.8, 0.9])) == pytest.approx([0.5, 0.5, 0.9])


def test_a_random_walk_has_the_predicted_errors() -> None:
    values = 100_000 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-5, 60_000)))
    with_rule, without = spread_ratios(values, np.arange(60, len(values)))
    assert with_rule == pytest.approx(1.0, abs=0.05)
    assert without[58] == pytest.approx(0.58, abs=0.03)


@pytest.mark.real_data
def test_a_recorded_index_has_the_predicted_errors() -> None:
    values = index_seconds()
    with_rule, without = spread_ratios(values, np.arange(60, len(values)))
    assert ((with_rule[9:] > 0.9) & (with_rule[9:] < 1.1)).all()
    assert (without[9:] < 0.7).all()


@pytest.mark.real_data
def test_the_rule_and_the_basis_improve_the_model_on_recorded_quotes() -> None:
    quotes = hourly_candles()
    closes = closes_from_usd(*price_series("real", "BTC", 1_400_000, 610_000))
    replay = replay_of(market_history(closes, compute_momentum(closes, ModelConfig())), quotes)
    bases = replay.quoted_bases(SettlementRule.MEAN_60S, timedelta(minutes=480))[:, None]
    with_both, with_basis = (replay.probabilities(rule, bases)[:, 0] for rule in reversed(SettlementRule))
    without = replay.probabilities(SettlementRule.LAST_PRICE, NONE)[:, 0]
    quotes, one = replay.quotes, replay.quotes.ttc_minutes == 1
    assert one.sum() > 100
    assert brier_difference(with_both, with_basis, quotes, one).estimate < 0
    assert brier_difference(with_both, without, quotes, one).high < 0
    assert brier_difference(with_both, quotes.mids, quotes).high < 0
