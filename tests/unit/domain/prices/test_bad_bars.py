"""Bars as bad as real ones can be: each gives a sane answer or a stated refusal."""

import numpy as np
import pytest
from price_series import price_series
from real_data import SOURCES

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.scoring import pooled, skill, two_sided_slices
from pipelines.domain.evaluation.walk_forward import Plan, candidates, walk_forward
from pipelines.domain.models.base import FittedModel
from pipelines.domain.models.refit import MIN_DAYS, MIN_OWN_DAYS, CurrentFit, Refit, borrow, due_refit
from pipelines.domain.models.registry import model_named
from pipelines.domain.models.standardised_fingerprint import fit_parameters
from pipelines.domain.prices.bars import closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum

DAY = 1440
FIRST = 29_000_000 // DAY * DAY
MOVES = np.array([1.0, 5.0, 25.0, 100.0, 500.0])


def history_of(usd: np.ndarray, minutes: np.ndarray | None = None, decimals: int = 2) -> MarketHistory:
    closes = closes_from_usd(FIRST + np.arange(len(usd)) if minutes is None else minutes, np.round(usd, decimals))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


@pytest.fixture(scope="module", params=SOURCES)
def good(request: pytest.FixtureRequest) -> np.ndarray:
    """Closes of 40 days of BTC without a gap, of which every few days are about as volatile as the whole."""
    return price_series(request.param, "BTC", 2_200_000, 40 * DAY, seed=13, slow_log_sd=0.2)[1]


def fit(history: MarketHistory) -> FittedModel:
    return model_named("standardised").fit(history, history.end, ModelConfig())


def assert_sane(history: MarketHistory, model: FittedModel, rows: np.ndarray) -> np.ndarray:
    """Finite, within 0 and 1, falling with the distance; returns P(up) of the last TTC."""
    states = model.rule.states(history, rows)
    for ttc in (1, 15, 60):
        for sign in (1, -1):
            beyond = model.prob_beyond(states, ttc, sign * MOVES)
            assert np.isfinite(beyond).all()
            assert beyond.min() > 0
            assert beyond.max() < 1
            assert (np.diff(beyond, axis=1) <= 1e-12).all()
    return model.prob_beyond(states, 60, MOVES)


def sigma(history: MarketHistory, model: FittedModel, row: int) -> float:
    found = model.rule.sigma(model.rule.states(history, np.array([row])), 60.0)
    assert found is not None
    return float(found[0])


def test_too_little_history_says_how_much_is_needed() -> None:
    for days, can_borrow, message in (
        (3, False, r"3.0 days of bars are too few .*: it needs 7, or another symbol with 60 days to borrow from"),
        (0.2, True, r"0.2 days of bars are too few .*: it needs 0.5$"),
    ):
        with pytest.raises(ValueError, match=message):
            due_refit(None, FIRST, FIRST + int(days * DAY), can_borrow=can_borrow, requested=False)
    with pytest.raises(ValueError, match="too few"):
        fit_parameters(history_of(100 + np.random.default_rng(1).random(300)))


def test_when_a_fit_is_due() -> None:
    def due(
        fitted: CurrentFit | None, days: float, *, can_borrow: bool = False, requested: bool = False
    ) -> Refit | None:
        return due_refit(fitted, FIRST, FIRST + int(days * DAY), can_borrow=can_borrow, requested=requested)

    at = FIRST + 10 * DAY
    assert due(None, MIN_DAYS) == Refit("there are no parameters yet", borrowed=False)
    assert due(None, 1, can_borrow=True) == Refit("there are no parameters yet", borrowed=True)
    assert due(None, MIN_OWN_DAYS, can_borrow=True) == Refit("there are no parameters yet", borrowed=False)
    assert due(CurrentFit(at, borrowed=False), 37) is None
    assert due(CurrentFit(at, borrowed=False), 38) == Refit("the last fit is 28 days old", borrowed=False)
    assert due(CurrentFit(at, borrowed=False), 11, requested=True) == Refit("requested for", borrowed=False)
    assert due(CurrentFit(at, borrowed=True), 20, can_borrow=True) is None
    assert due(CurrentFit(FIRST + 50 * DAY, borrowed=True), 60, can_borrow=True) == Refit(
        "60 days of own bars", borrowed=False
    )


def test_a_gap_of_hours_is_no_move(good: np.ndarray) -> None:
    minutes = FIRST + np.arange(len(good))
    minutes[35 * DAY :] += 7 * 60
    usd = good.copy()
    usd[35 * DAY :] *= 1.3
    history = history_of(usd, minutes)
    model = fit(history)
    after = 35 * DAY + 7 * 60
    assert_sane(history, model, np.array([after + 40, after + 500]))
    assert sigma(history, model, after) == pytest.approx(sigma(history, model, 35 * DAY - 1), rel=0.5)


def test_a_frozen_feed_leaves_a_least_volatility_and_small_probabilities(good: np.ndarray) -> None:
    usd = good.copy()
    usd[36 * DAY :] = usd[36 * DAY]
    history = history_of(usd)
    model = fit(history_of(good))
    row = len(usd) - 1
    assert_sane(history, model, np.array([row]))
    lowest = np.sqrt(model.rule.as_json()["variance_floor"])
    assert lowest * 0.2 < sigma(history, model, row) < sigma(history, model, 36 * DAY - 1)
    with pytest.raises(ValueError, match="the price never moves"):
        fit(history_of(np.full(20 * DAY, 100.0)))


def test_a_spike_of_one_absurd_tick_fades_within_hours(good: np.ndarray) -> None:
    usd = good.copy()
    usd[38 * DAY] *= 10
    clean, spiked = history_of(good), history_of(usd)
    model = fit(history_of(good[: 38 * DAY]))
    rows = 38 * DAY + np.array([2, 45, 300])
    assert_sane(spiked, model, rows)
    worse = [sigma(spiked, model, row) / sigma(clean, model, row) for row in rows.tolist()]
    assert worse[0] > 1.5, "it is not hidden"
    assert worse[1] < 4
    assert worse[2] < 2


def test_a_spike_in_what_is_fitted_hardly_changes_the_tables(good: np.ndarray) -> None:
    usd = good.copy()
    usd[30 * DAY] *= 10
    ours, theirs = fit(history_of(usd)).tables, fit(history_of(good)).tables
    assert np.abs(ours.positive[0] - theirs.positive[0]).max() < 1.5


def test_a_stablecoin_that_hardly_moves_is_resolved() -> None:
    rng = np.random.default_rng(3)
    usd = 1.0 + 2e-4 * np.cumsum(rng.normal(0, 0.02, 40 * DAY)) * np.exp(-0.0) + rng.normal(0, 1e-6, 40 * DAY)
    history = history_of(usd - usd.mean() + 1.0, decimals=6)
    model = fit(history)
    beyond = assert_sane(history, model, np.array([len(usd) - 100]))
    assert beyond[0, -1] <= 2e-4, "5 % in an hour does not happen"
    table = model.tables.positive[0, 59]
    assert (np.diff(table) < -0.5).sum() > 20, "the distribution spreads over many bins"
    coarse = history_of(np.round(usd - usd.mean() + 1.0, 4), decimals=4)  # most minutes do not move at all
    assert_sane(coarse, fit(coarse), np.array([len(usd) - 100]))


def test_a_symbol_ten_times_wilder_has_the_same_standardised_tables(good: np.ndarray) -> None:
    logs = np.log(good)
    wild = np.exp(logs[0] + 10 * (logs - logs[0]) / 3)  # a tenfold would leave what can be compared exactly
    calm, wilder = fit(history_of(good)), fit(history_of(wild, decimals=4))
    assert np.abs(calm.tables.positive[0] - wilder.tables.positive[0]).max() < 1.5
    ratio = sigma(history_of(wild, decimals=4), wilder, 39 * DAY) / sigma(history_of(good), calm, 39 * DAY)
    assert ratio == pytest.approx(10 / 3, rel=0.1)


def test_a_borrower_keeps_its_own_size(good: np.ndarray) -> None:
    lender = fit_parameters(history_of(good))
    young = history_of(np.exp(np.log(good[: 2 * DAY]) * 3 - 2 * np.log(good[0])), decimals=4)
    lent = borrow(lender, young)
    assert lent.volatility.variance_floor == pytest.approx(9 * lender.volatility.variance_floor, rel=0.9), (
        "least variance by its own moves"
    )
    assert lent.momentum_edges == lender.momentum_edges
    with pytest.raises(ValueError, match="the price never moves"):
        borrow(lender, history_of(np.full(DAY, 5.0)))


def test_bars_of_2017_with_frozen_minutes_are_still_calibrated(good: np.ndarray) -> None:
    """A thin market: in the quiet hours two thirds of the minutes repeat the price before."""
    rng = np.random.default_rng(5)
    usd = np.concatenate([good, good[-1] * good / good[0]])
    quiet = (np.arange(len(usd)) // 60) % 24 < 12
    frozen = quiet & (rng.random(len(usd)) < 0.66)
    at = np.where(frozen, 0, np.arange(len(usd)))
    usd = usd[np.maximum.accumulate(at)]
    history = history_of(usd)
    plan = Plan(FIRST + 50 * DAY, history.end, every_minutes=15)
    (fold,) = walk_forward(history, candidates(["climatology", "standardised"], ModelConfig()), plan)
    ours = fold.tallies["standardised"]
    assert skill(ours, fold.tallies["climatology"]) > 0
    assert abs(pooled(ours).calibration) < 0.01
    assert all(abs(cell.calibration) < 0.12 for cell in two_sided_slices(ours, "volatility_band", 60, 50))


def walk_of(moving: np.ndarray, sd: float = 1e-3, seed: int = 4) -> np.ndarray:
    """A price whose log moves by normal steps in the minutes that are `moving`, and stands still in the others."""
    steps = np.where(moving, np.random.default_rng(seed).normal(0, sd, len(moving)), 0.0)
    return np.asarray(10_000 * np.exp(np.cumsum(steps)))


def test_a_feed_that_froze_for_hours_again_and_again_is_still_forecast() -> None:
    """Without a least variance in the fit the weights ran away: forecasts were wrong by a factor of a hundred."""
    minute = np.arange(40 * DAY)
    history = history_of(walk_of((minute // 180) % 3 != 0))
    model = fit(history)
    into = minute % 540
    later = minute[10 * DAY : -60]
    assert_sane(history, model, later[::997])
    for after, low, high in ((300, 0.7, 1.3), (500, 0.5, 1.3), (170, 0.02, 1.0)):
        rows = later[into[later] == after]
        found = model.rule.sigma(model.rule.states(history, rows), 15.0)
        assert found is not None
        assert low < np.median(found) / 1e-3 < high, after


@pytest.mark.parametrize("weeks", [1, 2])
def test_a_feed_that_thaws_after_weeks_is_believed_within_the_hour(good: np.ndarray, weeks: int) -> None:
    """What was usual before had sunk to nothing, and twenty times nothing was all that a return counted."""
    thaw, pause = 20 * DAY + 600, weeks * 7 * DAY
    stopped = history_of(np.concatenate([good[:thaw], np.full(pause, good[thaw - 1]), good[thaw:]]))
    flowing = history_of(good)
    model = fit(flowing)
    assert_sane(stopped, model, thaw + pause + np.array([-1, 0, 1, 30]))
    for minutes, worst in ((10, 0.25), (45, 0.45), (180, 0.7)):
        found = sigma(stopped, model, thaw + pause + minutes) / sigma(flowing, model, thaw + minutes)
        assert worst < found < 1.3, minutes
    assert sigma(stopped, model, thaw + pause - 1) < sigma(flowing, model, thaw) / 4


def test_bars_that_are_mostly_one_long_freeze_can_be_fitted() -> None:
    for moving in (np.arange(60 * DAY) >= 40 * DAY, np.arange(60 * DAY) < 20 * DAY):
        history = history_of(walk_of(moving))
        model = fit(history)
        rows = np.flatnonzero(moving)[2 * DAY : -DAY : 311]
        assert_sane(history, model, rows)
        found = model.rule.sigma(model.rule.states(history, rows), 60.0)
        assert found is not None
        assert 0.8 < np.median(found) / 1e-3 < 1.25


def test_two_equal_closes_at_the_very_beginning_do_not_hold_volatility_down_for_hours() -> None:
    moving = np.ones(20 * DAY, dtype=np.bool_)
    moving[:2] = False
    history = history_of(walk_of(moving))
    assert sigma(history, fit(history), 60) > 0.6e-3


def test_one_tick_at_ten_times_the_price_leaves_the_other_forecasts_as_they_were(good: np.ndarray) -> None:
    usd = good.copy()
    usd[20 * DAY] *= 10
    clean, spiked = history_of(good), history_of(usd)
    rows = np.arange(25 * DAY, 40 * DAY, 501)
    before, after = (
        model.rule.sigma(model.rule.states(history, rows), 60.0)
        for history, model in ((clean, fit(clean)), (spiked, fit(spiked)))
    )
    assert before is not None
    assert after is not None
    assert np.abs(np.log(after / before)).max() < 0.15
    floors = [fit_parameters(history).volatility.variance_floor for history in (clean, spiked)]
    assert floors[1] / floors[0] == pytest.approx(1.0, abs=0.1)


def test_a_stablecoin_of_four_decimals_knows_ties_from_moves() -> None:
    steps = np.random.default_rng(8).choice([-1, 0, 1], 40 * DAY, p=[0.02, 0.96, 0.02])
    level = np.cumsum(steps)
    level = np.abs((level + 10) % 40 - 20) - 10  # reflected: never more than ten steps from par
    history = history_of(1.0 + 1e-4 * level, decimals=4)
    model = fit(history)
    rows = np.arange(30 * DAY, 40 * DAY - 60, 977)
    assert_sane(history, model, rows)
    states = model.rule.states(history, rows)
    assert model.prob_beyond(states, 60, np.array([100.0, -100.0])).max() <= 2e-4
    up, down = (model.tables.positive[0, 0], model.tables.negative[0, 0])
    assert up[0] + down[0] > 190, "nearly every minute is a tie, which is at or past the price on both sides"
    assert 1.0 < up[1] < 3.5


def test_a_symbol_exactly_ten_times_wilder_answers_tenfold_moves_alike(good: np.ndarray) -> None:
    logs = np.log(good[: 20 * DAY])
    calm, wild = history_of(good[: 20 * DAY]), history_of(np.exp(6 + 10 * (logs - logs[0])), decimals=6)
    rows = np.arange(15 * DAY, 20 * DAY, 499)
    for ttc in (5, 60):
        answers = []
        for history, factor in ((calm, 1), (wild, 10)):
            model = fit(history)
            moves = np.expm1(factor * np.array([-0.004, -0.001, 0.001, 0.004])) * 10_000
            answers.append(model.prob_beyond(model.rule.states(history, rows), ttc, moves))
        assert np.abs(answers[0] - answers[1]).max() < 0.01
