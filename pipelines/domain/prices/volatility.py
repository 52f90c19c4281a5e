"""Short-horizon volatility forecast, by which the models standardise moves.

Three steps, from one-minute bars:

1. season (`season`): the relative variance of each minute of the week in New York time, with mean 1;
2. state: exponentially weighted means, with several half-lives, of two variances of a minute over its season: the
   squared return, and the variance by the high-low range (`price_range`). A minute without a usable range counts its
   squared return times the usual ratio of both. The state is held over gaps, and the root of a variance counts at most
   20 times the mean absolute return, so that the effect of one wrong tick, high or low does not last a day;
3. forecast: log variance per minute over the next t minutes = a constant plus weights times the logs of those means,
   both fitted per horizon by gamma regression (log link, iteratively reweighted least squares), times the mean season
   of those minutes.

Instants are minutes since 1970-01-01 UTC. A bar that opens at minute m closes at instant m + 1.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from math import log

import numpy as np

from pipelines.domain.prices.bars import MINUTES_PER_DAY, Floats, Ints
from pipelines.domain.prices.price_range import MEAN_SQUARED_RANGE, PriceRange, fit_range_ratio
from pipelines.domain.prices.season import CAP_IN_MEAN_ABS_RETURNS, MARKET_TIME_ZONE, Season, fit_season

#: Chosen on the year before 2025-07-17 (docs/models.md).
HALF_LIVES_MINUTES = (3, 10, 60, 720)
#: Half-lives of the means of the squared returns, then of those of the variances by range.
STATE_HALF_LIVES = 2 * HALF_LIVES_MINUTES
MEAN_ABS_RETURN_HALF_LIFE_MINUTES = 720
#: Upper limit of a return in the mean absolute return, in root mean squared returns of the fit: one wrong tick must not
#: move that mean.
MAX_IN_RMS_RETURNS = 50.0
#: Returns up to this size, in root mean squared returns of the fit, are never capped. After a feed that froze for days
#: the mean absolute return is near zero, and with its cap alone the forecast would take hours to recover.
UNCAPPED_IN_RMS_RETURNS = 3.0
#: Horizons with fitted weights; between them weights are interpolated in the log of the horizon.
KNOTS_MINUTES = (1, 2, 5, 10, 15, 30, 45, 60)
LOG_KNOTS = tuple(log(minutes) for minutes in KNOTS_MINUTES)
#: Minimum variance, relative to the mean squared return.
FLOOR_SHARE = 2.5e-3
FIT_DAYS = 730
FIT_EVERY_MINUTES = 7
#: Steps by the expected curvature, which are stable far from the solution; the rest are Newton's. Real bars need 8 in
#: all, a feed that froze for 40 of 60 days 9.
FIT_STABLE_STEPS = 5
FIT_ITERATIONS = 100
#: The fit has converged when no log forecast changes by more than this.
FIT_TOLERANCE = 1e-6
FIT_CAP = 50.0


#: An older state is not used for an answer: after two of the longest half-lives, three quarters of it would be newer.
MAX_STATE_AGE = timedelta(minutes=2 * HALF_LIVES_MINUTES[-1])


@dataclass(frozen=True)
class VolatilityParameters:
    """Fitted parameters, constant between fits.

    `season`: mean 1 over the fitted bars; `coefficients`: float64[knots, states + 1], the constant last; of earlier
    versions float64[knots, 5], without ranges; `variance_floor`: minimum variance per minute, deseasonalised;
    `fitted_until`: instant before which all bars of the fit closed; `range_ratio`: of `price_range`.
    """

    season: Season
    coefficients: Floats
    variance_floor: float
    fitted_until: int
    range_ratio: float = 1.0

    @property
    def outdated(self) -> bool:
        """Whether the fit is by an earlier method, by which it is still used until the next update."""
        states = self.coefficients.shape[1] - 1
        return self.season.time_zone != MARKET_TIME_ZONE or states != len(STATE_HALF_LIVES)

    @property
    def max_return(self) -> float:
        """Upper limit of a deseasonalised absolute return in the mean absolute return."""
        return MAX_IN_RMS_RETURNS * self._rms_return

    @property
    def uncapped_return(self) -> float:
        """Deseasonalised absolute returns up to this size are never capped in the variances."""
        return UNCAPPED_IN_RMS_RETURNS * self._rms_return

    @property
    def _rms_return(self) -> float:
        return float(np.sqrt(self.variance_floor / FLOOR_SHARE))

    def log_variance(self, log_states: Floats, ttc_minutes: float, at_knots: dict[int, Floats] | None = None) -> Floats:
        """Log of the deseasonalised variance per minute over the next `ttc_minutes`.

        `log_states`: float64[states, n], of which coefficients of earlier versions use the first four. Horizons below
        one minute have the value of one minute. `at_knots`: keeps values between calls with the same states.
        """
        at = min(max(log(max(ttc_minutes, 1.0)), LOG_KNOTS[0]), LOG_KNOTS[-1])
        upper = max(bisect_left(LOG_KNOTS, at), 1)
        share = (at - LOG_KNOTS[upper - 1]) / (LOG_KNOTS[upper] - LOG_KNOTS[upper - 1])
        known = {} if at_knots is None else at_knots
        for knot in {upper - 1, upper} - known.keys():
            known[knot] = self._log_variance_at(knot, log_states)
        return known[upper - 1] * (1.0 - share) + known[upper] * share

    def _log_variance_at(self, knot: int, log_states: Floats) -> Floats:
        weights = self.coefficients[knot]
        result = np.full(log_states.shape[1], weights[-1])
        for weight, state in zip(weights[:-1].tolist(), log_states[: len(weights) - 1], strict=True):
            result += weight * state
        return result

    def sigma(
        self,
        log_states: Floats,
        instants: Floats | Ints,
        ttc_minutes: float,
        at_knots: dict[int, Floats] | None = None,
    ) -> Floats:
        """Standard deviation of the log return per square root of a minute, over the next `ttc_minutes`: float64[n]."""
        variance = np.maximum(np.exp(self.log_variance(log_states, ttc_minutes, at_knots)), self.variance_floor)
        return np.sqrt(variance * self.season.mean(instants, ttc_minutes))

    def log_states(self, variances: Floats) -> Floats:
        """Logs of the variances, which are raised to the floor."""
        return np.log(np.maximum(variances, self.variance_floor))


@dataclass(frozen=True)
class VolatilityTrack:
    """State after each minute of a gapless grid; NaN until the first return, held where a minute is missing.

    `first_minute`: of the grid; `mean_abs_return`: float64[n]; `variances`: float64[states, n], one per half-life of
    STATE_HALF_LIVES. Deseasonalised.
    """

    first_minute: int
    mean_abs_return: Floats
    variances: Floats


def log_returns(log_closes: Floats) -> Floats:
    """float64[n]: log return of each minute of a gapless grid, NaN where it or its predecessor is missing."""
    return np.concatenate([[np.nan], np.diff(log_closes)])


def _ewma(values: Floats, half_life: float, before: float) -> Floats:
    import polars as pl  # 24 MB that a live session does not need

    series = pl.Series(np.concatenate([[before], values]), nan_to_null=True)
    means = series.ewm_mean(half_life=half_life, adjust=False, ignore_nulls=True).fill_null(strategy="forward")
    return means.to_numpy()[1:]


def track_volatility(
    log_closes: Floats,
    first_minute: int,
    parameters: VolatilityParameters,
    before: "VolatilityState | None" = None,
    log_extremes: Floats | None = None,
) -> VolatilityTrack:
    """Compute the states over a gapless grid of log closes that begins at `first_minute`.

    Continues from `before`, if given. `log_extremes`: float64[2, n], logs of highs and lows, NaN where unknown; None
    when all are. Uses the season, the floor and the range ratio of `parameters`.
    """
    opening = np.concatenate([[np.nan if before is None else np.log(before.close)], log_closes])
    if before is not None and before.minute != first_minute - 1:
        opening[0] = np.nan
    minutes = first_minute + np.arange(len(log_closes))
    root_season = np.sqrt(parameters.season.of_minutes(minutes))
    scaled = np.abs(log_returns(opening)[1:]) / root_season
    start = [np.nan] * (len(STATE_HALF_LIVES) + 1) if before is None else [before.mean_abs_return, *before.variances]
    mean_abs = _ewma(np.minimum(scaled, parameters.max_return), MEAN_ABS_RETURN_HALF_LIFE_MINUTES, start[0])
    cap = np.maximum(CAP_IN_MEAN_ABS_RETURNS * np.concatenate([[start[0]], mean_abs[:-1]]), parameters.uncapped_return)

    def squared(roots: Floats) -> Floats:
        return np.square(np.where(roots > cap, cap, roots))

    of_returns, by_range = squared(scaled), scaled * np.sqrt(parameters.range_ratio)
    if log_extremes is not None:
        high, low = log_extremes
        log_range = np.maximum(high, opening[:-1]) - np.minimum(low, opening[:-1])
        roots = log_range / (np.sqrt(MEAN_SQUARED_RANGE) * root_season)
        by_range = np.where((high > low) & ~np.isnan(scaled), roots, by_range)
    of_ranges = squared(by_range)
    values = [of_returns] * len(HALF_LIVES_MINUTES) + [of_ranges] * len(HALF_LIVES_MINUTES)
    variances = np.empty((len(STATE_HALF_LIVES), len(log_closes)))
    for row, each in enumerate(zip(values, STATE_HALF_LIVES, start[1:], strict=True)):
        variances[row] = _ewma(*each)
    return VolatilityTrack(first_minute, mean_abs, variances)


@dataclass(frozen=True)
class VolatilityState:
    """State after the close of one bar. `minute`: of its open; `close`: USD; the rest as in `VolatilityTrack`."""

    minute: int
    close: float
    mean_abs_return: float
    variances: tuple[float, ...]

    def at(
        self, instant: float, price: float, parameters: VolatilityParameters, prices: PriceRange | None = None
    ) -> "VolatilityState":
        """State at an instant up to one minute after the close, as if the minute ended there with `price`.

        `prices`: range of the minute's prices until then, None when it is not known. One minute later the state equals
        the one that `track_volatility` computes for the next bar; before that, each mean decays by the elapsed part of
        its half-life. An instant more than a minute later is after a gap, and the state is held. Raises ValueError for
        an instant before the close and for a price that is not positive.
        """
        elapsed = instant - (self.minute + 1)
        if elapsed < 0 or not 0 < price < float("inf"):
            raise ValueError(f"no state for price {price} {elapsed} minutes after the bar's close")
        minute = int(np.ceil(instant)) - 1
        if elapsed == 0.0 or elapsed > 1.0 or self.close != self.close:
            return VolatilityState(max(minute, self.minute), price, self.mean_abs_return, self.variances)
        season = float(parameters.season.of_minutes(np.array([minute]))[0])
        root_season = float(np.sqrt(season))
        scaled = abs(float(np.log(price) - np.log(self.close))) / root_season
        by_range = 0.0 if prices is None else prices.root_variance(self.close, parameters.range_ratio) / root_season
        by_range = by_range or scaled * float(np.sqrt(parameters.range_ratio))
        limit = float(np.maximum(CAP_IN_MEAN_ABS_RETURNS * self.mean_abs_return, parameters.uncapped_return))
        cap = limit if limit == limit else float("inf")  # noqa: PLR0124  NaN before the first return
        by_return, by_range = (min(root, cap) ** 2 for root in (scaled, by_range))

        def decayed(mean: float, value: float, half_life: float) -> float:
            if mean != mean:  # noqa: PLR0124
                return value / elapsed
            kept = float(0.5 ** (elapsed / half_life))
            return kept * mean + (1.0 - kept) * value / elapsed

        values = [by_return] * len(HALF_LIVES_MINUTES) + [by_range] * len(HALF_LIVES_MINUTES)
        variances = tuple(decayed(*each) for each in zip(self.variances, values, STATE_HALF_LIVES, strict=True))
        mean_abs = decayed(self.mean_abs_return, min(scaled, parameters.max_return), MEAN_ABS_RETURN_HALF_LIFE_MINUTES)
        return VolatilityState(minute, price, mean_abs, variances)


class LiveVolatility:
    """Continues from the state after a bar. A tick exactly at the end of a minute belongs to that minute.

    Instants are minutes since 1970-01-01 UTC, with fractions. The close of a minute is the price of its last tick; a
    minute without ticks is missing, and the state stays unchanged. `with_ranges`: whether ticks are prices of a market,
    whose range tells its volatility, or a smoothed path between closes, whose range does not.
    """

    def __init__(self, state: VolatilityState, parameters: VolatilityParameters, *, with_ranges: bool = True) -> None:
        self._parameters = parameters
        self._closed = state
        self._newest: tuple[float, float] | None = None
        self._with_ranges = with_ranges
        self._range: PriceRange | None = None

    def add_all(self, ticks: Iterable[tuple[float, float]]) -> None:
        """Add ticks as (instant, price), oldest first."""
        for instant, price in ticks:
            self.add(instant, price)

    def add(self, instant: float, price: float, prices: PriceRange | None = None) -> None:
        """Add a tick, or the last of several of one minute with the range of all of them in `prices`.

        Ticks that are not later than the newest, or than the close of the initial state's bar, are ignored.
        """
        if instant <= self._closed.minute + 1 or (self._newest is not None and instant <= self._newest[0]):
            return
        self._close_minutes_before(int(np.ceil(instant)) - 1)
        self._newest = instant, price
        if self._with_ranges:
            added = prices or PriceRange.of_tick(price)
            self._range = added if self._range is None else self._range.extended(added)

    def current_state(self) -> VolatilityState:
        """State at the newest tick."""
        return self._closed if self._newest is None else self._closed.at(*self._newest, self._parameters, self._range)

    def _close_minutes_before(self, minute: int) -> None:
        """Close the newest tick's minute if it is before `minute`, and mark the minutes in between as missing."""
        if self._newest is not None:
            current = int(np.ceil(self._newest[0])) - 1
            if current >= minute:
                return
            self._closed = self._closed.at(current + 1.0, self._newest[1], self._parameters, self._range)
            self._newest = self._range = None
        if self._closed.minute < minute - 1:
            self._closed = replace(self._closed, minute=minute - 1, close=float("nan"))


def fit_volatility(
    log_closes: Floats, first_minute: int, log_extremes: Floats | None = None
) -> tuple[VolatilityParameters, VolatilityTrack]:
    """Fit the parameters on all bars of a gapless grid, and compute the states over it.

    `log_extremes` as in `track_volatility`. The weights and the range ratio are fitted on the newest FIT_DAYS days.
    Raises ValueError when the price never moves, when there are too few returns, or when the regression does not
    converge.
    """
    returns = log_returns(log_closes)
    season, level = fit_season(returns, first_minute)
    end = first_minute + len(log_closes)
    newest = slice(max(0, len(log_closes) - FIT_DAYS * MINUTES_PER_DAY), None)
    ratio = fit_range_ratio(log_closes[newest], None if log_extremes is None else log_extremes[:, newest])
    empty = VolatilityParameters(season, np.zeros((len(KNOTS_MINUTES), 0)), FLOOR_SHARE * level, end, ratio)
    track = track_volatility(log_closes, first_minute, empty, log_extremes=log_extremes)
    longest = KNOTS_MINUTES[-1]
    rows = np.arange(max(0, len(log_closes) - FIT_DAYS * MINUTES_PER_DAY), len(log_closes) - longest, FIT_EVERY_MINUTES)
    rows = rows[~np.isnan(log_closes[rows]) & ~np.isnan(track.variances[0, rows])]
    if len(rows) < 10 * (len(STATE_HALF_LIVES) + 1):
        raise ValueError(f"{len(rows)} usable bars are too few to fit volatility")
    design = np.concatenate([empty.log_states(track.variances[:, rows]).T, np.ones((len(rows), 1))], axis=1)
    squares = np.concatenate([[0.0], np.cumsum(np.nan_to_num(np.square(returns)))])
    counts = np.concatenate([[0], np.cumsum(~np.isnan(returns))])
    coefficients = []
    for horizon in KNOTS_MINUTES:
        n = counts[rows + 1 + horizon] - counts[rows + 1]
        seasons = season.mean(first_minute + rows + 1, horizon)
        realised = (squares[rows + 1 + horizon] - squares[rows + 1])[n > 0] / n[n > 0] / seasons[n > 0]
        # Without the floor the weights diverge after a frozen feed: no forecast is low enough for zero variance.
        coefficients.append(_gamma_regression(design[n > 0], np.maximum(realised, empty.variance_floor)))
    return replace(empty, coefficients=np.stack(coefficients)), track


def _gamma_regression(design: Floats, response: Floats) -> Floats:
    """Coefficients of log E[response] by Fisher's scoring, then Newton's method; ratios are capped at FIT_CAP.

    `response` > 0. Steps that increase the deviance are halved. Raises ValueError when the fit does not converge.
    """
    ridge = 1e-6 * len(design) * np.eye(design.shape[1])
    curvature = design.T @ design + ridge
    log_response, log_cap = np.log(response), np.log(FIT_CAP)

    def deviance(fitted: Floats) -> float:
        """Half the gamma deviance, up to a constant; linear in the log ratio beyond the cap."""
        log_ratio = log_response - fitted
        capped = np.minimum(log_ratio, log_cap)
        return float((fitted + np.exp(capped) + FIT_CAP * (log_ratio - capped)).sum())

    coefficients = np.zeros(design.shape[1])
    # Start from the second half-life alone: the right order of magnitude. Without ranges in the bars both means are
    # equal, the fit cannot tell them apart, and equal weights stay equal.
    coefficients[[1, 1 + len(HALF_LIVES_MINUTES)]] = 0.5
    fitted = design @ coefficients
    best = deviance(fitted)
    for iteration in range(FIT_ITERATIONS):
        ratio = np.exp(np.minimum(log_response - fitted, log_cap))
        if iteration >= FIT_STABLE_STEPS:
            curvature = (design.T * np.where(ratio < FIT_CAP, ratio, 0.0)) @ design + ridge
        step = np.linalg.solve(curvature, design.T @ (ratio - 1.0))
        while (trial := deviance(fitted + design @ step)) > best and np.abs(design @ step).max() > FIT_TOLERANCE:
            step = step / 2.0
        coefficients, fitted, best = coefficients + step, fitted + design @ step, trial
        if np.abs(design @ step).max() <= FIT_TOLERANCE:
            return coefficients
    raise ValueError("the volatility regression does not converge on these bars")
