"""Counting standardised moves: exact, in whole numbers, the same in one go and day by day."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.domain.bars import closes_from_usd
from pipelines.domain.config import ModelConfig
from pipelines.domain.history import MarketHistory, market_history
from pipelines.domain.models.standardised import walk_counts
from pipelines.domain.momentum import compute_momentum
from pipelines.domain.standardised import (
    AXIS_STEP,
    AXIS_UNITS,
    BINS,
    GROUP_SIGMA_MINUTES,
    GROUPS,
    HORIZON_MINUTES,
    TOP,
    AgedCounts,
    StandardisedParameters,
    axis_position,
    count_outcomes,
    count_weeks,
    fit_parameters,
    fit_tables,
    own_share,
    week_of_row,
    week_weight,
)
from pipelines.domain.volatility import MINUTES_PER_WEEK, VolatilityTrack, track_volatility

DAY = 1440


@pytest.fixture(scope="module")
def history(shared: Path) -> MarketHistory:
    """Ten real weeks of BTC with a gap of three hours and some single minutes missing."""
    frame = pl.read_parquet(shared / "data" / "prices" / "btc_1m.parquet", columns=["timestamp", "close"])
    frame = frame.slice(2_100_007, 10 * 7 * DAY)
    minutes, usd = (frame["timestamp"].dt.epoch("s") // 60).to_numpy(), frame["close"].to_numpy()
    gone = np.r_[30_000:30_180, 50_000, 50_002, 70_000]
    closes = closes_from_usd(np.delete(minutes, gone), np.delete(usd, gone))
    return market_history(closes, compute_momentum(closes, ModelConfig()))


@pytest.fixture(scope="module")
def parameters(history: MarketHistory) -> StandardisedParameters:
    return fit_parameters(history.until(history.first_minute + 40 * DAY))


@pytest.fixture(scope="module")
def track(history: MarketHistory, parameters: StandardisedParameters) -> VolatilityTrack:
    return track_volatility(history.log_close, history.first_minute, parameters.volatility)


def test_each_outcome_is_counted_once_in_its_cell(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack
) -> None:
    start, stop = 29_950, 30_250  # over the gap
    counts = count_outcomes(history, parameters, track, start, stop)
    expected = np.zeros((HORIZON_MINUTES, GROUPS, BINS), dtype=np.int64)
    volatility = parameters.volatility
    for row in range(start, stop):
        if np.isnan(history.score[row]) or np.isnan(history.scaled[row]):
            continue
        states = volatility.log_states(track.variances[:, [row]])
        instant = np.array([history.first_minute + row + 1])
        relative = history.score[row] / volatility.sigma(states, instant, GROUP_SIGMA_MINUTES)[0]
        group = sum(edge < relative for edge in parameters.momentum_edges)
        for horizon in range(1, HORIZON_MINUTES + 1):
            move = history.log_close[row + horizon] - history.log_close[row]
            if np.isnan(move):
                continue
            z = move / (volatility.sigma(states, instant, horizon)[0] * horizon**0.5)
            place = int(abs(np.arcsinh(2 * z)) * AXIS_UNITS / AXIS_STEP)
            offset = 0 if z == 0 else int(np.sign(z)) * (1 + min(place, TOP))
            expected[horizon - 1, group, TOP + 1 + offset] += 1
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum() > 1000


def test_counting_day_by_day_is_counting_in_one_go_to_the_bit(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack
) -> None:
    whole = count_weeks(history, parameters, track, 0)
    daily: dict[int, np.ndarray] = {}
    for end in range(history.first_minute + DAY, history.end + DAY, DAY):
        known = history.until(end)
        since = (end - DAY) - HORIZON_MINUTES  # rows whose longest horizon ended in this day
        if end - DAY <= history.first_minute + HORIZON_MINUTES:
            since = 0
        for week, counts in count_weeks(known, parameters, track, since).items():
            daily[week] = daily.get(week, 0) + counts
    assert set(daily) == set(whole)
    for week, counts in whole.items():
        np.testing.assert_array_equal(daily[week], counts)
        assert counts.dtype == np.int64


def test_walking_forward_sees_at_each_instant_what_was_known_then(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack
) -> None:
    instants = [history.first_minute + day * DAY + 13 for day in (41, 42, 55, 69)]
    for instant, aged in walk_counts(history, parameters, track, instants):
        known = history.until(instant)
        fresh = AgedCounts.of(count_weeks(known, parameters, track, 0), instant // MINUTES_PER_WEEK)
        np.testing.assert_allclose(aged.weighted, fresh.weighted, rtol=1e-12)
        np.testing.assert_array_equal(aged.n, fresh.n)
        assert aged.week == fresh.week


def test_a_base_row_belongs_to_the_week_in_which_its_hour_is_over() -> None:
    turn = 3000 * MINUTES_PER_WEEK
    assert week_of_row(turn - HORIZON_MINUTES - 1) == 2999
    assert week_of_row(turn - HORIZON_MINUTES) == 3000


def test_tables_are_distributions(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack
) -> None:
    weeks = count_weeks(history, parameters, track, 0)
    tables = fit_tables(weeks, max(weeks)).tables
    assert tables.buckets == tuple(range(GROUPS + 1))
    for side in (tables.positive, tables.negative):
        assert (np.diff(side, axis=-1) <= 0).all()
        assert side.min() >= 0
        assert side.max() <= 100
    both = tables.positive[..., 0] + tables.negative[..., 0]
    assert (both >= 100 - 1e-9).all(), "no move at all counts on both sides"
    assert both.max() < 110
    assert (tables.n[1:].sum(axis=0) == tables.n[0]).all()
    rises = tables.positive[1:, 4, 0]
    assert rises.max() - rises.min() > 2, "momentum over volatility parts the groups"


def test_a_week_weighs_half_of_one_90_days_younger_and_a_thin_group_leans_on_all() -> None:
    assert week_weight(0) == 1.0
    assert week_weight(90) == pytest.approx(0.5**7)
    assert own_share(np.array([0.0, 1000.0, 9000.0])).tolist() == [0.0, 0.5, 0.9]
    old, new = (np.zeros((HORIZON_MINUTES, GROUPS, BINS), dtype=np.int64) for _ in range(2))
    old[:, 0, TOP + 1 + 21], new[:, 0, TOP + 1 - 21] = 100, 100  # 100 rises by 1.00, 100 falls by 1.00
    aged = AgedCounts.of({1000: old, 1090: new}, 1090)
    tables = aged.tables()
    share = 0.5**7 / (1 + 0.5**7)
    assert tables.positive[0, 0, 20] == pytest.approx(100 * share)
    assert tables.negative[5, 0, 20] == pytest.approx(100 * (1 - share)), "a group without rows takes that of all"
    assert tables.n_eff[0, 0] == pytest.approx((100 * (1 + 0.5**7)) ** 2 / (100 * (1 + 0.5**14)))


def test_no_outcome_is_said(history: MarketHistory) -> None:
    with pytest.raises(ValueError, match="no outcome is known yet"):
        fit_tables({}, 3000)


def test_parameters_come_back_as_they_were(parameters: StandardisedParameters) -> None:
    again = StandardisedParameters.from_json(parameters.as_json())
    assert again.momentum_edges == parameters.momentum_edges
    np.testing.assert_array_equal(again.volatility.season, parameters.volatility.season)
    np.testing.assert_array_equal(again.volatility.coefficients, parameters.volatility.coefficients)
    with pytest.raises(ValueError, match="fitted with half-lives"):
        StandardisedParameters.from_json({**parameters.as_json(), "half_lives_minutes": [1, 2]})


def test_groups_are_the_ninths_of_momentum_over_volatility(parameters: StandardisedParameters) -> None:
    edges = parameters.momentum_edges
    assert list(edges) == sorted(edges)
    scores = np.array([edges[0] - 1, edges[0] + 1e-9, (edges[3] + edges[4]) / 2, edges[-1] + 1, np.nan])
    assert parameters.group_of(scores * 2e-3, np.full(5, 2e-3)).tolist() == [1, 2, 5, 9, 0]


def test_places_on_the_axis() -> None:
    sigma = 1e-3
    assert axis_position(0.0, sigma, 0.0) == 0.0
    assert axis_position(0.01, sigma, 0.0) == np.inf
    assert axis_position(-0.004, sigma, 16.0) == pytest.approx(100 * np.arcsinh(2.0))
    assert axis_position(0.004, sigma, 16.0) == axis_position(0.002, sigma, 4.0), "with the square root of time"
