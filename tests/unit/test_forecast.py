"""The volatility forecast: seasons, states, regression, and nothing of the future in it."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.domain.sample import SampleTruth, generate_bars
from pipelines.domain.volatility import (
    CAP_IN_USUAL_RETURNS,
    HALF_LIVES_MINUTES,
    KNOTS_MINUTES,
    VolatilityParameters,
    VolatilityState,
    fit_season,
    fit_volatility,
    log_returns,
    quarter_of_week,
    track_volatility,
)

DAY = 1440


@pytest.fixture(scope="module")
def real(shared: Path) -> tuple[np.ndarray, int]:
    """Log closes of 120 real days of BTC, and their first minute."""
    frame = pl.read_parquet(shared / "data" / "prices" / "btc_1m.parquet", columns=["timestamp", "close"])
    frame = frame.slice(1_800_000, 120 * DAY)
    return np.log(frame["close"].to_numpy()), int(frame["timestamp"].dt.epoch("s")[0]) // 60


@pytest.fixture(scope="module")
def parameters(real: tuple[np.ndarray, int]) -> VolatilityParameters:
    return fit_volatility(real[0][: 90 * DAY], real[1])[0]


def test_quarters_are_those_of_the_calendar() -> None:
    for minute in (0, 14, 15, 29_012_345, 29_013_800, 29_016_000, 29_017_439):
        at = datetime.fromtimestamp(minute * 60, UTC)
        expected = (at.hour * 60 + at.minute) // 15 + (96 if at.weekday() >= 5 else 0)
        assert quarter_of_week(np.array([minute]))[0] == expected, at


def test_a_known_season_is_found_again() -> None:
    truth = SampleTruth(100_000.0, slow_log_sd=0.0, fast_log_sd=0.0, jumps_per_day=0.0, gaps_per_day=0.0)
    bars = generate_bars(truth, 200, 29_012_000, 4)
    season, level = fit_season(log_returns(np.log(bars.close)), int(bars.minutes[0]))
    middle = np.arange(96) * 15 + 7.5
    expected = np.exp(2 * truth.season_log_depth * np.cos(2 * np.pi * (middle - truth.season_peak_minute) / DAY))
    # 2,100 and 860 returns in each cell: three standard errors of a mean log of squares.
    for part, tolerance in ((season[:96], 0.16), (season[96:], 0.26)):
        np.testing.assert_allclose(part / part.mean(), expected / expected.mean(), rtol=tolerance)
    assert level == pytest.approx(truth.sigma_per_minute**2 * np.mean(expected), rel=0.05)


def test_the_mean_season_is_the_integral_over_the_minutes_ahead(parameters: VolatilityParameters) -> None:
    rng = np.random.default_rng(2)
    for ttc in (1 / 60, 0.4, 1.0, 13.7, 60.0):
        start = float(rng.uniform(29_000_000, 29_020_000))
        edges = np.unique([start, start + ttc, *np.arange(np.ceil(start), start + ttc)])
        middles = (edges[1:] + edges[:-1]) / 2
        expected = (np.diff(edges) * parameters.season[quarter_of_week(np.floor(middles).astype(np.int64))]).sum() / ttc
        assert parameters.mean_season(np.array([start]), ttc)[0] == pytest.approx(expected, rel=1e-6)


def test_a_track_goes_on_from_a_state_as_if_it_had_never_stopped(real: tuple[np.ndarray, int]) -> None:
    logs, first = real[0][: 3 * DAY].copy(), real[1]
    logs[DAY + 50 : DAY + 70] = np.nan
    parameters = fit_volatility(logs, first)[0]
    whole = track_volatility(logs, first, parameters)
    for cut in (DAY, DAY + 60, DAY + 70, 2 * DAY + 1):
        at = cut - 1
        before = VolatilityState(
            first + at, float(np.exp(logs[at])), float(whole.usual_return[at]), tuple(whole.variances[:, at].tolist())
        )
        rest = track_volatility(logs[cut:], first + cut, parameters, before)
        np.testing.assert_allclose(rest.variances, whole.variances[:, cut:], rtol=1e-12)
        np.testing.assert_allclose(rest.usual_return, whole.usual_return[cut:], rtol=1e-12)


def test_a_missing_minute_holds_the_state_and_no_return_leaps_over_it(real: tuple[np.ndarray, int]) -> None:
    logs = real[0][:DAY].copy()
    logs[500:600] = np.nan
    logs[600:] += 0.5  # a jump that nobody saw happen
    track = track_volatility(logs, real[1], fit_volatility(logs, real[1])[0])
    assert (track.variances[:, 500:601] == track.variances[:, [499]]).all()
    assert track.variances[0, 700] < 10 * track.variances[0, 499]


def test_nothing_after_the_fit_is_in_it(real: tuple[np.ndarray, int]) -> None:
    logs, first = real
    known, future = logs[: 40 * DAY], logs[: 41 * DAY].copy()
    future[40 * DAY :] += np.random.default_rng(1).normal(0, 0.1, DAY).cumsum()
    ours, track = fit_volatility(known, first)
    later = track_volatility(future, first, ours)
    np.testing.assert_array_equal(later.variances[:, : 40 * DAY], track.variances)
    assert ours.fitted_until == first + 40 * DAY


def test_the_regression_forecasts_better_than_the_plain_mean(
    real: tuple[np.ndarray, int], parameters: VolatilityParameters
) -> None:
    """By QLIKE, log v + y / v, on 30 days that the fit had not seen."""
    logs, first = real
    track = track_volatility(logs, first, parameters)
    rows = np.arange(90 * DAY, 120 * DAY - 61, 3)
    squares = np.concatenate([[0.0], np.cumsum(np.nan_to_num(log_returns(logs) ** 2))])
    for horizon, at_most_worse in ((1, 0.0), (5, 0.0), (15, 0.0), (60, 0.005)):
        realised = (squares[rows + 1 + horizon] - squares[rows + 1]) / horizon
        ours = parameters.sigma(parameters.log_states(track.variances[:, rows]), first + rows + 1, horizon) ** 2
        plain = track.variances[1:, rows].mean(axis=0) * parameters.mean_season(first + rows + 1, horizon)
        loss = [float(np.mean(np.log(v) + realised / v)) for v in (ours, plain)]
        assert loss[0] < loss[1] + at_most_worse, horizon


def test_between_knots_the_forecast_is_between_theirs(parameters: VolatilityParameters) -> None:
    states = parameters.log_states(np.array([[4e-7], [3e-7], [2e-7], [1e-7]]))
    for low, high in pairwise(KNOTS_MINUTES):
        ends = [float(parameters.log_variance(states, ttc)[0]) for ttc in (low, high)]
        inside = float(parameters.log_variance(states, (low * high) ** 0.5)[0])
        assert inside == pytest.approx(sum(ends) / 2, abs=1e-9), "half way in the log of time"
    assert parameters.log_variance(states, 0.1)[0] == parameters.log_variance(states, 1.0)[0]
    assert parameters.log_variance(states, 90.0)[0] == parameters.log_variance(states, 60.0)[0]


def test_one_absurd_tick_is_forgotten_within_the_hour(
    real: tuple[np.ndarray, int], parameters: VolatilityParameters
) -> None:
    logs, first = real[0][: 5 * DAY].copy(), real[1]
    spiked = logs.copy()
    spiked[4 * DAY] += np.log(1.5)
    factors = {}
    for name, path in (("clean", logs), ("spiked", spiked)):
        track = track_volatility(path, first, parameters)
        rows = 4 * DAY + np.array([1, 60, 240])
        factors[name] = parameters.sigma(parameters.log_states(track.variances[:, rows]), first + rows + 1, 60)
    worse = factors["spiked"] / factors["clean"]
    assert worse[0] > 2, "it is seen"
    assert worse[1] < 2.5
    assert worse[2] < 1.6
    assert CAP_IN_USUAL_RETURNS == 20


def test_a_state_between_two_bars_moves_smoothly_to_the_next() -> None:
    flat = VolatilityParameters(np.ones(192), np.zeros((8, 5)), 1e-9, 29_000_000)
    start = VolatilityState(29_000_000, 100.0, 5e-4, (3e-7,) * len(HALF_LIVES_MINUTES))
    end = start.at(29_000_002.0, 100.1, flat)
    almost = start.at(29_000_002.0 - 1e-7, 100.1, flat)
    np.testing.assert_allclose(almost.variances, end.variances, rtol=1e-6)
    assert start.at(29_000_001.0, 100.0, flat).variances == start.variances
    for wrong in (
        (29_000_000.5, 100.0),
        (29_000_001.5, 0.0),
        (29_000_001.5, float("nan")),
        (29_000_001.5, float("inf")),
    ):
        with pytest.raises(ValueError, match="no state for price"):
            start.at(*wrong, flat)


def test_too_little_or_nothing_to_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="the price never moves"):
        fit_volatility(np.zeros(5 * DAY), 29_000_000)
    with pytest.raises(ValueError, match="usable bars are too few to fit volatility"):
        fit_volatility(np.log(100 + np.random.default_rng(1).random(100)), 29_000_000)
