"""Claims about walking forward, beside `test_every_model`: no look-ahead anywhere, base rows, labels, folds."""

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
from pipelines.domain.evaluation.scoring import pooled, skill, two_sided_slices
from pipelines.domain.evaluation.walk_forward import Fold, Plan, candidates, outcomes, walk_forward
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
EVERYONE = [*all_models(), "momentum_source"]


def plan_of(start: int, stop: int, **more: int) -> Plan:
    return replace(Plan(start, stop, every_minutes=10, ttcs_minutes=TTCS, moves_bps=MOVES), **more)


@pytest.fixture(scope="module", params=SOURCES)
def history(request: pytest.FixtureRequest) -> MarketHistory:
    """40 days of ETH; minutes are missing on the 33rd."""
    gone = np.r_[32 * DAY + 100 : 32 * DAY + 130, 32 * DAY + 777]
    closes = closes_from_usd(*without(price_series(request.param, "ETH", 2_400_000, 40 * DAY), gone))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


def without_the_future(history: MarketHistory, instant: int) -> MarketHistory:
    """The same up to the bar that closes at `instant`; after it garbage, up as often as down."""
    scaled, score = history.scaled.copy(), history.score.copy()
    row = history.closed_rows(instant)
    rng = np.random.default_rng(3)
    scaled[row:] = rng.integers(1, 2 * int(scaled[row - 1]), len(scaled) - row)
    score[row:] = rng.normal(0, 0.1, len(score) - row)
    return MarketHistory(history.first_minute, scaled, history.scale, score)


@pytest.mark.parametrize("name", all_models())
def test_models_of_each_day_are_the_same_whatever_follows_that_day(history: MarketHistory, name: str) -> None:
    days = [history.first_minute + 30 * DAY + 7 + k * DAY for k in range(4)]
    walked = list(model_named(name).fit_each(history, days, ModelConfig()))
    assert [model.fitted_until for model in walked] == (days if name == "standardised" else [days[0]] * 4)
    for count in (1, 4):
        changed = without_the_future(history, days[count - 1])
        again = list(model_named(name).fit_each(changed, days[:count], ModelConfig()))
        for ours, theirs in zip(walked, again, strict=False):
            np.testing.assert_array_equal(ours.tables.positive, theirs.tables.positive)
            np.testing.assert_array_equal(ours.tables.negative, theirs.tables.negative)
            np.testing.assert_array_equal(ours.tables.n, theirs.tables.n)
            assert ours.rule.as_json() == theirs.rule.as_json()


@pytest.mark.slow
def test_nothing_after_the_longest_horizon_of_the_last_base_row_changes_a_score(history: MarketHistory) -> None:
    """Scores of a time are the same when garbage follows its longest horizon, and differ when it comes earlier."""
    start = history.first_minute + 30 * DAY
    stop = start + 2 * DAY
    plan = plan_of(start, stop)
    (ours,) = walk_forward(history, candidates(EVERYONE, ModelConfig()), plan)
    known = history.until(stop + 60)
    (theirs,) = walk_forward(known, candidates(EVERYONE, ModelConfig()), plan)
    for label, tally in ours.tallies.items():
        np.testing.assert_array_equal(tally.totals, theirs.tallies[label].totals)
        np.testing.assert_array_equal(tally.bins, theirs.tallies[label].bins)
    (garbage,) = walk_forward(without_the_future(history, stop + 60), candidates(EVERYONE, ModelConfig()), plan)
    for label, tally in ours.tallies.items():
        np.testing.assert_array_equal(tally.totals, garbage.tallies[label].totals)
    (worse,) = walk_forward(without_the_future(history, stop + 30), candidates(EVERYONE, ModelConfig()), plan)
    assert not np.array_equal(ours.tallies["normal"].totals, worse.tallies["normal"].totals)


@pytest.mark.slow
def test_each_day_is_forecast_by_models_that_saw_nothing_of_it(history: MarketHistory) -> None:
    """The sums of probabilities are those of models that are handed bars up to the day's beginning and no more."""
    start = history.first_minute + 30 * DAY
    plan = plan_of(start, start + 2 * DAY)
    (fold,) = walk_forward(history, candidates(EVERYONE, ModelConfig()), plan)
    for entrant in candidates(EVERYONE, ModelConfig()):
        expected = np.zeros((len(TTCS), len(MOVES)))
        for day in (start, start + DAY):
            known = history.until(day)
            *_, model = model_named(entrant.model).fit_each(known, sorted({start, day}), entrant.config)
            rows = np.arange(day, day + DAY, 10) - 1 - history.first_minute
            rows = rows[~(np.isnan(history.scaled[rows]) | np.isnan(history.score[rows]))]
            states = model.rule.states(history, rows)
            for i, ttc in enumerate(TTCS):
                there = ~np.isnan(history.scaled[rows + ttc])
                expected[i] += model.prob_beyond(states, ttc, np.array(MOVES, dtype=np.float64))[there].sum(axis=0)
        found = fold.tallies[entrant.label].by_level("hour")[:, 1].sum(axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=entrant.label)


def one_fold(history: MarketHistory, plan: Plan) -> Fold:
    (fold,) = walk_forward(history, candidates(["climatology"], ModelConfig()), plan)
    return fold


def test_base_rows_close_on_multiples_of_k_minutes_and_count_only_known_outcomes(history: MarketHistory) -> None:
    start = history.first_minute + 32 * DAY + 3  # not a multiple of anything
    plan = plan_of(start, start + DAY)
    tally = one_fold(history, plan).tallies["climatology"]
    instants = [at for at in range(start, start + DAY) if at % 10 == 0]
    rows = np.array(instants) - 1 - history.first_minute
    rows = rows[~(np.isnan(history.scaled[rows]) | np.isnan(history.score[rows]))]
    assert 100 < len(rows) < len(instants), "the gap takes some"
    n = tally.by_level("hour")[:, 0].sum(axis=0)
    for i, ttc in enumerate(TTCS):
        assert n[i].tolist() == [(~np.isnan(history.scaled[rows + ttc])).sum()] * len(MOVES)


def test_labels_are_hour_week_band_of_momentum_and_tenth_of_volatility(history: MarketHistory) -> None:
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
    squared_moves = tenths[:, 2, 1, [0, 3]].sum(axis=1)  # 50 bps within 10 minutes happened
    assert squared_moves[-3:].sum() > 3 * squared_moves[:3].sum()
    parameters, track = shared_parameters(history, start)
    sigma = sigma_of_rows(parameters.volatility, track, rows, 60)
    assert sigma.min() > 0


#: Half of them such that a whole number of basis points can be hit exactly.
price = st.integers(1, 10_000_000) | st.integers(1, 10_000).map(lambda price: 10_000 * price)


@given(price, st.integers(-200, 200), st.integers(-3, 3), st.sampled_from([0, 2, 5, 8]))
@settings(max_examples=300, deadline=None)
def test_outcomes_are_those_of_exact_fractions(base: int, move: int, off: int, decimals: int) -> None:
    """Closes within a few units of the strike itself, where floats would decide by luck."""
    later = max(1, base + base * move // 10_000 + off)
    scaled = np.array([base, later], dtype=np.float64)
    history = MarketHistory(0, scaled, 10**decimals, np.zeros(2))
    outcome, known = outcomes(history, np.array([0]), 1, np.array([move]))
    change, asked = Fraction(later - base, base), Fraction(move, 10_000)
    assert outcome[0, 0] == (change >= asked if move > 0 else change <= asked)
    assert known.tolist() == [True]


def test_each_fold_fits_anew_and_is_as_if_scored_alone(history: MarketHistory) -> None:
    start = history.first_minute + 7 * DAY
    stop = history.end
    plan = plan_of(start, stop, fold_months=1)
    folds = walk_forward(history, candidates(["standardised", "momentum"], ModelConfig()), plan)
    begins = [np.datetime64(fold.start, "m") for fold in folds]
    assert len(folds) == 2
    assert begins[1].item().day == begins[0].item().day
    assert (folds[0].stop, folds[1].stop) == (folds[1].start, stop)
    # A plan of the last fold alone gives the same sums, but for the week's number.
    last = folds[-1]
    maintenance_lock = walk_forward(
        history, candidates(["standardised", "momentum"], ModelConfig()), plan_of(last.start, stop)
    )
    for label in ("standardised", "momentum"):
        for dimension in ("hour", "momentum_band", "volatility_band"):
            np.testing.assert_array_equal(
                last.tallies[label].by_level(dimension), maintenance_lock[0].tallies[label].by_level(dimension)
            )


@given(st.integers(25_000_000, 30_000_000), st.integers(1, 800 * DAY), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_folds_part_the_time_without_gap_or_overlap(start: int, length: int, months: int) -> None:
    folds = Plan(start, start + length, fold_months=months).folds()
    assert folds[0][0] == start
    assert folds[-1][1] == start + length
    for (_, before), (after, _) in pairwise(folds):
        assert before == after
    assert all(0 < stop - begin <= (31 * months + 4) * DAY for begin, stop in folds)


def test_the_source_takes_part_in_its_own_profile_and_a_stranger_not_at_all() -> None:
    ours, theirs = candidates(["momentum", "momentum_source"], ModelConfig())
    assert (ours.model, ours.config.profile) == ("momentum", Profile.SOUND)
    assert (theirs.label, theirs.model, theirs.config.profile) == ("momentum_source", "momentum", Profile.SOURCE)
    with pytest.raises(ValueError, match="there is no model"):
        candidates(["crystal_ball"], ModelConfig())


def test_too_little_before_and_nothing_within_are_refused(history: MarketHistory) -> None:
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
def test_where_only_volatility_is_to_be_known_standardised_knows_it(seed: int) -> None:
    bars = generate_bars(SimulationParameters(100_000.0), 130, 29_012_000, seed)
    closes = closes_from_usd(bars.minutes, bars.close)
    history = market_history(closes, compute_momentum(closes, ModelConfig()))
    plan = Plan(history.end - 50 * DAY, history.end, every_minutes=30)
    (fold,) = walk_forward(history, candidates(["climatology", "momentum", "standardised"], ModelConfig()), plan)
    reference, ours = fold.tallies["climatology"], fold.tallies["standardised"]
    assert skill(ours, reference) > 0.02
    assert skill(ours, reference) > skill(fold.tallies["momentum"], reference) + 0.01
    assert abs(pooled(ours).calibration) < 0.006
    assert all(abs(cell.calibration) < 0.10 for cell in two_sided_slices(ours, "volatility_band", 60, 50))
