"""Models fitted on poor bars: gaps, frozen feeds, wrong ticks, thin markets and too little history."""

import numpy as np
import pytest
from price_series import bar_series
from real_data import SOURCES

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.scoring import pooled, two_sided_slices
from pipelines.domain.evaluation.walk_forward import Plan, candidates, walk_forward
from pipelines.domain.models import probability
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


def history_of(
    usd: np.ndarray, minutes: np.ndarray | None = None, decimals: int = 2, extremes: np.ndarray | None = None
) -> MarketHistory:
    closes = closes_from_usd(FIRST + np.arange(len(usd)) if minutes is None else minutes, np.round(usd, decimals))
    return market_history(closes, compute_momentum(closes, ModelConfig()), extremes)


@pytest.fixture(scope="module", params=SOURCES)
def bars(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Closes, and highs and lows, of 40 days of BTC without gaps; volatility varies little from day to day."""
    return bar_series(request.param, "BTC", 2_200_000, 40 * DAY, seed=13, slow_log_sd=0.2)[1:]


@pytest.fixture(scope="module")
def closes(bars: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return bars[0]


def fit(history: MarketHistory) -> FittedModel:
    return model_named("standardised").fit(history, history.end, ModelConfig())


def assert_valid(history: MarketHistory, model: FittedModel, rows: np.ndarray) -> np.ndarray:
    """Assert finite probabilities within (0, 1), decreasing with the distance; return P(up) for the last TTC."""
    states = model.rule.states(history, rows)
    for ttc in (1, 15, 60):
        for sign in (1, -1):
            beyond = probability.for_scoring(model, states, ttc, sign * MOVES)
            assert np.isfinite(beyond).all()
            assert beyond.min() > 0
            assert beyond.max() < 1
            assert (np.diff(beyond, axis=1) <= 1e-12).all()
    return probability.for_scoring(model, states, 60, MOVES)


def assert_same_forecasts(clean: MarketHistory, spiked: MarketHistory) -> None:
    """Assert that the volatility forecasts of two histories differ by at most 15 %."""
    rows = np.arange(25 * DAY, 40 * DAY, 501)
    before, after = (
        model.rule.sigma(model.rule.states(history, rows), 60.0)
        for history, model in ((clean, fit(clean)), (spiked, fit(spiked)))
    )
    assert before is not None
    assert after is not None
    assert np.abs(np.log(after / before)).max() < 0.15


def sigma(history: MarketHistory, model: FittedModel, row: int) -> float:
    found = model.rule.sigma(model.rule.states(history, np.array([row])), 60.0)
    assert found is not None
    return float(found[0])


def test_the_error_for_too_little_history_states_the_minimum() -> None:
    for days, can_borrow, message in (
        (3, False, r"3.0 days of bars are too few .*: it needs 7, or another symbol with 60 days to borrow from"),
        (0.2, True, r"0.2 days of bars are too few .*: it needs 0.5$"),
    ):
        with pytest.raises(ValueError, match=message):
            due_refit(None, FIRST, FIRST + int(days * DAY), can_borrow=can_borrow, requested=False)
    with pytest.raises(ValueError, match="too few"):
        fit_parameters(history_of(100 + np.random.default_rng(1).random(300)))


def test_a_fit_is_due_at_first_after_28_days_on_request_and_with_enough_own_bars() -> None:
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
    assert due(CurrentFit(at, borrowed=False), 11, requested=True) == Refit("requested", borrowed=False)
    assert due(CurrentFit(at, borrowed=False, outdated=True), 11) == Refit(
        "the last fit is by an earlier method", borrowed=False
    )
    assert due(CurrentFit(at, borrowed=True, outdated=True), 20, can_borrow=True) is None
    assert due(CurrentFit(at, borrowed=True), 20, can_borrow=True) is None
    assert due(CurrentFit(FIRST + 50 * DAY, borrowed=True), 60, can_borrow=True) == Refit(
        "60 days of own bars", borrowed=False
    )


def test_a_price_change_across_a_gap_is_not_a_return(closes: np.ndarray) -> None:
    minutes = FIRST + np.arange(len(closes))
    minutes[35 * DAY :] += 7 * 60
    usd = closes.copy()
    usd[35 * DAY :] *= 1.3
    history = history_of(usd, minutes)
    model = fit(history)
    after = 35 * DAY + 7 * 60
    assert_valid(history, model, np.array([after + 40, after + 500]))
    assert sigma(history, model, after) == pytest.approx(sigma(history, model, 35 * DAY - 1), rel=0.5)


def test_a_frozen_feed_leaves_the_minimum_volatility(closes: np.ndarray) -> None:
    usd = closes.copy()
    usd[36 * DAY :] = usd[36 * DAY]
    history = history_of(usd)
    model = fit(history_of(closes))
    row = len(usd) - 1
    assert_valid(history, model, np.array([row]))
    lowest = np.sqrt(model.rule.as_json()["variance_floor"])
    assert lowest * 0.2 < sigma(history, model, row) < sigma(history, model, 36 * DAY - 1)
    with pytest.raises(ValueError, match="the price never moves"):
        fit(history_of(np.full(20 * DAY, 100.0)))


def test_the_effect_of_one_wrong_tick_fades_within_hours(closes: np.ndarray) -> None:
    usd = closes.copy()
    usd[38 * DAY] *= 10
    clean, spiked = history_of(closes), history_of(usd)
    model = fit(history_of(closes[: 38 * DAY]))
    rows = 38 * DAY + np.array([2, 45, 300])
    assert_valid(spiked, model, rows)
    ratios = [sigma(spiked, model, row) / sigma(clean, model, row) for row in rows.tolist()]
    assert ratios[0] > 1.5, "the spike has an effect"
    assert ratios[1] < 4
    assert ratios[2] < 2


@pytest.mark.parametrize(("side", "factor"), [(0, 10.0), (1, 0.1)])
def test_the_effect_of_one_wrong_high_or_low_fades_within_hours(
    bars: tuple[np.ndarray, np.ndarray], side: int, factor: float
) -> None:
    usd, extremes = bars
    wrong = extremes.copy()
    wrong[side, 38 * DAY] *= factor
    clean, spiked = (history_of(usd, extremes=each) for each in (extremes, wrong))
    model = fit(history_of(usd[: 38 * DAY], extremes=extremes[:, : 38 * DAY]))
    rows = 38 * DAY + np.array([-1, 2, 45, 300])
    assert_valid(spiked, model, rows)
    ratios = [sigma(spiked, model, row) / sigma(clean, model, row) for row in rows.tolist()]
    assert ratios[0] == 1.0
    assert 1.1 < ratios[1] < 8, "the wrong price has an effect"
    assert ratios[2] < 3
    assert ratios[3] < 1.5


def test_wrong_highs_and_lows_in_the_fitted_bars_hardly_change_other_forecasts(
    bars: tuple[np.ndarray, np.ndarray],
) -> None:
    usd, extremes = bars
    wrong = extremes.copy()
    wrong[0, 20 * DAY] *= 10
    wrong[1, 21 * DAY] /= 10
    clean, spiked = (history_of(usd, extremes=each) for each in (extremes, wrong))
    assert_same_forecasts(clean, spiked)
    first, second = (fit_parameters(history).volatility for history in (clean, spiked))
    assert first.variance_floor == second.variance_floor


def test_bars_of_one_price_after_bars_with_ranges_keep_the_volatility(bars: tuple[np.ndarray, np.ndarray]) -> None:
    """As from a source that repeats the close as high and low."""
    usd, extremes = bars
    flat = extremes.copy()
    flat[:, 36 * DAY :] = usd[36 * DAY :]
    model = fit(history_of(usd[: 36 * DAY], extremes=extremes[:, : 36 * DAY]))
    rows = np.arange(37 * DAY, 40 * DAY, 97)
    ranged, unranged = (history_of(usd, extremes=each) for each in (extremes, flat))
    assert_valid(unranged, model, rows)
    ratios = [sigma(unranged, model, row) / sigma(ranged, model, row) for row in rows.tolist()]
    assert 0.85 < np.median(ratios) < 1.15
    assert min(ratios) > 0.4
    assert max(ratios) < 2.5


def test_a_frozen_feed_with_ranges_recovers_within_an_hour(bars: tuple[np.ndarray, np.ndarray]) -> None:
    usd, extremes = bars
    resumed, pause = 20 * DAY + 600, 7 * DAY
    still = np.full(pause, usd[resumed - 1])
    stopped = history_of(
        np.concatenate([usd[:resumed], still, usd[resumed:]]),
        extremes=np.concatenate([extremes[:, :resumed], [still, still], extremes[:, resumed:]], axis=1),
    )
    flowing = history_of(usd, extremes=extremes)
    model = fit(flowing)
    assert_valid(stopped, model, resumed + pause + np.array([-1, 0, 1, 30]))
    for minutes, worst in ((10, 0.25), (45, 0.45), (180, 0.65)):
        found = sigma(stopped, model, resumed + pause + minutes) / sigma(flowing, model, resumed + minutes)
        assert worst < found < 1.3, minutes


def test_a_wrong_tick_in_the_fitted_bars_hardly_changes_the_tables(closes: np.ndarray) -> None:
    usd = closes.copy()
    usd[30 * DAY] *= 10
    ours, theirs = fit(history_of(usd)).tables, fit(history_of(closes)).tables
    assert np.abs(ours.positive[0] - theirs.positive[0]).max() < 1.5


def test_the_moves_of_a_stablecoin_are_resolved() -> None:
    rng = np.random.default_rng(3)
    usd = 1.0 + 2e-4 * np.cumsum(rng.normal(0, 0.02, 40 * DAY)) * np.exp(-0.0) + rng.normal(0, 1e-6, 40 * DAY)
    history = history_of(usd - usd.mean() + 1.0, decimals=6)
    model = fit(history)
    beyond = assert_valid(history, model, np.array([len(usd) - 100]))
    assert beyond[0, -1] <= 2e-4, "a move of 5 % in an hour is practically excluded"
    table = model.tables.positive[0, 59]
    assert (np.diff(table) < -0.5).sum() > 20, "the distribution spreads over many bins"
    coarse = history_of(np.round(usd - usd.mean() + 1.0, 4), decimals=4)  # most minutes have no move
    assert_valid(coarse, fit(coarse), np.array([len(usd) - 100]))


def test_a_more_volatile_symbol_has_the_same_standardised_tables(closes: np.ndarray) -> None:
    logs = np.log(closes)
    volatile = np.exp(logs[0] + 10 * (logs - logs[0]) / 3)  # a factor of 10 would exceed exact comparison
    calm, volatile_fit = fit(history_of(closes)), fit(history_of(volatile, decimals=4))
    assert np.abs(calm.tables.positive[0] - volatile_fit.tables.positive[0]).max() < 1.5
    ratio = sigma(history_of(volatile, decimals=4), volatile_fit, 39 * DAY) / sigma(history_of(closes), calm, 39 * DAY)
    assert ratio == pytest.approx(10 / 3, rel=0.1)


def test_borrowed_parameters_keep_the_symbols_own_volatility(closes: np.ndarray) -> None:
    lender = fit_parameters(history_of(closes))
    young = history_of(np.exp(np.log(closes[: 2 * DAY]) * 3 - 2 * np.log(closes[0])), decimals=4)
    lent = borrow(lender, young)
    assert lent.volatility.variance_floor == pytest.approx(9 * lender.volatility.variance_floor, rel=0.9), (
        "minimum variance from its own returns"
    )
    assert lent.momentum_edges == lender.momentum_edges
    with pytest.raises(ValueError, match="the price never moves"):
        borrow(lender, history_of(np.full(DAY, 5.0)))


def test_bars_of_2017_with_frozen_minutes_are_still_calibrated(closes: np.ndarray) -> None:
    """In a thin market, two thirds of the minutes of quiet hours repeat the previous price."""
    rng = np.random.default_rng(5)
    usd = np.concatenate([closes, closes[-1] * closes / closes[0]])
    quiet = (np.arange(len(usd)) // 60) % 24 < 12
    frozen = quiet & (rng.random(len(usd)) < 0.66)
    at = np.where(frozen, 0, np.arange(len(usd)))
    usd = usd[np.maximum.accumulate(at)]
    history = history_of(usd)
    plan = Plan(FIRST + 50 * DAY, history.end, every_minutes=15)
    (fold,) = walk_forward(history, candidates(["climatology", "standardised"], ModelConfig()), plan)
    ours = fold.tallies["standardised"]
    assert pooled(ours).brier < pooled(fold.tallies["climatology"]).brier
    assert abs(pooled(ours).calibration) < 0.01
    assert all(abs(cell.calibration) < 0.12 for cell in two_sided_slices(ours, "volatility_band", 60, 50))


def random_walk(moving: np.ndarray, sd: float = 1e-3, seed: int = 4) -> np.ndarray:
    """A geometric random walk that moves only in the minutes that are `moving`."""
    steps = np.where(moving, np.random.default_rng(seed).normal(0, sd, len(moving)), 0.0)
    return np.asarray(10_000 * np.exp(np.cumsum(steps)))


def test_a_repeatedly_frozen_feed_is_forecast() -> None:
    """Without a minimum variance the fitted weights diverged: forecasts were wrong by a factor of 100."""
    minute = np.arange(40 * DAY)
    history = history_of(random_walk((minute // 180) % 3 != 0))
    model = fit(history)
    into = minute % 540
    later = minute[10 * DAY : -60]
    assert_valid(history, model, later[::997])
    for after, low, high in ((300, 0.7, 1.3), (500, 0.5, 1.3), (170, 0.02, 1.0)):
        rows = later[into[later] == after]
        found = model.rule.sigma(model.rule.states(history, rows), 15.0)
        assert found is not None
        assert low < np.median(found) / 1e-3 < high, after


@pytest.mark.parametrize("weeks", [1, 2])
def test_the_forecast_recovers_within_an_hour_after_a_freeze_of_weeks(closes: np.ndarray, weeks: int) -> None:
    """The mean absolute return had decayed to almost zero, and with it the cap of a return."""
    resumed, pause = 20 * DAY + 600, weeks * 7 * DAY
    stopped = history_of(np.concatenate([closes[:resumed], np.full(pause, closes[resumed - 1]), closes[resumed:]]))
    flowing = history_of(closes)
    model = fit(flowing)
    assert_valid(stopped, model, resumed + pause + np.array([-1, 0, 1, 30]))
    for minutes, worst in ((10, 0.25), (45, 0.45), (180, 0.65)):
        found = sigma(stopped, model, resumed + pause + minutes) / sigma(flowing, model, resumed + minutes)
        assert worst < found < 1.3, minutes
    assert sigma(stopped, model, resumed + pause - 1) < sigma(flowing, model, resumed) / 4


def test_mostly_frozen_bars_can_be_fitted() -> None:
    for moving in (np.arange(60 * DAY) >= 40 * DAY, np.arange(60 * DAY) < 20 * DAY):
        history = history_of(random_walk(moving))
        model = fit(history)
        rows = np.flatnonzero(moving)[2 * DAY : -DAY : 311]
        assert_valid(history, model, rows)
        found = model.rule.sigma(model.rule.states(history, rows), 60.0)
        assert found is not None
        assert 0.8 < np.median(found) / 1e-3 < 1.25


def test_two_equal_closes_at_the_start_do_not_depress_volatility_for_hours() -> None:
    moving = np.ones(20 * DAY, dtype=np.bool_)
    moving[:2] = False
    history = history_of(random_walk(moving))
    assert sigma(history, fit(history), 60) > 0.6e-3


def test_one_tick_at_ten_times_the_price_does_not_change_other_forecasts(closes: np.ndarray) -> None:
    usd = closes.copy()
    usd[20 * DAY] *= 10
    clean, spiked = history_of(closes), history_of(usd)
    assert_same_forecasts(clean, spiked)
    floors = [fit_parameters(history).volatility.variance_floor for history in (clean, spiked)]
    assert floors[1] / floors[0] == pytest.approx(1.0, abs=0.1)


def test_ties_and_moves_of_a_stablecoin_are_distinguished() -> None:
    steps = np.random.default_rng(8).choice([-1, 0, 1], 40 * DAY, p=[0.02, 0.96, 0.02])
    level = np.cumsum(steps)
    level = np.abs((level + 10) % 40 - 20) - 10  # reflected, at most ten steps from par
    history = history_of(1.0 + 1e-4 * level, decimals=4)
    model = fit(history)
    rows = np.arange(30 * DAY, 40 * DAY - 60, 977)
    assert_valid(history, model, rows)
    states = model.rule.states(history, rows)
    assert probability.for_scoring(model, states, 60, np.array([100.0, -100.0])).max() <= 2e-4
    up, down = (model.tables.positive[0, 0], model.tables.negative[0, 0])
    assert up[0] + down[0] > 190, "nearly every minute is a tie, which counts on both sides"
    assert 1.0 < up[1] < 3.5


def test_a_symbol_with_tenfold_volatility_gives_equal_probabilities_for_tenfold_moves(closes: np.ndarray) -> None:
    logs = np.log(closes[: 20 * DAY])
    calm, volatile = history_of(closes[: 20 * DAY]), history_of(np.exp(6 + 10 * (logs - logs[0])), decimals=6)
    rows = np.arange(15 * DAY, 20 * DAY, 499)
    for ttc in (5, 60):
        answers, groups = [], []
        for history, factor in ((calm, 1), (volatile, 10)):
            model = fit(history)
            states = model.rule.states(history, rows)
            moves = np.expm1(factor * np.array([-0.004, -0.001, 0.001, 0.004])) * 10_000
            groups.append(model.rule.buckets(states))
            answers.append(probability.for_scoring(model, states, ttc, moves))
        # Momentum is a simple return, so a row beside the edge of a group can be in the next one.
        same = groups[0] == groups[1]
        assert same.mean() > 0.9
        assert np.abs(answers[0] - answers[1])[same].max() < 0.01
