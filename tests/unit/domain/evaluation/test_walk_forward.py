"""Walk-forward evaluation: no look-ahead, base rows, labels, folds."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_series import price_series, without
from real_data import SOURCES

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.evaluation.score_report import merged_tallies
from pipelines.domain.evaluation.scoring import pooled, skill_interval, two_sided_slices
from pipelines.domain.evaluation.walk_forward import Fold, Plan, candidates, outcomes, walk_forward
from pipelines.domain.models import probability
from pipelines.domain.models.registry import all_models, model_named
from pipelines.domain.models.standardised import shared_parameters
from pipelines.domain.models.standardised_fingerprint import sigma_of_rows
from pipelines.domain.prices.bars import closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars

DAY = 1440
TTCS = (1, 10, 60)
MOVES = (-50, -10, 10, 50)
ALL_MODELS = [*all_models(), "momentum_source"]


def plan_of(start: int, stop: int, **more: int) -> Plan:
    return replace(Plan(start, stop, every_minutes=10, ttcs_minutes=TTCS, moves_bps=MOVES), **more)


@pytest.fixture(scope="module", params=SOURCES)
def history(request: pytest.FixtureRequest) -> MarketHistory:
    """40 days of ETH; minutes are missing on day 33."""
    gone = np.r_[32 * DAY + 100 : 32 * DAY + 130, 32 * DAY + 777]
    closes = closes_from_usd(*without(price_series(request.param, "ETH", 2_400_000, 40 * DAY), gone))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


def with_random_future(history: MarketHistory, instant: int) -> MarketHistory:
    """The history with random bars after `instant`."""
    scaled, score = history.scaled.copy(), history.score.copy()
    row = history.closed_rows(instant)
    rng = np.random.default_rng(3)
    scaled[row:] = rng.integers(1, 2 * int(scaled[row - 1]), len(scaled) - row)
    score[row:] = rng.normal(0, 0.1, len(score) - row)
    return MarketHistory(history.first_minute, scaled, history.scale, score)


@pytest.mark.parametrize("name", all_models())
def test_models_of_a_day_do_not_depend_on_later_bars(history: MarketHistory, name: str) -> None:
    days = [history.first_minute + 30 * DAY + 7 + k * DAY for k in range(4)]
    walked = list(model_named(name).fit_each(history, days, ModelConfig()))
    assert [model.fitted_until for model in walked] == (days if name == "standardised" else [days[0]] * 4)
    for count in (1, 4):
        changed = with_random_future(history, days[count - 1])
        again = list(model_named(name).fit_each(changed, days[:count], ModelConfig()))
        for ours, theirs in zip(walked, again, strict=False):
            np.testing.assert_array_equal(ours.tables.positive, theirs.tables.positive)
            np.testing.assert_array_equal(ours.tables.negative, theirs.tables.negative)
            np.testing.assert_array_equal(ours.tables.n, theirs.tables.n)
            assert ours.rule.as_json() == theirs.rule.as_json()


@pytest.mark.slow
def test_bars_after_the_longest_horizon_of_the_last_base_row_do_not_change_scores(history: MarketHistory) -> None:
    """Random bars after the longest horizon change no score; earlier ones do."""
    start = history.first_minute + 30 * DAY
    stop = start + 2 * DAY
    plan = plan_of(start, stop)
    (ours,) = walk_forward(history, candidates(ALL_MODELS, ModelConfig()), plan)
    known = history.until(stop + 60)
    (theirs,) = walk_forward(known, candidates(ALL_MODELS, ModelConfig()), plan)
    for label, tally in ours.tallies.items():
        np.testing.assert_array_equal(tally.totals, theirs.tallies[label].totals)
        np.testing.assert_array_equal(tally.bins, theirs.tallies[label].bins)
    (garbage,) = walk_forward(with_random_future(history, stop + 60), candidates(ALL_MODELS, ModelConfig()), plan)
    for label, tally in ours.tallies.items():
        np.testing.assert_array_equal(tally.totals, garbage.tallies[label].totals)
    (worse,) = walk_forward(with_random_future(history, stop + 30), candidates(ALL_MODELS, ModelConfig()), plan)
    assert not np.array_equal(ours.tallies["normal"].totals, worse.tallies["normal"].totals)


@pytest.mark.slow
def test_each_day_is_forecast_by_models_fitted_before_it(history: MarketHistory) -> None:
    """The summed probabilities equal those of models given only the bars before each day."""
    start = history.first_minute + 30 * DAY
    plan = plan_of(start, start + 2 * DAY)
    (fold,) = walk_forward(history, candidates(ALL_MODELS, ModelConfig()), plan)
    for entrant in candidates(ALL_MODELS, ModelConfig()):
        expected = np.zeros((len(TTCS), len(MOVES)))
        for day in (start, start + DAY):
            known = history.until(day)
            *_, model = model_named(entrant.model).fit_each(known, sorted({start, day}), entrant.config)
            rows = np.arange(day, day + DAY, 10) - 1 - history.first_minute
            rows = rows[~(np.isnan(history.scaled[rows]) | np.isnan(history.score[rows]))]
            states = model.rule.states(history, rows)
            for i, ttc in enumerate(TTCS):
                there = ~np.isnan(history.scaled[rows + ttc])
                beyond = probability.for_scoring(model, states, ttc, np.array(MOVES, dtype=np.float64))
                expected[i] += beyond[there].sum(axis=0)
        found = fold.tallies[entrant.label].by_level("hour")[:, 1].sum(axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=entrant.label)


def one_fold(history: MarketHistory, plan: Plan) -> Fold:
    (fold,) = walk_forward(history, candidates(["climatology"], ModelConfig()), plan)
    return fold


def test_base_rows_close_on_multiples_of_k_minutes_and_count_only_known_outcomes(history: MarketHistory) -> None:
    start = history.first_minute + 32 * DAY + 3  # not a multiple of 10
    plan = plan_of(start, start + DAY)
    tally = one_fold(history, plan).tallies["climatology"]
    instants = [at for at in range(start, start + DAY) if at % 10 == 0]
    rows = np.array(instants) - 1 - history.first_minute
    rows = rows[~(np.isnan(history.scaled[rows]) | np.isnan(history.score[rows]))]
    assert 100 < len(rows) < len(instants), "the gap removes some"
    n = tally.by_level("hour")[:, 0].sum(axis=0)
    for i, ttc in enumerate(TTCS):
        assert n[i].tolist() == [(~np.isnan(history.scaled[rows + ttc])).sum()] * len(MOVES)


def test_labels_are_hour_week_momentum_band_and_volatility_band(history: MarketHistory) -> None:
    start = history.first_minute + 31 * DAY
    plan = plan_of(start, start + 8 * DAY)
    tally = one_fold(history, plan).tallies["climatology"]
    rows = np.array([at for at in range(start, start + 8 * DAY) if at % 10 == 0]) - 1 - history.first_minute
    rows = rows[~(np.isnan(history.scaled[rows]) | np.isnan(history.score[rows]))]
    rows = rows[~np.isnan(history.scaled[rows + 1])]
    at = [datetime.fromtimestamp((history.first_minute + row + 1) * 60, UTC) for row in rows.tolist()]
    hours = np.bincount([each.hour for each in at], minlength=24)
    assert tally.by_level("hour")[:, 0, 0, 0].tolist() == hours.tolist()
    weeks = np.bincount((history.first_minute + rows + 1 - start) // (7 * DAY), minlength=2)
    assert tally.by_level("week")[:, 0, 0, 0].tolist() == weeks.tolist()
    size = np.abs(history.score[rows]) * 10_000
    bands = [
        int(((size > low) & (size <= high)).sum())
        for low, high in ((-1, 2), (2, 5), (5, 10), (10, 20), (20, 30), (30, np.inf))
    ]
    assert tally.by_level("momentum_band")[:, 0, 0, 0].tolist() == bands
    tenths = tally.by_level("volatility_band")
    assert np.abs(tenths[:, 0, 0, 0] - len(rows) / 10).max() < 12
    squared_moves = tenths[:, 2, 1, [0, 3]].sum(axis=1)  # outcomes of 50 bps within 10 minutes
    assert squared_moves[-3:].sum() > 3 * squared_moves[:3].sum()
    parameters, track = shared_parameters(history, start)
    sigma = sigma_of_rows(parameters.volatility, track, rows, 60)
    assert sigma.min() > 0


#: Half of the prices allow moves of exactly a whole number of basis points.
price = st.integers(1, 10_000_000) | st.integers(1, 10_000).map(lambda price: 10_000 * price)


@given(price, st.integers(-200, 200), st.integers(-3, 3), st.sampled_from([0, 2, 5, 8]))
@settings(max_examples=300, deadline=None)
def test_outcomes_equal_those_of_exact_fractions(base: int, move: int, off: int, decimals: int) -> None:
    """Closes are within a few units of the threshold, where float rounding would decide."""
    later = max(1, base + base * move // 10_000 + off)
    scaled = np.array([base, later], dtype=np.float64)
    history = MarketHistory(0, scaled, 10**decimals, np.zeros(2))
    outcome, known = outcomes(history, np.array([0]), 1, np.array([move]))
    change, threshold = Fraction(later - base, base), Fraction(move, 10_000)
    assert outcome[0, 0] == (change >= threshold if move > 0 else change <= threshold)
    assert known.tolist() == [True]


def test_each_fold_is_fitted_and_scored_independently(history: MarketHistory) -> None:
    start = history.first_minute + 7 * DAY
    stop = history.end
    plan = plan_of(start, stop, fold_months=1)
    folds = walk_forward(history, candidates(["standardised", "momentum"], ModelConfig()), plan)
    begins = [np.datetime64(fold.start, "m") for fold in folds]
    assert len(folds) == 2
    assert begins[1].item().day == begins[0].item().day
    assert (folds[0].stop, folds[1].stop) == (folds[1].start, stop)
    # A plan of only the last fold gives the same sums, except for week numbers.
    last = folds[-1]
    single = walk_forward(history, candidates(["standardised", "momentum"], ModelConfig()), plan_of(last.start, stop))
    for label in ("standardised", "momentum"):
        for dimension in ("hour", "momentum_band"):
            np.testing.assert_array_equal(
                last.tallies[label].by_level(dimension), single[0].tallies[label].by_level(dimension)
            )


def test_folds_do_not_change_which_cases_are_in_a_volatility_band(history: MarketHistory) -> None:
    """The calibration report, of quarters, and `score`, of one fold, show the same observed frequencies."""
    start = history.first_minute + 7 * DAY
    observed = []
    for fold_months in (None, 1):
        folds = walk_forward(
            history, candidates(["climatology"], ModelConfig()), plan_of(start, history.end, fold_months=fold_months)
        )
        bands = merged_tallies(folds)["climatology"].by_level("volatility_band")
        observed.append(bands[:, [0, 2]])  # cases and outcomes
    np.testing.assert_array_equal(*observed)


@given(st.integers(25_000_000, 30_000_000), st.integers(1, 800 * DAY), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_folds_cover_the_range_without_gap_or_overlap(start: int, length: int, months: int) -> None:
    folds = Plan(start, start + length, fold_months=months).folds()
    assert folds[0][0] == start
    assert folds[-1][1] == start + length
    for (_, before), (after, _) in pairwise(folds):
        assert before == after
    assert all(0 < stop - begin <= (31 * months + 4) * DAY for begin, stop in folds)


def test_momentum_source_uses_the_source_profile_and_unknown_models_are_rejected() -> None:
    ours, theirs = candidates(["momentum", "momentum_source"], ModelConfig())
    assert (ours.model, ours.config.profile) == ("momentum", Profile.SOUND)
    assert (theirs.label, theirs.model, theirs.config.profile) == ("momentum_source", "momentum", Profile.SOURCE)
    with pytest.raises(ValueError, match="there is no model"):
        candidates(["crystal_ball"], ModelConfig())


def test_too_little_history_and_an_empty_range_are_rejected(history: MarketHistory) -> None:
    first = history.first_minute
    with pytest.raises(ValueError, match="too few"):
        one_fold(history, plan_of(first + 100, first + DAY))
    with pytest.raises(ValueError, match="no bars with momentum"):
        one_fold(history, plan_of(history.end + 10, history.end + DAY))
    gap = plan_of(first + 32 * DAY + 101, first + 32 * DAY + 129)
    with pytest.raises(ValueError, match="no bars with momentum"):
        one_fold(history, gap)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [21, 22])
def test_the_standardised_model_has_skill_where_only_volatility_is_predictable(seed: int) -> None:
    bars = generate_bars(SimulationParameters(100_000.0), 130, 29_012_000, seed)
    closes = closes_from_usd(bars.minutes, bars.close)
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    plan = Plan(history.end - 50 * DAY, history.end, every_minutes=30)
    (fold,) = walk_forward(history, candidates(["climatology", "momentum", "standardised"], ModelConfig()), plan)
    reference, ours = fold.tallies["climatology"], fold.tallies["standardised"]
    skill, of_momentum = (skill_interval(tally, reference).estimate for tally in (ours, fold.tallies["momentum"]))
    assert skill > 0.02
    assert skill > of_momentum + 0.01
    assert abs(pooled(ours).calibration) < 0.006
    assert all(abs(cell.calibration) < 0.10 for cell in two_sided_slices(ours, "volatility_band", 60, 50))
