"""Models: errors, every bucket and minute of the lookup, and formulas."""

import json
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_series import bar_series, without
from real_data import SOURCES
from scipy import stats

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models import probability
from pipelines.domain.models.base import FittedModel, MarketStates
from pipelines.domain.models.lookup import LookupBlock, LookupRow, build_lookup_block
from pipelines.domain.models.parametric import DEGREES_OF_FREEDOM, axis_nodes, fit_t, t_survival
from pipelines.domain.models.registry import all_models, model_named
from pipelines.domain.models.standardised_fingerprint import BINS, GROUPS, TOP
from pipelines.domain.prices.bars import Floats, closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum

DAY = 1440
FIT_DAYS = 30
SOURCE = "momentum_source"
NAMES = [*all_models(), SOURCE]
MOVES = np.array([0.5, 3.0, 12.0, 40.0, 90.0, 149.0, 168.0, 172.0, 180.0, 199.0, 400.0])


@pytest.fixture(scope="module", params=SOURCES)
def history(request: pytest.FixtureRequest) -> MarketHistory:
    """33 days of BTC with a gap of 20 minutes in the last."""
    gone = np.arange(32 * DAY + 500, 32 * DAY + 520)
    minutes, usd, extremes = bar_series(request.param, "BTC", 2_300_000, 33 * DAY)
    closes = closes_from_usd(*without((minutes, usd), gone))
    return market_history(closes, compute_momentum(closes, ModelConfig()), np.delete(extremes, gone, axis=1))


def fit(name: str, history: MarketHistory, until: int) -> FittedModel:
    if name == SOURCE:
        return model_named("momentum").fit(history, until, ModelConfig(profile=Profile.SOURCE))
    return model_named(name).fit(history, until, ModelConfig())


@pytest.fixture(scope="module")
def fitted(history: MarketHistory) -> dict[str, FittedModel]:
    return {name: fit(name, history, history.first_minute + FIT_DAYS * DAY) for name in NAMES}


def rows_after_the_fit(history: MarketHistory, step: int = 331) -> np.ndarray:
    rows = np.arange(FIT_DAYS * DAY, len(history), step)
    return rows[~(np.isnan(history.scaled[rows]) | np.isnan(history.score[rows]))]


def read(block: LookupBlock, model: FittedModel, minutes: float, places: Floats, upward: bool) -> Floats:
    axes, rows = model.rule.axes, {}
    for node in axes.nodes_around(minutes * 60):
        at = node // axes.ttc_step_seconds
        rows[node] = LookupRow(node, block.within_positive[at], block.within_negative[at], float(block.n_eff[at]))
    return probability.from_lookup(rows, axes, minutes * 60, places, np.full(len(places), upward)).beyond


@pytest.mark.parametrize("name", NAMES)
def test_lookup_and_scoring_give_the_same_probability_at_every_minute_in_every_bucket(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    model = fitted[name]
    rows = rows_after_the_fit(history)
    buckets = model.rule.buckets(model.rule.states(history, rows))
    for bucket in np.unique(buckets).tolist():
        if bucket not in model.rule.axes.buckets:
            continue  # no bucket in the source profile: answered by the baseline, which has no lookup
        row = rows[buckets == bucket][:1]
        states = model.rule.states(history, row)
        block = build_lookup_block(model.tables, bucket, model.rule.axes)
        for minutes in range(1, 61):
            for sign in (1, -1):
                places = model.rule.positions(states, float(minutes), sign * MOVES)[0]
                served = read(block, model, float(minutes), places, sign > 0)
                scored = 100 * probability.for_scoring(model, states, minutes, sign * MOVES)[0]
                np.testing.assert_allclose(served, scored, atol=0.011, err_msg=f"{bucket} {minutes} {sign}")


@pytest.mark.parametrize("name", NAMES)
def test_below_a_minute_the_lookup_scales_the_move_by_the_root_of_time(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    model = fitted[name]
    row = rows_after_the_fit(history)[:1]
    states = model.rule.states(history, row)
    block = build_lookup_block(model.tables, int(model.rule.buckets(states)[0]), model.rule.axes)
    moves = np.array([1.0, 4.0, 9.0])
    served = [
        read(block, model, ttc, model.rule.positions(states, ttc, moves)[0], upward=True) for ttc in (1.0, 0.25, 0.04)
    ]
    minute = [probability.for_scoring(model, states, 1, moves * factor)[0] * 100 for factor in (1.0, 2.0, 5.0)]
    if name == SOURCE:
        assert served[1].tolist() == served[0].tolist() == served[2].tolist()
        return
    for found, expected in zip(served, minute, strict=True):
        np.testing.assert_allclose(found, expected, atol=0.15)
    assert (np.diff(np.stack(served), axis=0) <= 0).all()
    assert served[0][0] > served[1][0] > served[2][0]
    at_close = read(block, model, 0.0, model.rule.positions(states, 0.0, np.array([0.0, 1.0]))[0], upward=True)
    assert at_close.tolist() == [100.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_rebuilt_from_its_json_gives_the_same_buckets_and_positions(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    rule = fitted[name].rule
    again = model_named(fitted[name].name).rule(json.loads(json.dumps(rule.as_json())))
    rows = rows_after_the_fit(history, 97)
    states, rebuilt = rule.states(history, rows), again.states(history, rows)
    np.testing.assert_array_equal(states.variances, rebuilt.variances)
    np.testing.assert_array_equal(rule.buckets(states), again.buckets(rebuilt))
    for ttc in (0.0, 0.3, 1.0, 7.5, 60.0, 75.0):
        np.testing.assert_array_equal(rule.positions(states, ttc, MOVES), again.positions(rebuilt, ttc, MOVES))
    assert again.axes == rule.axes
    assert again.as_json() == rule.as_json()


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_does_not_depend_on_later_bars(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    rows = rows_after_the_fit(history)
    last = int(rows[len(rows) // 2])
    known = history.until(history.first_minute + last + 1)
    scaled, score = history.scaled.copy(), history.score.copy()
    scaled[last + 1 :], score[last + 1 :] = 7.0, 0.5
    assert history.log_extremes is not None
    extremes = history.log_extremes.copy()
    extremes[:, last + 1 :] = [[9.0], [1.0]]
    future = MarketHistory(history.first_minute, scaled, history.scale, score, extremes)
    again = fit(name, future, history.first_minute + FIT_DAYS * DAY)
    asked = rows[rows <= last]
    for ttc in (1, 13, 60):
        expected = probability.for_scoring(fitted[name], fitted[name].rule.states(history, asked), ttc, MOVES)
        for other, where in ((fitted[name], known), (again, future)):
            np.testing.assert_array_equal(
                probability.for_scoring(other, other.rule.states(where, asked), ttc, MOVES), expected
            )


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_fall_with_the_move_on_both_sides_of_the_price(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    model = fitted[name]
    states = model.rule.states(history, rows_after_the_fit(history))
    fine = np.linspace(0.25, 260, 500)
    for ttc in (1, 2, 29, 60):
        for sign in (1, -1):
            beyond = probability.for_scoring(model, states, ttc, sign * fine)
            assert (np.diff(beyond, axis=1) <= 1e-12).all()
        up, down = (probability.for_scoring(model, states, ttc, np.array([move]))[:, 0] for move in (1e-9, 0.0))
        assert (up + down > 0.95).all()


def test_a_fit_before_the_first_bar_raises(history: MarketHistory) -> None:
    for name in NAMES:
        for instant in (history.first_minute - 5, history.first_minute):
            with pytest.raises(ValueError, match=r"no bar is known yet|there are no one-minute returns"):
                fit(name, MarketHistory(history.first_minute, history.scaled, history.scale, history.score), instant)


def test_unknown_momentum_gives_the_pooled_answer_and_unknown_volatility_none(
    history: MarketHistory, fitted: dict[str, FittedModel]
) -> None:
    row = rows_after_the_fit(history)[:1]
    for name, model in fitted.items():
        whole = model.rule.states(history, row)
        blind = MarketStates(whole.instants, np.array([nan]), whole.variances)
        beyond = probability.for_scoring(model, blind, 30, MOVES)
        assert np.isfinite(beyond).all()
        if name == "standardised":
            assert model.rule.buckets(blind).tolist() == [0]
        lost = MarketStates(whole.instants, whole.score, np.full_like(whole.variances, nan))
        beyond = probability.for_scoring(model, lost, 30, np.array([10.0, -10.0]))
        assert np.isnan(beyond).all() == (model.rule.volatility is not None)


def test_a_given_sigma_replaces_the_forecast(fitted: dict[str, FittedModel], history: MarketHistory) -> None:
    for name in ("standardised", "student_t", "normal"):
        rule = fitted[name].rule
        states = rule.states(history, rows_after_the_fit(history)[:3])
        given_rule = rule.with_sigma(5e-4)
        assert type(given_rule) is type(rule)
        places = given_rule.positions(states, 25.0, np.array([30.0]))
        np.testing.assert_allclose(places, 100 * np.arcsinh(2 * np.log1p(0.003) / (5e-4 * 5)), rtol=1e-12)
    assert fitted["momentum"].rule.with_sigma(5e-4) is fitted["momentum"].rule


def test_the_normal_model_is_n_of_d2_without_drift(fitted: dict[str, FittedModel], history: MarketHistory) -> None:
    model, rows = fitted["normal"], rows_after_the_fit(history)
    states = model.rule.states(history, rows)
    sigma = model.rule.sigma(states, 40.0)
    assert sigma is not None
    for move in (-60.0, -5.0, 5.0, 60.0):
        z = np.log1p(move / 10_000) / (sigma * np.sqrt(40))
        expected = stats.norm.sf(z) if move > 0 else stats.norm.cdf(z)
        # The table is read linearly between nodes of 0.05 on the axis.
        np.testing.assert_allclose(
            probability.for_scoring(model, states, 40, np.array([move]))[:, 0], expected, atol=4e-4
        )


@given(st.sampled_from(DEGREES_OF_FREEDOM.tolist()), st.floats(0, 60))
@settings(max_examples=40, deadline=None)
def test_the_survival_function_of_t_equals_scipys_to_a_millionth(freedom: float, z: float) -> None:
    assert t_survival(np.array([z]), freedom)[0] == pytest.approx(stats.t.sf(z, freedom), abs=1e-6)


@pytest.mark.parametrize(("freedom", "scale"), [(2.6, 0.55), (4.0, 0.8), (8.0, 1.0)])
def test_the_fit_recovers_the_degrees_of_freedom_of_simulated_moves(freedom: float, scale: float) -> None:
    moves = scale * np.random.default_rng(6).standard_t(freedom, 400_000)
    steps = 20 * np.arcsinh(2 * moves)
    cells = TOP + 1 + np.sign(steps) + np.clip(np.trunc(steps), -TOP, TOP)
    counts = np.bincount(cells.astype(int), minlength=BINS)[None].astype(float)
    found_freedom, found_scale = fit_t(counts)
    assert found_freedom[0] == pytest.approx(freedom, rel=0.08)
    assert found_scale[0] == pytest.approx(scale, abs=0.02)


def test_axis_nodes_are_the_inverse_of_the_axis() -> None:
    np.testing.assert_allclose(np.arcsinh(2 * axis_nodes()), np.arange(0, 701, 5) / 100, atol=1e-12)


def test_a_horizon_without_outcomes_gives_nan_without_a_warning() -> None:
    """Runs of 45 bars with gaps between them: after the half hour of momentum only 14 minutes remain."""
    rng = np.random.default_rng(0)
    minutes = np.concatenate([29_000_000 + np.arange(45) + 200 * k for k in range(300)])
    closes = closes_from_usd(minutes, np.round(100 * np.exp(np.cumsum(rng.normal(0, 1e-3, len(minutes)))), 4))
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    row = np.array([40])
    for name in all_models():
        model = fit(name, history, history.end)
        states = model.rule.states(history, row)
        near, far = (probability.for_scoring(model, states, ttc, np.array([5.0, -5.0])) for ttc in (5, 60))
        assert np.isfinite(near).all(), name
        assert np.isnan(far).all(), name
        assert (model.tables.n_eff[:, 59] == 0).all()
        assert len(model.tables.buckets) in {1, 62, GROUPS + 1}
