"""Every model keeps the promises of the interface, and walking forward keeps the future out."""

import sys
from dataclasses import replace
from math import erfc, sqrt
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipelines.domain.bars import closes_from_usd
from pipelines.domain.config import ModelConfig
from pipelines.domain.history import MarketHistory, market_history
from pipelines.domain.lookup import LookupRow, build_lookup_block, read_ladder
from pipelines.domain.models import closed_forms, registry
from pipelines.domain.models.base import FittedModel
from pipelines.domain.models.climatology import ClimatologyModel
from pipelines.domain.models.closed_forms import axis_nodes, fit_t, t_survival
from pipelines.domain.momentum import compute_momentum
from pipelines.domain.sample import SampleTruth, generate_bars
from pipelines.domain.scoring import brier_difference, cells, pooled, skill
from pipelines.domain.standardised import BINS, TOP
from pipelines.domain.walk_forward import Plan, entrants, happened, walk_forward

DAY = 1440
MODELS = ["climatology", "momentum", "normal", "standardised", "student_t"]
MOVES = np.array([2.0, 10.0, 50.0, 150.0])


@pytest.fixture(scope="module")
def history(shared: Path) -> MarketHistory:
    """60 real days of ETH."""
    frame = pl.read_parquet(shared / "data" / "prices" / "eth_1m.parquet", columns=["timestamp", "close"])
    frame = frame.slice(2_000_000, 60 * DAY)
    closes = closes_from_usd((frame["timestamp"].dt.epoch("s") // 60).to_numpy(), frame["close"].to_numpy())
    return market_history(closes, compute_momentum(closes, ModelConfig()))


@pytest.fixture(scope="module")
def fitted(history: MarketHistory) -> dict[str, FittedModel]:
    instant = history.first_minute + 50 * DAY
    return {name: model.fit(history, instant, ModelConfig()) for name, model in registry.all_models().items()}


def rows_of(history: MarketHistory) -> np.ndarray:
    return np.arange(50 * DAY, 60 * DAY - 61, 997)


def test_the_registry_finds_every_module_and_names_what_there_is() -> None:
    assert list(registry.all_models()) == MODELS
    with pytest.raises(ValueError, match="there is no model 'oracle'; there are climatology, momentum"):
        registry.model_named("oracle")


def test_a_model_is_added_by_a_module_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Oracle(ClimatologyModel):
        name = "oracle"

    name = "pipelines.domain.models.oracle"
    module = ModuleType(name)
    module.__dict__["Oracle"] = Oracle
    monkeypatch.setitem(sys.modules, name, module)
    found = [*registry.pkgutil.iter_modules(registry.models.__path__, f"{registry.models.__name__}.")]
    added = registry.pkgutil.ModuleInfo(found[0].module_finder, name, ispkg=False)
    monkeypatch.setattr(registry.pkgutil, "iter_modules", lambda *_: [*found, added])
    registry.all_models.cache_clear()
    try:
        assert registry.model_named("oracle").name == "oracle"
        assert len(registry.all_models()) == len(MODELS) + 1
    finally:
        registry.all_models.cache_clear()


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_fall_with_the_distance_and_are_never_certain(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    model = fitted[name]
    states = model.rule.states(history, rows_of(history))
    for ttc in (1, 15, 60):
        for sign in (1, -1):
            beyond = model.prob_beyond(states, ttc, sign * MOVES)
            assert (beyond >= 1e-4).all()
            assert (beyond <= 1 - 1e-4).all()
            assert (np.diff(beyond, axis=1) <= 1e-12).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_future_is_not_looked_at(history: MarketHistory, fitted: dict[str, FittedModel], name: str) -> None:
    scaled = history.scaled.copy()
    scaled[50 * DAY :] = np.rint(scaled[50 * DAY :] * np.linspace(1, 9, 10 * DAY))
    changed = MarketHistory(history.first_minute, scaled, history.scale, history.score)
    again = registry.model_named(name).fit(changed, history.first_minute + 50 * DAY, ModelConfig())
    np.testing.assert_array_equal(again.tables.positive, fitted[name].tables.positive)
    np.testing.assert_array_equal(again.tables.negative, fitted[name].tables.negative)
    assert again.rule.as_json() == fitted[name].rule.as_json()


@pytest.mark.parametrize("name", MODELS)
def test_what_is_served_from_the_lookup_is_what_is_scored(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    model = fitted[name]
    axes, rule = model.rule.axes, registry.model_named(name).rule(model.rule.as_json())
    for row in rows_of(history)[:6]:
        states = rule.states(history, np.array([row]))
        bucket = int(rule.buckets(states)[0])
        block = build_lookup_block(model.tables, bucket, axes)
        ttcs = list(axes.lookup_ttcs_seconds)
        for minutes in (1, 7, 60):
            at = ttcs.index(minutes * 60)
            stored = LookupRow(
                minutes * 60, block.within_positive[at], block.within_negative[at], float(block.n_eff[at])
            )
            for sign in (1, -1):
                places = rule.positions(states, float(minutes), sign * MOVES)[0]
                upward = np.full(len(MOVES), sign > 0)
                read = read_ladder({minutes * 60: stored}, axes, minutes * 60.0, places, upward).beyond
                scored = 100 * model.prob_beyond(states, minutes, sign * MOVES)[0]
                np.testing.assert_allclose(read, scored, atol=0.011)


@pytest.mark.parametrize("name", MODELS)
def test_below_a_minute_the_distribution_shrinks_with_the_root_of_time(
    history: MarketHistory, fitted: dict[str, FittedModel], name: str
) -> None:
    rule = fitted[name].rule
    states = rule.states(history, rows_of(history)[:1])
    quarter = rule.positions(states, 0.25, MOVES)
    whole = rule.positions(states, 1.0, 2 * MOVES)
    # The season of the next 15 and 60 seconds is that of the same quarter-hour here; log moves bend a little.
    np.testing.assert_allclose(quarter, whole, rtol=0.01)


def test_students_t_and_the_normal_are_those_of_scipy() -> None:
    z = axis_nodes()
    for freedom in (2.5, 4.0, 12.0):
        np.testing.assert_allclose(t_survival(z, freedom), stats.t.sf(z, freedom), atol=2e-6)
    for each in (0.0, 1.0, 3.5):
        assert 0.5 * erfc(each / sqrt(2)) == pytest.approx(stats.norm.sf(each))
    assert closed_forms.NormalModel.name == "normal"


def test_the_fit_of_t_finds_what_the_counts_were_drawn_from() -> None:
    edges = axis_nodes()
    for freedom, scale in ((3.0, 0.7), (6.0, 0.9)):
        survival = stats.t.sf(edges / scale, freedom)
        counts = np.zeros((1, BINS))
        mass = np.concatenate([-np.diff(survival), survival[-1:]]) * 1e6
        counts[0, TOP + 2 :], counts[0, : TOP + 1] = mass, mass[::-1]
        found = fit_t(counts)
        assert found[0][0] == pytest.approx(freedom, rel=0.05)
        assert found[1][0] == pytest.approx(scale, abs=0.02)


def test_a_tie_is_a_tie_and_a_missing_bar_is_no_case() -> None:
    closes = closes_from_usd(np.array([100, 101, 102, 104]), np.array([100.1, 100.2001, 99.9999, 100.1]))
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    outcome, known = happened(history, np.array([0]), 1, np.array([10, 11, -1]))
    assert (outcome.tolist(), known.tolist()) == ([[True, False, False]], [True])
    outcome, known = happened(history, np.array([0]), 2, np.array([-10, -11]))
    assert outcome.tolist() == [[True, False]]
    assert happened(history, np.array([0, 4]), 3, np.array([10]))[1].tolist() == [False, False]
    assert happened(history, np.array([1]), 3, np.array([10]))[1].tolist() == [True]


def test_folds_are_calendar_months_and_the_last_may_be_shorter() -> None:
    minute = lambda text: int(np.datetime64(text, "m").astype(np.int64))  # noqa: E731
    plan = Plan(minute("2024-07-17"), minute("2025-02-01"), fold_months=3)
    dates = [np.datetime64(start, "m").astype("datetime64[D]").astype(str) for start, _ in plan.folds()]
    assert dates == ["2024-07-17", "2024-10-17", "2025-01-17"]
    assert plan.folds()[-1][1] == plan.stop
    assert Plan(10, 20).folds() == [(10, 20)]
    for wrong in ({"stop": 0}, {"every_minutes": 0}, {"fold_months": 0}, {"train_to": 15}):
        with pytest.raises(ValueError, match="."):
            replace(Plan(10, 20), **wrong)


def test_where_volatility_clusters_and_momentum_does_not_exist_standardised_is_right_in_every_band() -> None:
    bars = generate_bars(SampleTruth(100_000.0), 150, 29_012_000, 8)
    closes = closes_from_usd(bars.minutes, bars.close)
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    plan = Plan(history.end - 40 * DAY, history.end, every_minutes=15)
    (fold,) = walk_forward(history, entrants(MODELS, ModelConfig()), plan)
    reference, standardised, momentum = (fold.tallies[name] for name in ("climatology", "standardised", "momentum"))
    assert skill(standardised, reference) > 0.03
    assert brier_difference(standardised, momentum).high < 0
    assert abs(pooled(standardised).calibration) < 0.005
    # 40 days are 960 hours: a tenth holds some 96 independent ones.
    assert all(abs(cell.calibration) < 0.09 for cell in cells(standardised, "volatility_band", 60, 50))
    worst = max(abs(cell.calibration) for cell in cells(momentum, "volatility_band", 60, 50))
    assert worst > 0.12


def test_fitted_once_and_renewed_never_is_another_score(history: MarketHistory) -> None:
    start, stop = history.first_minute + 50 * DAY, history.first_minute + 58 * DAY
    one = entrants(["standardised"], ModelConfig())
    renewed = walk_forward(history, one, Plan(start, stop))[0].tallies["standardised"]
    frozen = walk_forward(history, one, Plan(start, stop, train_to=start))[0].tallies["standardised"]
    early = walk_forward(history, one, Plan(start, stop, train_to=start - 10 * DAY))[0].tallies["standardised"]
    scores = {pooled(tally).brier for tally in (renewed, frozen, early)}
    assert len(scores) == 3
    assert {pooled(tally).n for tally in (renewed, frozen, early)} == {pooled(renewed).n}
