"""Volatility forecast: season, states, weights, and independence of future bars."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_series import bar_series
from real_data import SOURCES

from pipelines.domain.prices.bars import Floats, closes_from_usd
from pipelines.domain.prices.price_range import PriceRange
from pipelines.domain.prices.season import CAP_IN_MEAN_ABS_RETURNS, Season
from pipelines.domain.prices.volatility import (
    HALF_LIVES_MINUTES,
    KNOTS_MINUTES,
    STATE_HALF_LIVES,
    VolatilityParameters,
    VolatilityState,
    VolatilityTrack,
    fit_volatility,
    log_returns,
    track_volatility,
)

DAY = 1440
WARM_UP = 20 * DAY


def log_bars(source: str, symbol: str, first: int, days: int) -> tuple[int, Floats, Floats]:
    """First minute, and log closes and log highs and lows on a gapless grid."""
    minutes, usd, extremes = bar_series(source, symbol, first, days * DAY)
    closes = closes_from_usd(minutes, usd)
    grid, rows = closes.on_grid()
    log_extremes = np.full((2, len(grid)), np.nan)
    log_extremes[:, rows] = np.log(extremes)
    return int(closes.minutes[0]), np.log(grid / closes.scale), log_extremes


@pytest.fixture(scope="module", params=SOURCES)
def gapped(request: pytest.FixtureRequest) -> tuple[int, Floats, Floats]:
    """21 days of BTC; on the last day one minute, two minutes and three hours are missing.

    On that day some bars have no usable range: one price for the whole minute, which differs from the close before.
    """
    first_minute, logs, extremes = log_bars(request.param, "BTC", 1_500_000, 21)
    for start, stop in ((200, 201), (500, 502), (800, 980)):
        logs[WARM_UP + start : WARM_UP + stop] = np.nan
        extremes[:, WARM_UP + start : WARM_UP + stop] = np.nan
    extremes[:, WARM_UP + 300 : WARM_UP + 310] = logs[WARM_UP + 300 : WARM_UP + 310]
    return first_minute, logs, extremes


@pytest.fixture(scope="module")
def fitted(gapped: tuple[int, Floats, Floats]) -> tuple[VolatilityParameters, VolatilityTrack]:
    return fit_volatility(gapped[1], gapped[0], gapped[2])


def prices_of(extremes: Floats, row: int) -> PriceRange:
    return PriceRange(*np.exp(extremes[:, row]).tolist())


def state_after(track: VolatilityTrack, logs: Floats, row: int) -> VolatilityState:
    return VolatilityState(
        track.first_minute + row,
        float(np.exp(logs[row])),
        float(track.mean_abs_return[row]),
        tuple(track.variances[:, row].tolist()),
    )


def with_season(level: float) -> VolatilityParameters:
    return VolatilityParameters(Season.of_day_kinds([level] * 192), np.zeros((len(KNOTS_MINUTES), 0)), 2.5e-9, 0)


def test_replaying_a_day_bar_by_bar_gives_the_states_of_the_fit(
    gapped: tuple[int, Floats, Floats], fitted: tuple[VolatilityParameters, VolatilityTrack]
) -> None:
    (first_minute, logs, extremes), (parameters, track) = gapped, fitted
    state = state_after(track, logs, WARM_UP - 1)
    compared = 0
    for row in range(WARM_UP, len(logs)):
        if np.isnan(logs[row]):
            continue
        state = state.at(first_minute + row + 1, float(np.exp(logs[row])), parameters, prices_of(extremes, row))
        np.testing.assert_allclose(state.variances, track.variances[:, row], rtol=1e-9)
        np.testing.assert_allclose(state.mean_abs_return, track.mean_abs_return[row], rtol=1e-9)
        assert state.minute == first_minute + row
        compared += 1
    assert compared == DAY - 183


def test_a_track_continued_from_a_state_equals_the_whole_track(
    gapped: tuple[int, Floats, Floats], fitted: tuple[VolatilityParameters, VolatilityTrack]
) -> None:
    (first_minute, logs, extremes), (parameters, track) = gapped, fitted
    for row in (WARM_UP - 1, WARM_UP + 199, WARM_UP + 980, WARM_UP + 1000):
        # After a gap the state is that of the bar before it.
        before = replace(state_after(track, logs, row), close=float(np.exp(logs[row])))
        # exp and log are inexact in the last bit, which affects the first return.
        rest = track_volatility(logs[row + 1 :], first_minute + row + 1, parameters, before, extremes[:, row + 1 :])
        np.testing.assert_allclose(rest.variances, track.variances[:, row + 1 :], rtol=1e-9)
        np.testing.assert_allclose(rest.mean_abs_return, track.mean_abs_return[row + 1 :], rtol=1e-9)
    held = state_after(track, logs, WARM_UP + 199)  # minute 200 is missing, so this close is in no later return
    later = extremes[:, WARM_UP + 200 :]
    rest = track_volatility(logs[WARM_UP + 200 :], first_minute + WARM_UP + 200, parameters, held, later)
    np.testing.assert_array_equal(rest.variances, track.variances[:, WARM_UP + 200 :])
    np.testing.assert_array_equal(rest.mean_abs_return, track.mean_abs_return[WARM_UP + 200 :])


def test_no_return_is_computed_across_a_gap_after_the_initial_state() -> None:
    before = VolatilityState(1000, 100.0, 1e-3, (1e-6,) * len(STATE_HALF_LIVES))
    track = track_volatility(np.log([200.0, 200.0]), 1005, with_season(1.0), before)
    assert track.variances[:, 0].tolist() == list(before.variances)
    assert (track.variances[:, 1] < 1e-6).all()  # after one small return


@given(st.floats(1e-3, 1.0), st.floats(-0.01, 0.01))
@settings(max_examples=60, deadline=None)
def test_a_tick_within_a_minute_decays_the_means_by_the_elapsed_part(elapsed: float, move: float) -> None:
    parameters, start = with_season(1.3), VolatilityState(30_000_000, 100.0, 4e-4, 2 * (3e-7, 2e-7, 1.5e-7, 1e-7))
    instant = start.minute + 1 + elapsed
    elapsed = instant - start.minute - 1  # as rounded at this magnitude
    found = start.at(instant, 100.0 * np.exp(move), parameters)
    scaled = min(abs(move) / np.sqrt(1.3), CAP_IN_MEAN_ABS_RETURNS * 4e-4)
    for half_life, past, now in zip(STATE_HALF_LIVES, start.variances, found.variances, strict=True):
        kept = 0.5 ** (elapsed / half_life)
        assert now == pytest.approx(kept * past + (1 - kept) * scaled**2 / elapsed, rel=1e-6, abs=1e-15)


def test_states_within_a_minute_are_continuous_and_end_in_the_state_of_the_bar(
    gapped: tuple[int, Floats, Floats], fitted: tuple[VolatilityParameters, VolatilityTrack]
) -> None:
    (first_minute, logs, extremes), (parameters, track) = gapped, fitted
    row = WARM_UP + 40
    state, price = state_after(track, logs, row - 1), float(np.exp(logs[row]))
    parts = np.linspace(1e-3, 1.0, 1000)
    prices = prices_of(extremes, row)
    path = np.array([state.at(first_minute + row + part, price, parameters, prices).variances for part in parts])
    np.testing.assert_allclose(path[-1], track.variances[:, row], rtol=1e-9)
    assert (np.abs(np.diff(np.log(path), axis=0)) < 2e-3).all()
    # With an unchanged price the state is continuous at the close.
    still = state.at(first_minute + row + 1e-4, state.close, parameters)
    np.testing.assert_allclose(still.variances, state.variances, rtol=1e-4)
    assert state.at(first_minute + row, state.close, parameters) == state


def test_a_state_rejects_earlier_instants_and_invalid_prices() -> None:
    state, parameters = VolatilityState(1000, 100.0, 1e-3, (1e-6,) * 8), with_season(1.0)
    for instant, price in ((1000.9, 100.0), (1001.5, 0.0), (1001.5, -1.0), (1001.5, np.inf), (1001.5, np.nan)):
        with pytest.raises(ValueError, match="no state for price"):
            state.at(instant, price, parameters)


def test_an_extreme_return_is_capped_at_twenty_mean_absolute_returns() -> None:
    rng = np.random.default_rng(5)
    calm = np.cumsum(rng.normal(0, 1e-3, 3000))
    spiked, parameters = calm.copy(), with_season(1.0)
    spiked[2000] += np.log(10)
    track, mean_abs = (
        track_volatility(spiked, 0, parameters),
        track_volatility(calm, 0, parameters).mean_abs_return[1999],
    )
    limit = (CAP_IN_MEAN_ABS_RETURNS * mean_abs) ** 2
    for half_life, values in zip(STATE_HALF_LIVES, track.variances, strict=True):
        kept = 0.5 ** (1 / half_life)
        assert values[2000] == pytest.approx(kept * values[1999] + (1 - kept) * limit, rel=1e-9)


def test_sigma_is_the_weighted_geometric_mean_of_the_states_times_the_season(
    fitted: tuple[VolatilityParameters, VolatilityTrack],
) -> None:
    parameters, track = fitted
    rows = np.array([WARM_UP, WARM_UP + 333])
    states, instants = parameters.log_states(track.variances[:, rows]), track.first_minute + rows + 1

    def by_hand(ttc: float, coefficients: Floats) -> Floats:
        floored = np.maximum(track.variances[:, rows], parameters.variance_floor)
        variance = np.exp(coefficients[-1]) * np.prod(floored ** coefficients[:-1, None], axis=0)
        return np.sqrt(variance * parameters.season.mean(instants, ttc))

    for knot, coefficients in zip(KNOTS_MINUTES, parameters.coefficients, strict=True):
        np.testing.assert_allclose(parameters.sigma(states, instants, knot), by_hand(knot, coefficients), rtol=1e-12)
    share = np.log(20 / 15) / np.log(30 / 15)
    mixed = parameters.coefficients[4] * (1 - share) + parameters.coefficients[5] * share
    np.testing.assert_allclose(parameters.sigma(states, instants, 20.0), by_hand(20.0, mixed), rtol=1e-12)
    for ttc in (0.02, 0.5, 0.999):
        found = parameters.sigma(states, instants, ttc)
        np.testing.assert_allclose(found, by_hand(ttc, parameters.coefficients[0]), rtol=1e-12)


def test_sigma_is_continuous_across_every_knot(fitted: tuple[VolatilityParameters, VolatilityTrack]) -> None:
    parameters, track = fitted
    states = parameters.log_states(track.variances[:, [WARM_UP]])
    instants = np.array([track.first_minute + WARM_UP + 1])
    for knot in KNOTS_MINUTES[:-1]:
        around = [parameters.sigma(states, instants, knot + step)[0] for step in (-1e-6, 0.0, 1e-6)]
        assert max(around) / min(around) - 1 < 1e-5


def test_sigma_has_a_floor() -> None:
    parameters = VolatilityParameters(Season.of_day_kinds([1.0] * 192), np.tile([0.25] * 4 + [-5.0], (8, 1)), 4e-10, 0)
    states = parameters.log_states(np.zeros((4, 1)))
    assert parameters.sigma(states, np.array([0]), 10)[0] == pytest.approx(2e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_the_forecast_beats_plain_means_out_of_sample(source: str) -> None:
    first_minute, logs, extremes = log_bars(source, "ETH", 1_700_000, 80)
    known = 60 * DAY
    parameters, track = fit_volatility(logs[:known], first_minute, extremes[:, :known])
    track = track_volatility(logs, first_minute, parameters, log_extremes=extremes)
    squares = np.square(log_returns(logs))
    mean_abs = np.nanmean(squares[:known])
    rows = np.arange(known, len(logs) - 61, 5)
    instants = first_minute + rows + 1
    for ttc in (1, 5, 30, 60, 12):
        ahead = np.stack([squares[rows + k] for k in range(1, ttc + 1)]).mean(axis=0)
        seasonal = parameters.season.mean(instants, ttc)
        forecast = parameters.sigma(parameters.log_states(track.variances[:, rows]), instants, ttc) ** 2

        def loss(variance: Floats, realised: Floats = ahead) -> float:
            return float(np.mean(np.log(variance) + realised / variance))

        constant = loss(mean_abs * seasonal)
        averaged = loss(track.variances[1:4, rows].mean(axis=0) * seasonal)  # domain.md, section 11
        assert loss(forecast) < constant - 0.1
        assert loss(forecast) < averaged
        assert 0.8 < float(np.mean(ahead / forecast)) < 1.25


def test_the_fitted_weights_solve_the_equations_of_gamma_regression(
    gapped: tuple[int, Floats, Floats], fitted: tuple[VolatilityParameters, VolatilityTrack]
) -> None:
    (first_minute, logs, _), (parameters, track) = gapped, fitted
    squares = np.square(log_returns(logs))
    rows = np.arange(0, len(logs) - 60, 7)
    rows = rows[~np.isnan(logs[rows]) & ~np.isnan(track.variances[0, rows])]
    states, instants = parameters.log_states(track.variances[:, rows]), first_minute + rows + 1
    for ttc in KNOTS_MINUTES:
        ahead = np.stack([squares[rows + k] for k in range(1, ttc + 1)])
        known = ~np.isnan(ahead).all(axis=0)
        realised = np.nanmean(ahead[:, known], axis=0) / parameters.season.mean(instants[known], ttc)
        realised = np.maximum(realised, parameters.variance_floor)
        forecast = np.exp(parameters.log_variance(states[:, known], ttc))
        surprise = np.minimum(realised / forecast, 50.0) - 1.0
        assert abs(surprise.mean()) < 1e-4
        assert (np.abs((states[:, known] * surprise).mean(axis=1)) < 1e-3).all()


def test_bars_after_the_fit_do_not_change_parameters_or_earlier_states(gapped: tuple[int, Floats, Floats]) -> None:
    first_minute, logs, extremes = gapped
    parameters, track = fit_volatility(logs[:WARM_UP], first_minute, extremes[:, :WARM_UP])
    garbage, wild = logs.copy(), extremes.copy()
    garbage[WARM_UP:] = np.log(np.random.default_rng(1).uniform(1, 1e6, DAY))
    wild[:, WARM_UP:] = np.log([[2e6], [0.5]])
    assert parameters.fitted_until == first_minute + WARM_UP
    for future, their_extremes in ((logs, extremes), (garbage, wild), (logs, wild)):
        whole = track_volatility(future, first_minute, parameters, log_extremes=their_extremes)
        np.testing.assert_array_equal(whole.variances[:, :WARM_UP], track.variances)
        np.testing.assert_array_equal(whole.mean_abs_return[:WARM_UP], track.mean_abs_return)
        if future is garbage or their_extremes is wild:
            assert not np.array_equal(whole.variances[:, WARM_UP], track.variances[:, -1])


def test_the_last_hour_before_the_fit_changes_the_parameters() -> None:
    """The parameters use all bars before the fit."""
    logs = np.cumsum(np.random.default_rng(9).normal(0, 1e-3, 5 * DAY))
    changed = logs.copy()
    changed[-1] += 0.01
    first, second = fit_volatility(logs, 0)[0], fit_volatility(changed, 0)[0]
    assert not np.array_equal(first.coefficients, second.coefficients)


@pytest.mark.parametrize("side", [0, 1])
def test_a_wrong_high_or_low_is_capped_at_twenty_mean_absolute_returns(side: int) -> None:
    rng = np.random.default_rng(5)
    calm, parameters = np.cumsum(rng.normal(0, 1e-3, 3000)), with_season(1.0)
    extremes = np.array([calm + 4e-4, calm - 4e-4])
    wrong = extremes.copy()
    wrong[side, 2000] += (1 - 2 * side) * np.log(10)
    right = track_volatility(calm, 0, parameters, log_extremes=extremes)
    found = track_volatility(calm, 0, parameters, log_extremes=wrong)
    np.testing.assert_array_equal(found.mean_abs_return, right.mean_abs_return)
    np.testing.assert_array_equal(found.variances[:4], right.variances[:4])
    limit = (CAP_IN_MEAN_ABS_RETURNS * right.mean_abs_return[1999]) ** 2
    for half_life, values in zip(HALF_LIVES_MINUTES, found.variances[4:], strict=True):
        kept = 0.5 ** (1 / half_life)
        assert values[2000] == pytest.approx(kept * values[1999] + (1 - kept) * limit, rel=1e-9)


def test_bars_without_a_usable_range_count_their_squared_return() -> None:
    logs, parameters = np.cumsum(np.random.default_rng(6).normal(0, 1e-3, 2000)), with_season(1.0)
    nothing = np.full((2, len(logs)), np.nan)
    for extremes in (None, nothing, np.array([logs, logs])):
        track = track_volatility(logs, 0, parameters, log_extremes=extremes)
        np.testing.assert_array_equal(track.variances[4:], track.variances[:4])


def test_without_ranges_the_fit_weights_returns_and_ranges_equally() -> None:
    """Ticks have ranges where bars have none: opposite weights, which fit those bars as well, would distort them."""
    logs = np.cumsum(np.random.default_rng(9).normal(0, 1e-3, 10 * DAY))
    coefficients = fit_volatility(logs, 0)[0].coefficients
    np.testing.assert_allclose(coefficients[:, :4], coefficients[:, 4:8], atol=1e-6)


def test_a_fit_of_an_earlier_version_uses_the_returns_alone() -> None:
    rng = np.random.default_rng(2)
    season, coefficients = Season(np.ones(672), np.ones(60)), rng.normal(0.25, 0.02, (len(KNOTS_MINUTES), 5))
    earlier, current = (
        VolatilityParameters(season, each, 2.5e-9, 0)
        for each in (coefficients, np.insert(coefficients, [4] * 4, 0.0, axis=1))
    )
    assert (earlier.outdated, current.outdated) == (True, False)
    variances = 10.0 ** rng.uniform(-8, -5, (8, 3))
    states, instants = current.log_states(variances), np.arange(3)
    np.testing.assert_array_equal(earlier.sigma(states, instants, 20.0), current.sigma(states, instants, 20.0))
    states[4:] = np.nan  # stored by an earlier version
    np.testing.assert_array_equal(earlier.sigma(states, instants, 20.0), earlier.sigma(states[:4], instants, 20.0))
    assert np.isnan(current.sigma(states, instants, 20.0)).all()
