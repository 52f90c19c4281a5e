"""Season: New York's calendar, its clock changes, the fit, and seasons of earlier versions."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK, Floats, Ints, closes_from_usd
from pipelines.domain.prices.season import (
    HALF_LIFE_DAYS,
    MARKET_TIME_ZONE,
    QUARTERS_PER_WEEK,
    Season,
    clock_changes,
    fit_season,
    minute_of_week,
)
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars
from pipelines.domain.prices.volatility import log_returns

DAY = MINUTES_PER_DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEW_YORK = ZoneInfo(MARKET_TIME_ZONE)
FIRST_YEAR, LAST_YEAR = 2009, 2100


def minute(*when: int) -> int:
    return int((datetime(*when, tzinfo=UTC) - EPOCH) / timedelta(minutes=1))


#: 02:00 EST becomes 03:00 EDT; 02:00 EDT becomes 01:00 EST.
SPRING, AUTUMN = minute(2025, 3, 9, 7), minute(2025, 11, 2, 6)
RANDOM = Season(np.exp(np.random.default_rng(2).normal(0, 1, 672)), np.random.default_rng(3).uniform(0.7, 1.4, 60))


def season_by_calendar(season: Season, instant: float) -> float:
    """The season at an instant, by the datetime module."""
    local = (EPOCH + timedelta(minutes=instant)).astimezone(NEW_YORK)
    quarter = local.weekday() * 96 + local.hour * 4 + local.minute // 15
    return float(season.quarters[quarter] * season.minute_factors[local.minute])


def test_a_zone_changes_its_clock_twice_a_year_and_utc_never() -> None:
    changes, offsets = clock_changes(MARKET_TIME_ZONE)
    assert len(changes) == 2 * (LAST_YEAR - FIRST_YEAR + 1) == len(offsets) - 1
    assert {SPRING, AUTUMN} <= set(changes.tolist())
    assert set(offsets.tolist()) == {-300, -240}
    assert [len(found) for found in clock_changes("UTC")] == [0, 1]


@given(st.lists(st.integers(minute(FIRST_YEAR, 1, 1), minute(LAST_YEAR, 12, 1)), min_size=1, max_size=50))
@settings(max_examples=50, deadline=None)
def test_seasons_follow_the_calendar_of_new_york(minutes: list[int]) -> None:
    found = RANDOM.of_minutes(np.array(minutes))
    assert found.tolist() == [season_by_calendar(RANDOM, each) for each in minutes]


@pytest.mark.parametrize("change", [SPRING, AUTUMN])
def test_seasons_follow_the_clock_on_the_nights_when_it_changes(change: int) -> None:
    minutes = change + np.arange(-180, 180)
    assert RANDOM.of_minutes(minutes).tolist() == [season_by_calendar(RANDOM, each) for each in minutes.tolist()]


def test_a_year_without_known_clock_changes_has_the_offset_of_the_nearest_known_year() -> None:
    january = minute(2001, 1, 1), minute(2150, 7, 1)
    expected = [(at - 300 + 3 * DAY) % MINUTES_PER_WEEK for at in january]
    assert minute_of_week(np.array(january), MARKET_TIME_ZONE).tolist() == expected


@given(
    st.one_of(
        st.integers(minute(2020, 1, 1), minute(2026, 1, 1)),
        st.integers(SPRING - 70, SPRING + 10),
        st.integers(AUTUMN - 70, AUTUMN + 10),
    ),
    st.one_of(st.just(0.0), st.floats(0, 0.999)),
    st.one_of(st.integers(1, 60), st.floats(1 / 60, 60)),
)
@settings(max_examples=150, deadline=None)
def test_the_mean_season_averages_over_the_horizon(whole: int, part: float, ahead: float) -> None:
    points = whole + part + (np.arange(2_000) + 0.5) / 2_000 * ahead
    slow = np.mean([season_by_calendar(RANDOM, each) for each in np.floor(points).tolist()])
    # Beside another instant, far from a change of the clock.
    found = RANDOM.mean(np.array([minute(2022, 6, 1), whole + part]), ahead)[1]
    assert found == pytest.approx(slow, rel=2e-2 if ahead > 1 else 5e-2)
    assert found == RANDOM.mean(np.array([whole + part]), ahead)[0]


def test_the_mean_season_is_exact_across_a_change_of_the_clock() -> None:
    for change in (SPRING, AUTUMN):
        for instant, ahead in ((change - 30, 60), (change - 30.5, 45.25), (change, 10), (change - 60, 60)):
            steps = np.arange(np.floor(instant), np.ceil(instant + ahead))
            overlap = np.minimum(steps + 1, instant + ahead) - np.maximum(steps, instant)
            exact = sum(o * season_by_calendar(RANDOM, m) for o, m in zip(overlap, steps.tolist(), strict=True)) / ahead
            assert RANDOM.mean(np.array([instant]), ahead)[0] == pytest.approx(exact, rel=1e-12)


def test_whole_minutes_have_the_same_mean_as_instants_with_fractions() -> None:
    instants: Ints = minute(2025, 1, 1) + np.arange(0, 500_000, 1237)
    for ahead in (1, 7, 60):
        slow = RANDOM.mean(instants.astype(np.float64) + 1e-9, ahead)
        np.testing.assert_allclose(RANDOM.mean(instants, ahead), slow, rtol=1e-6)


def test_a_season_of_an_earlier_version_has_weekdays_and_weekends_in_utc() -> None:
    stored = np.exp(np.random.default_rng(4).normal(0, 1, 192))
    season = Season.of_day_kinds(stored.tolist())
    friday = minute(2025, 2, 28, 23, 59)
    minutes = friday + np.array([0, 1, 2 * DAY, 2 * DAY + 1])
    assert season.of_minutes(minutes).tolist() == stored[[95, 96, 191, 0]].tolist()
    assert season.of_minutes(np.array([SPRING, AUTUMN])).tolist() == stored[[96 + 28, 96 + 24]].tolist()


def returns_of(factor: Floats, first: int, weeks: int, seed: int) -> Floats:
    minutes = first + np.arange(weeks * MINUTES_PER_WEEK)
    size = 5e-4 * np.sqrt(factor[minute_of_week(minutes, MARKET_TIME_ZONE)])
    return np.random.default_rng(seed).normal(0, 1, len(minutes)) * size


def test_the_fit_recovers_weekdays_and_minutes_of_the_hour_on_new_yorks_clock() -> None:
    week = np.arange(MINUTES_PER_WEEK)
    opening = np.where((week // DAY < 5) & (week % DAY // 15 == 38), 4.0, 1.0)  # 09:30 on weekdays
    monday = np.where(week // DAY == 0, 1.5, 1.0)
    hour = np.where(week % 60 == 0, 1.6, 1.0)
    truth = opening * monday * hour
    season, level = fit_season(returns_of(truth, minute(2024, 1, 1), 100, 5), minute(2024, 1, 1))
    ratio = season.by_minute / season.by_minute.mean() / (truth / truth.mean())
    assert 0.75 < ratio.min() < ratio.max() < 1.3
    assert level == pytest.approx(25e-8 * truth.mean(), rel=0.05)
    assert season.minute_factors[0] / season.minute_factors[1:].mean() == pytest.approx(1.6, rel=0.1)
    assert season.minute_factors.mean() == pytest.approx(1.0, rel=1e-12)


def test_the_fit_recovers_the_season_of_synthetic_bars() -> None:
    truth = SimulationParameters(100_000.0, jumps_per_day=0.0)
    bars = generate_bars(truth, 400, 29_012_000, 7)
    grid, _ = closes_from_usd(bars.minutes, bars.close).on_grid()
    returns = log_returns(np.log(grid))
    season, level = fit_season(returns, int(bars.minutes[0]))
    minutes = minute(2025, 1, 6) + 15 * np.arange(QUARTERS_PER_WEEK)
    phase = 2 * np.pi * ((minutes + 7.5) % DAY - truth.season_peak_minute) / DAY
    true = np.exp(2 * truth.season_log_depth * np.cos(phase))
    found = season.quarters[minute_of_week(minutes, MARKET_TIME_ZONE) // 15]
    assert np.corrcoef(np.log(found), np.log(true))[0, 1] > 0.7
    assert level == pytest.approx(np.nanmean(np.square(returns)), rel=0.01)


def test_old_bars_weigh_half_as_much_for_each_year_of_their_age() -> None:
    first = minute(2020, 1, 6)
    week = np.arange(MINUTES_PER_WEEK)
    lively = np.where((week // DAY == 2) & (week % DAY // 60 == 12), 9.0, 1.0)
    old, new = returns_of(lively, first, 52, 1), returns_of(np.ones(MINUTES_PER_WEEK), first, 52, 2)
    season, _ = fit_season(np.concatenate([old, new]), first)
    cell, others = season.quarters[2 * 96 + 50], season.quarters[96 + 50]
    weight = 1 / (1 + 2 ** (364 / HALF_LIFE_DAYS))
    assert np.log(cell / others) == pytest.approx(weight * np.log(9.0), rel=0.25)


def test_with_a_week_of_bars_a_quarter_hour_is_mostly_that_of_its_kind_of_day() -> None:
    first = minute(2025, 1, 6)
    season, _ = fit_season(returns_of(np.ones(MINUTES_PER_WEEK), first, 1, 8), first)
    assert np.log(season.quarters).std() < 0.35
    assert 0.85 < season.minute_factors.min() < season.minute_factors.max() < 1.15


def test_the_season_has_mean_one_over_the_bars() -> None:
    returns = np.random.default_rng(3).normal(0, 1e-3, 3 * DAY)
    monday = minute(2025, 1, 6, 5)
    season, _ = fit_season(returns, monday)
    minutes = monday + np.arange(3 * DAY)
    weights = 0.5 ** ((minutes[-1] - minutes) / (HALF_LIFE_DAYS * DAY))
    assert np.average(season.of_minutes(minutes), weights=weights) == pytest.approx(1.0, rel=1e-12)
    assert np.isfinite(season.quarters).all()


@pytest.mark.parametrize(
    ("returns", "message"), [([np.nan] * 100, "no one-minute returns"), ([0.0] * 100, "the price never moves")]
)
def test_returns_that_do_not_move_cannot_be_fitted(returns: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_season(np.array(returns), minute(2025, 1, 6))
