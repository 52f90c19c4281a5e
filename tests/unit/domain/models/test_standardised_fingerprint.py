"""Counts of standardised moves, their weeks and their tables."""

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_series import price_series, without
from real_data import SOURCES

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.standardised import counts_at_each
from pipelines.domain.models.standardised_fingerprint import (
    AXIS_MAX,
    AXIS_STEP,
    BINS,
    GROUPS,
    HORIZON_MINUTES,
    OLDEST_WEEKS,
    SHRINKAGE,
    TOP,
    Counts,
    DecayedCounts,
    StandardisedParameters,
    axis_position,
    count_outcomes,
    count_weeks,
    decay_weight,
    fit_parameters,
    fit_tables,
    week_of_row,
    weeks_in_window,
)
from pipelines.domain.prices.bars import MINUTES_PER_WEEK, closes_from_usd
from pipelines.domain.prices.history import MarketHistory, market_history
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.volatility import VolatilityTrack, track_volatility

DAY = 1440


@pytest.fixture(scope="module", params=SOURCES)
def history(request: pytest.FixtureRequest) -> MarketHistory:
    """25 days of BTC with three gaps, over four starts of a week; one close in sixty equals the one before."""
    gone = np.r_[9_000, 15_000:15_002, 30_000:30_200]
    series = price_series(request.param, "BTC", 2_000_000, 25 * DAY, start_price_usd=400.0)
    closes = closes_from_usd(*without(series, gone))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


@pytest.fixture(scope="module")
def parameters(history: MarketHistory) -> StandardisedParameters:
    return fit_parameters(history.until(history.first_minute + 15 * DAY))


@pytest.fixture(scope="module")
def track(history: MarketHistory, parameters: StandardisedParameters) -> VolatilityTrack:
    return track_volatility(history.log_close, history.first_minute, parameters.volatility)


@pytest.fixture(scope="module")
def weeks(history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack) -> dict[int, Counts]:
    return count_weeks(history, parameters, track, 0)


def test_counts_equal_a_count_in_plain_python(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack
) -> None:
    start, stop = 29_900, 30_300  # a gap of 200 minutes lies within
    counts = count_outcomes(history, parameters, track, start, stop)
    season, slow = parameters.volatility.season, Counter[tuple[int, int, int]]()
    coefficients, knots = parameters.volatility.coefficients.tolist(), (1, 2, 5, 10, 15, 30, 45, 60)

    def sigma(row: int, horizon: int) -> float:
        upper = next(i for i, knot in enumerate(knots) if knot >= horizon)
        below = max(upper - 1, 0)
        share = 0.0 if upper == below else math.log(horizon / knots[below]) / math.log(knots[upper] / knots[below])
        weights = [a * (1 - share) + b * share for a, b in zip(coefficients[below], coefficients[upper], strict=True)]
        log_variance = weights[-1] + sum(
            weight * math.log(max(variance, parameters.volatility.variance_floor))
            for weight, variance in zip(weights[:-1], track.variances[:, row].tolist(), strict=True)
        )
        opens = history.first_minute + row + 1
        ahead = season.of_minutes(np.arange(opens, opens + horizon)).mean()
        return math.sqrt(max(math.exp(log_variance), parameters.volatility.variance_floor) * ahead)

    for row in range(start, stop):
        score = float(history.score[row])
        if math.isnan(score):
            continue
        relative = score / sigma(row, 30)
        group = sum(relative > edge for edge in parameters.momentum_edges)
        for horizon in range(1, 61):
            later, base = float(history.scaled[row + horizon]), float(history.scaled[row])
            if math.isnan(later):
                continue
            at = 20 * math.asinh(2 * math.log(later / base) / (sigma(row, horizon) * math.sqrt(horizon)))
            steps = max(-140, min(140, math.trunc(at)))
            slow[horizon - 1, group, 141 + steps + (at > 0) - (at < 0)] += 1
    assert slow.total() > 8_000
    fast = {tuple(cell): int(counts[tuple(cell)]) for cell in np.argwhere(counts).tolist()}
    assert fast == dict(slow)


def test_an_unmoved_price_is_neither_up_nor_down_and_a_tie_of_decimals_is_a_tie(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, weeks: dict[int, Counts]
) -> None:
    flat = sum(int(counts[0, :, TOP + 1].sum()) for counts in weeks.values())
    rows = np.flatnonzero(~np.isnan(history.score[: len(history) - HORIZON_MINUTES]))
    assert flat == int((history.scaled[rows + 1] == history.scaled[rows]).sum()) > 0


def test_every_base_row_with_a_later_bar_counts_once(history: MarketHistory, weeks: dict[int, Counts]) -> None:
    rows = np.flatnonzero(~np.isnan(history.score[: len(history) - HORIZON_MINUTES]))
    total = sum(counts.sum(axis=(1, 2)) for counts in weeks.values())
    for horizon in (1, 2, 17, 60):
        assert total[horizon - 1] == (~np.isnan(history.scaled[rows + horizon])).sum()
    assert all(counts.dtype.kind == "i" and counts.min() >= 0 for counts in weeks.values())
    assert max(counts.sum(axis=2).max() for counts in weeks.values()) < 2**15  # those of a week fit into 16 bits


def test_daily_counts_add_up_to_one_count_of_all_bars(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, weeks: dict[int, Counts]
) -> None:
    stored: dict[int, Counts] = {}
    since = history.first_minute
    ends = [*range(history.first_minute + 617, history.end, DAY), history.end]
    for end in ends:
        known = history.until(end)
        for week, counts in count_weeks(known, parameters, track, since).items():
            stored[week] = stored[week] + counts if week in stored else counts
        since = end - HORIZON_MINUTES
    assert len(ends) > 20
    assert sorted(stored) == sorted(weeks)
    for week, counts in weeks.items():
        np.testing.assert_array_equal(stored[week], counts)


def test_counts_at_each_instant_use_only_what_is_known_then(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack
) -> None:
    instants = [history.first_minute + 16 * DAY + 77 + k * DAY for k in range(8)]
    for instant, sums in counts_at_each(history, parameters, track, instants):
        direct = DecayedCounts.of(
            count_weeks(history.until(instant), parameters, track, 0), instant // MINUTES_PER_WEEK
        )
        np.testing.assert_array_equal(sums.n, direct.n)
        assert sums.week == direct.week
        np.testing.assert_allclose(sums.weighted, direct.weighted, rtol=1e-12)
        np.testing.assert_allclose(sums.squares, direct.squares, rtol=1e-12)


def test_a_row_belongs_to_the_week_in_which_its_longest_horizon_ends(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, weeks: dict[int, Counts]
) -> None:
    week = sorted(weeks)[1]
    turn = week * MINUTES_PER_WEEK
    assert [week_of_row(minute) for minute in (turn - 61, turn - 60, turn + MINUTES_PER_WEEK - 61)] == [
        week - 1,
        week,
        week,
    ]
    first = turn - HORIZON_MINUTES - history.first_minute
    whole = count_outcomes(history, parameters, track, first, first + MINUTES_PER_WEEK)
    np.testing.assert_array_equal(weeks[week], whole)
    assert sum(int(counts.sum()) for counts in weeks.values()) > weeks[week].sum()


def test_at_the_start_of_a_week_the_previous_week_is_complete(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, weeks: dict[int, Counts]
) -> None:
    old = sorted(weeks)[1]
    found = count_weeks(history.until((old + 1) * MINUTES_PER_WEEK), parameters, track, 0)
    assert max(found) == old
    np.testing.assert_array_equal(found[old], weeks[old])
    assert max(count_weeks(history.until((old + 1) * MINUTES_PER_WEEK + 1), parameters, track, 0)) == old + 1


def test_counts_do_not_depend_on_anything_after_the_longest_horizon(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack
) -> None:
    stop = 20_000

    def counted_with_garbage_from(row: int) -> Counts:
        scaled = history.scaled.copy()
        scaled[row:] = 1.0
        return count_outcomes(replace(history, scaled=scaled, cache={}), parameters, track, 19_000, stop)

    counts = count_outcomes(history, parameters, track, 19_000, stop)
    np.testing.assert_array_equal(counts, counted_with_garbage_from(stop + HORIZON_MINUTES))
    assert not np.array_equal(counts, counted_with_garbage_from(stop + HORIZON_MINUTES - 1))


def test_tables_fall_along_the_axis_from_100_to_0_and_cover_all_outcomes(weeks: dict[int, Counts]) -> None:
    tables = fit_tables(weeks, max(weeks)).tables
    assert tables.buckets == tuple(range(GROUPS + 1))
    assert tables.nodes == tuple(range(0, AXIS_MAX + 1, AXIS_STEP))
    for side in (tables.positive, tables.negative):
        assert side.shape == (GROUPS + 1, HORIZON_MINUTES, TOP + 1)
        assert (np.diff(side, axis=-1) <= 1e-12).all()
        assert side.min() >= 0.0
        assert side.max() <= 100.0
    both = tables.positive[..., 0] + tables.negative[..., 0]
    assert both.min() >= 100.0 - 1e-9
    assert both[0].max() < 110.0


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
@settings(max_examples=15, deadline=None)
def test_tables_of_any_counts_are_probabilities(seed: int, sparse: int) -> None:
    rng = np.random.default_rng(seed)
    rates = rng.exponential(1.0, (HORIZON_MINUTES, GROUPS, BINS)) * 0.3**sparse
    weeks = {week: rng.poisson(rates) for week in (2_000, 2_003)}
    weeks[2_000][:, 0, TOP + 1] += 1  # every horizon has an outcome
    tables = fit_tables(weeks, 2_005).tables
    for side in (tables.positive, tables.negative):
        assert (np.diff(side, axis=-1) <= 1e-12).all()
        assert side.min() >= 0.0
        assert side.max() <= 100.0
    assert (tables.positive[..., 0] + tables.negative[..., 0] >= 100.0 - 1e-9).all()
    assert (tables.n_eff <= tables.n + 1e-9).all()


def test_weights_of_weeks_halve_every_90_days() -> None:
    assert decay_weight(0) == 1.0
    assert decay_weight(90) == pytest.approx(2.0**-7)
    up, down = (np.zeros((HORIZON_MINUTES, GROUPS, BINS), dtype=np.int64) for _ in range(2))
    up[:, :, -1], down[:, :, 0] = 1000, 3000
    tables = DecayedCounts.of({3_000: down, 3_020: up}, 3_033).tables()
    ratio = 2.0 ** (20 * 7 / 90)
    np.testing.assert_allclose(tables.positive[0], 100 * ratio / (ratio + 3))
    weights = np.array([3000.0, 1000.0 * ratio])
    np.testing.assert_allclose(tables.n_eff[0], GROUPS * weights.sum() ** 2 / (3000 + 1000 * ratio**2))
    np.testing.assert_array_equal(tables.n[0], GROUPS * 4000)


def test_decay_in_steps_equals_decay_at_once(weeks: dict[int, Counts]) -> None:
    first, last = min(weeks), max(weeks)
    stepwise = DecayedCounts.empty(first)
    for week in sorted(weeks):
        stepwise = stepwise.decayed_to(week)
        stepwise.add(weeks[week], week)
    once = DecayedCounts.of(weeks, last)
    np.testing.assert_allclose(stepwise.weighted, once.weighted, rtol=1e-12)
    np.testing.assert_allclose(stepwise.squares, once.squares, rtol=1e-12)


def test_weeks_older_than_two_years_and_future_weeks_are_excluded(weeks: dict[int, Counts]) -> None:
    assert weeks_in_window([5_001, 5_000, 4_897, 4_896], 5_000) == [4_897, 5_000]
    one = weeks[sorted(weeks)[1]]
    assert DecayedCounts.of({5_000 - OLDEST_WEEKS: one, 5_000: one, 5_001: one}, 5_000).n.sum() == one.sum()


def test_a_group_is_shrunk_towards_the_pooled_table_by_its_n_eff() -> None:
    counts = np.zeros((HORIZON_MINUTES, GROUPS, BINS), dtype=np.int64)
    counts[:, 1:, 0] = 4_000  # eight groups always fall far
    counts[:, 0, -1] = 500  # one always rises far, with an n_eff of half of SHRINKAGE
    tables = fit_tables({4_000: counts}, 4_000).tables
    together = 500 / 32_500
    own = 500 / (500 + SHRINKAGE)
    np.testing.assert_allclose(tables.positive[0], 100 * together)
    np.testing.assert_allclose(tables.positive[1], 100 * (own + (1 - own) * together))
    empty = counts.copy()
    empty[:, 0] = 0
    tables = fit_tables({4_000: empty, 4_001: empty}, 4_001).tables
    np.testing.assert_array_equal(tables.positive[1], tables.positive[0])
    assert (tables.n_eff[1] == 0).all()


def test_tables_without_outcomes_raise() -> None:
    nothing = np.zeros((HORIZON_MINUTES, GROUPS, BINS), dtype=np.int64)
    for weeks in ({}, {4_000: nothing}, {3_000: nothing + 1}):
        with pytest.raises(ValueError, match="no outcome is known"):
            fit_tables(weeks, 4_000)


def test_parameters_round_trip_through_json_exactly(parameters: StandardisedParameters) -> None:
    back = StandardisedParameters.from_json(json.loads(json.dumps(parameters.as_json())))
    np.testing.assert_array_equal(back.volatility.season.by_minute, parameters.volatility.season.by_minute)
    assert back.volatility.season.time_zone == "America/New_York"
    np.testing.assert_array_equal(back.volatility.coefficients, parameters.volatility.coefficients)
    assert back.volatility.variance_floor == parameters.volatility.variance_floor
    assert back.volatility.fitted_until == parameters.volatility.fitted_until
    assert back.momentum_edges == parameters.momentum_edges


def test_parameters_of_other_half_lives_raise(parameters: StandardisedParameters) -> None:
    with pytest.raises(ValueError, match="half-lives"):
        StandardisedParameters.from_json({**parameters.as_json(), "half_lives_minutes": [10, 60, 720]})


def test_groups_divide_the_year_evenly_and_an_unknown_score_has_group_0(
    history: MarketHistory, parameters: StandardisedParameters, weeks: dict[int, Counts]
) -> None:
    share = sum(counts[0].sum(axis=1) for counts in weeks.values()) / sum(counts[0].sum() for counts in weeks.values())
    assert (np.abs(share - 1 / GROUPS) < 0.03).all()
    edge = parameters.momentum_edges
    scores = np.array([np.nan, edge[0], np.nextafter(edge[0], np.inf), 1e9, -1e9])
    assert parameters.group_of(scores, np.ones(5)).tolist() == [0, 1, 2, 9, 1]


def test_the_axis_is_the_inverse_hyperbolic_sine_of_twice_the_standardised_move() -> None:
    assert axis_position(0.02, 1e-3, 25.0) == pytest.approx(100 * math.asinh(2 * 0.02 / (1e-3 * 5)))
    assert axis_position(-0.02, 1e-3, 25.0) == axis_position(0.02, 1e-3, 25.0)
    assert axis_position([0.0, 1e-9], 1e-3, 0.0).tolist() == [0.0, math.inf]


def test_a_fit_on_too_few_bars_raises_with_the_reason(history: MarketHistory) -> None:
    with pytest.raises(ValueError, match="too few to fit volatility"):
        fit_parameters(history.until(history.first_minute + 300))
    with pytest.raises(ValueError, match="too few for 9 groups"):
        fit_parameters(history.until(history.first_minute + 900))
