"""Short-horizon volatility forecast, by which the models standardise moves.

Three steps, each from one-minute closes alone:

1. season: the relative volatility of each quarter-hour of the day, on weekdays and on weekends, with mean 1;
2. state: exponentially weighted means of the squared one-minute return over its season, with several half-lives. The
   state is held over gaps, and a return counts at most 20 times the mean absolute return, so that the effect of one
   wrong tick does not last a day;
3. forecast: log variance per minute over the next t minutes = a constant plus weights times the logs of those means,
   both fitted per horizon by gamma regression (log link, iteratively reweighted least squares), times the mean season
   of those minutes.

Instants are minutes since 1970-01-01 UTC. A bar that opens at minute m closes at instant m + 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK, Floats, Ints

#: Chosen on the year before 2025-07-17 (docs/models.md).
HALF_LIVES_MINUTES = (3, 10, 60, 720)
MEAN_ABS_RETURN_HALF_LIFE_MINUTES = 720
CAP_IN_MEAN_ABS_RETURNS = 20.0
#: Upper limit of a return in the mean absolute return, in root mean squared returns of the fit: one wrong tick must not
#: move that mean.
MAX_IN_RMS_RETURNS = 50.0
#: Returns up to this size, in root mean squared returns of the fit, are never capped. After a feed that froze for days
#: the mean absolute return is near zero, and with its cap alone the forecast would take hours to recover.
UNCAPPED_IN_RMS_RETURNS = 3.0
#: Horizons with fitted weights; between them weights are interpolated in the log of the horizon.
KNOTS_MINUTES = (1, 2, 5, 10, 15, 30, 45, 60)
QUARTERS_PER_DAY = 96
SEASON_MINUTES = 5
#: Relative to the mean squared return: the offset added to a variance before its logarithm, and the minimum variance.
SEASON_OFFSET_SHARE = 3e-4
FLOOR_SHARE = 2.5e-3
FIT_DAYS = 730
FIT_EVERY_MINUTES = 7
#: Real bars need about 12 steps; a feed that froze for three hours in every nine needs 110.
FIT_ITERATIONS = 300
#: The fit has converged when no log forecast changes by more than this.
FIT_TOLERANCE = 1e-6
FIT_CAP = 50.0


def quarter_of_week(minutes: Ints) -> Ints:
    """Quarter-hour of each minute (UTC): 0..95 on weekdays, 96..191 on Saturdays and Sundays.

    >>> quarter_of_week(np.array([0, 15, 2 * 1440]))  # 1970-01-01 was a Thursday
    array([ 0,  1, 96])
    """
    weekend = (minutes // MINUTES_PER_DAY + 3) % 7 >= 5
    return (minutes // 15) % QUARTERS_PER_DAY + QUARTERS_PER_DAY * weekend


@dataclass(frozen=True)
class VolatilityParameters:
    """Fitted parameters, constant between fits.

    `season`: float64[192], mean 1 over the fitted bars; `coefficients`: float64[knots, half-lives + 1], the constant
    last; `variance_floor`: minimum variance per minute, deseasonalised; `fitted_until`: instant before which all bars
    of the fit closed.
    """

    season: Floats
    coefficients: Floats
    variance_floor: float
    fitted_until: int

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

    @cached_property
    def season_by_minute(self) -> Floats:
        """float64[10080]: season of each minute of the week that begins at 1970-01-01 00:00 UTC, a Thursday."""
        return self.season[quarter_of_week(np.arange(MINUTES_PER_WEEK))]

    @cached_property
    def _season_sums(self) -> Floats:
        twice = np.concatenate([self.season_by_minute, self.season_by_minute[:61]])
        return np.concatenate([[0.0], np.cumsum(twice)])

    def mean_season(self, instants: Floats | Ints, ttc_minutes: float) -> Floats:
        """Mean season over the `ttc_minutes` (at most 60) after each instant; instants may lie within a minute."""
        start = np.asarray(instants, dtype=np.float64) % MINUTES_PER_WEEK
        return (self._season_until(start + ttc_minutes) - self._season_until(start)) / ttc_minutes

    def _season_until(self, position: Floats) -> Floats:
        whole = np.floor(position).astype(np.intp)
        sums = self._season_sums
        return sums[whole] + (position - whole) * (sums[np.minimum(whole + 1, len(sums) - 1)] - sums[whole])

    def log_variance(self, log_states: Floats, ttc_minutes: float) -> Floats:
        """Log of the deseasonalised variance per minute over the next `ttc_minutes`.

        `log_states`: float64[half-lives, n]. Horizons below one minute have the value of one minute.
        """
        knots = np.log(KNOTS_MINUTES)
        at = float(np.clip(np.log(max(ttc_minutes, 1.0)), knots[0], knots[-1]))
        upper = int(np.clip(np.searchsorted(knots, at), 1, len(knots) - 1))
        share = (at - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
        weights = self.coefficients[upper - 1] * (1.0 - share) + self.coefficients[upper] * share
        result = np.full(log_states.shape[1], weights[-1])
        for weight, state in zip(weights[:-1].tolist(), log_states, strict=True):
            result += weight * state
        return result

    def sigma(self, log_states: Floats, instants: Floats | Ints, ttc_minutes: float) -> Floats:
        """Standard deviation of the log return per square root of a minute, over the next `ttc_minutes`: float64[n]."""
        variance = np.maximum(np.exp(self.log_variance(log_states, ttc_minutes)), self.variance_floor)
        return np.sqrt(variance * self.mean_season(instants, ttc_minutes))

    def log_states(self, variances: Floats) -> Floats:
        """Logs of the variances, which are raised to the floor."""
        return np.log(np.maximum(variances, self.variance_floor))


@dataclass(frozen=True)
class VolatilityTrack:
    """State after each minute of a gapless grid; NaN until the first return, held where a minute is missing.

    `first_minute`: of the grid; `mean_abs_return`: float64[n]; `variances`: float64[half-lives, n]. Deseasonalised.
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
    log_closes: Floats, first_minute: int, parameters: VolatilityParameters, before: "VolatilityState | None" = None
) -> VolatilityTrack:
    """Compute the states over a gapless grid of log closes that begins at `first_minute`.

    Continues from `before`, if given. Uses only the season and the floor of `parameters`.
    """
    opening = np.concatenate([[np.nan if before is None else np.log(before.close)], log_closes])
    if before is not None and before.minute != first_minute - 1:
        opening[0] = np.nan
    minutes = first_minute + np.arange(len(log_closes))
    scaled = np.abs(log_returns(opening)[1:]) / np.sqrt(parameters.season[quarter_of_week(minutes)])
    start = [np.nan] * (len(HALF_LIVES_MINUTES) + 1) if before is None else [before.mean_abs_return, *before.variances]
    mean_abs = _ewma(np.minimum(scaled, parameters.max_return), MEAN_ABS_RETURN_HALF_LIFE_MINUTES, start[0])
    cap = np.maximum(CAP_IN_MEAN_ABS_RETURNS * np.concatenate([[start[0]], mean_abs[:-1]]), parameters.uncapped_return)
    squared = np.square(np.where(scaled > cap, cap, scaled))
    variances = [_ewma(squared, half_life, past) for half_life, past in zip(HALF_LIVES_MINUTES, start[1:], strict=True)]
    return VolatilityTrack(first_minute, mean_abs, np.stack(variances))


@dataclass(frozen=True)
class VolatilityState:
    """State after the close of one bar. `minute`: of its open; `close`: USD; the rest as in `VolatilityTrack`."""

    minute: int
    close: float
    mean_abs_return: float
    variances: tuple[float, ...]

    def at(self, instant: float, price: float, parameters: VolatilityParameters) -> "VolatilityState":
        """State at an instant up to one minute after the close, as if the minute ended there with `price`.

        One minute later it equals the state that `track_volatility` computes for the next bar; before that, each mean
        decays by the elapsed part of its half-life. An instant more than a minute later is after a gap, and the state
        is held. Raises ValueError for an instant before the close and for a price that is not positive.
        """
        elapsed = instant - (self.minute + 1)
        if elapsed < 0 or not 0 < price < float("inf"):
            raise ValueError(f"no state for price {price} {elapsed} minutes after the bar's close")
        minute = int(np.ceil(instant)) - 1
        if elapsed == 0.0 or elapsed > 1.0 or self.close != self.close:
            return VolatilityState(max(minute, self.minute), price, self.mean_abs_return, self.variances)
        quarter = int(quarter_of_week(np.array([minute]))[0])
        scaled = abs(float(np.log(price) - np.log(self.close))) / float(np.sqrt(parameters.season[quarter]))
        cap = np.maximum(CAP_IN_MEAN_ABS_RETURNS * self.mean_abs_return, parameters.uncapped_return)
        squared = min(scaled, float(cap)) ** 2 if cap == cap else scaled**2  # noqa: PLR0124  NaN before the first return

        def decayed(mean: float, value: float, half_life: float) -> float:
            if mean != mean:  # noqa: PLR0124
                return value / elapsed
            kept = float(0.5 ** (elapsed / half_life))
            return kept * mean + (1.0 - kept) * value / elapsed

        variances = tuple(decayed(v, squared, h) for v, h in zip(self.variances, HALF_LIVES_MINUTES, strict=True))
        mean_abs = decayed(self.mean_abs_return, min(scaled, parameters.max_return), MEAN_ABS_RETURN_HALF_LIFE_MINUTES)
        return VolatilityState(minute, price, mean_abs, variances)


class LiveVolatility:
    """Continues from the state after a bar. A tick exactly at the end of a minute belongs to that minute.

    Instants are minutes since 1970-01-01 UTC, with fractions. The close of a minute is the price of its last tick; a
    minute without ticks is missing, and the state stays unchanged.
    """

    def __init__(self, state: VolatilityState, parameters: VolatilityParameters) -> None:
        self._parameters = parameters
        self._closed = state
        self._newest: tuple[float, float] | None = None

    def add_all(self, ticks: Iterable[tuple[float, float]]) -> None:
        """Add ticks as (instant, price), oldest first."""
        for instant, price in ticks:
            self.add(instant, price)

    def add(self, instant: float, price: float) -> None:
        """Add a tick; ticks out of order, or before the close of the initial state's bar, are ignored."""
        if instant <= self._closed.minute + 1 or (self._newest is not None and instant < self._newest[0]):
            return
        self._close_minutes_before(int(np.ceil(instant)) - 1)
        self._newest = instant, price

    def current_state(self) -> VolatilityState:
        """State at the newest tick."""
        return self._closed if self._newest is None else self._closed.at(*self._newest, self._parameters)

    def _close_minutes_before(self, minute: int) -> None:
        """Close the newest tick's minute if it is before `minute`, and mark the minutes in between as missing."""
        if self._newest is not None:
            current = int(np.ceil(self._newest[0])) - 1
            if current >= minute:
                return
            self._closed = self._closed.at(current + 1.0, self._newest[1], self._parameters)
            self._newest = None
        if self._closed.minute < minute - 1:
            self._closed = replace(self._closed, minute=minute - 1, close=float("nan"))


def fit_season(returns: Floats, first_minute: int) -> tuple[Floats, float]:
    """Season float64[192] and the mean squared return, from one-minute log returns on a gapless grid.

    The season of a quarter-hour is exp of the mean log variance of its five-minute intervals, normalised to mean 1 over
    the bars; a quarter-hour without bars has 1. Intervals of one minute would bias thin markets: their price repeats
    for minutes, and the log of zero variance would make quiet hours far too quiet. Returns are capped at 20 times their
    mean size: otherwise one tick at ten times the price would raise the minimum variance above that of two quiet
    months. Raises ValueError when no return differs from zero.
    """
    known = ~np.isnan(returns)
    sizes = np.abs(returns[known])
    if not len(sizes):
        raise ValueError("there are no one-minute returns: volatility cannot be fitted without bars one minute apart")
    squared = np.zeros(len(returns))
    squared[known] = np.square(np.minimum(sizes, CAP_IN_MEAN_ABS_RETURNS * sizes.mean()))
    level = float(squared[known].mean())
    if not level > 0.0:
        raise ValueError("the price never moves: volatility cannot be fitted")
    fives = (first_minute + np.arange(len(returns))) // SEASON_MINUTES
    fives -= fives[0]
    in_five = np.bincount(fives, known)
    filled = in_five > 0
    variances = np.bincount(fives, squared)[filled] / in_five[filled]
    quarters = quarter_of_week((first_minute // SEASON_MINUTES + np.flatnonzero(filled)) * SEASON_MINUTES)
    counts = np.bincount(quarters, in_five[filled], 2 * QUARTERS_PER_DAY)
    logs = np.bincount(
        quarters, in_five[filled] * np.log(variances + SEASON_OFFSET_SHARE * level), 2 * QUARTERS_PER_DAY
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        season = np.exp(logs / counts)
    season /= np.nansum(season * counts) / counts.sum()
    return np.where(counts > 0, season, 1.0), level


def fit_volatility(log_closes: Floats, first_minute: int) -> tuple[VolatilityParameters, VolatilityTrack]:
    """Fit the parameters on all bars of a gapless grid, and compute the states over it.

    The weights are fitted on the newest FIT_DAYS days. Raises ValueError when the price never moves, when there are too
    few returns, or when the regression does not converge.
    """
    returns = log_returns(log_closes)
    season, level = fit_season(returns, first_minute)
    end = first_minute + len(log_closes)
    empty = VolatilityParameters(season, np.zeros((len(KNOTS_MINUTES), 0)), FLOOR_SHARE * level, end)
    track = track_volatility(log_closes, first_minute, empty)
    longest = KNOTS_MINUTES[-1]
    rows = np.arange(max(0, len(log_closes) - FIT_DAYS * MINUTES_PER_DAY), len(log_closes) - longest, FIT_EVERY_MINUTES)
    rows = rows[~np.isnan(log_closes[rows]) & ~np.isnan(track.variances[0, rows])]
    if len(rows) < 10 * (len(HALF_LIVES_MINUTES) + 1):
        raise ValueError(f"{len(rows)} usable bars are too few to fit volatility")
    design = np.concatenate([empty.log_states(track.variances[:, rows]).T, np.ones((len(rows), 1))], axis=1)
    squares = np.concatenate([[0.0], np.cumsum(np.nan_to_num(np.square(returns)))])
    counts = np.concatenate([[0], np.cumsum(~np.isnan(returns))])
    coefficients = []
    for horizon in KNOTS_MINUTES:
        n = counts[rows + 1 + horizon] - counts[rows + 1]
        seasons = empty.mean_season(first_minute + rows + 1, horizon)
        realised = (squares[rows + 1 + horizon] - squares[rows + 1])[n > 0] / n[n > 0] / seasons[n > 0]
        # Without the floor the weights diverge after a frozen feed: no forecast is low enough for zero variance.
        coefficients.append(_gamma_regression(design[n > 0], np.maximum(realised, empty.variance_floor)))
    return VolatilityParameters(season, np.stack(coefficients), empty.variance_floor, end), track


def _gamma_regression(design: Floats, response: Floats) -> Floats:
    """Coefficients of log E[response], by iteratively reweighted least squares; ratios are capped at FIT_CAP.

    `response` > 0. Steps that increase the deviance are halved. Raises ValueError when the fit does not converge.
    """
    gram = design.T @ design + 1e-6 * len(design) * np.eye(design.shape[1])
    log_response, log_cap = np.log(response), np.log(FIT_CAP)

    def deviance(fitted: Floats) -> float:
        """Half the gamma deviance, up to a constant; linear in the log ratio beyond the cap."""
        log_ratio = log_response - fitted
        capped = np.minimum(log_ratio, log_cap)
        return float((fitted + np.exp(capped) + FIT_CAP * (log_ratio - capped)).sum())

    coefficients = np.zeros(design.shape[1])
    coefficients[1] = 1.0  # start from the second half-life alone: the right order of magnitude
    fitted = design @ coefficients
    best = deviance(fitted)
    for _ in range(FIT_ITERATIONS):
        ratio = np.exp(np.minimum(log_response - fitted, log_cap))
        step = np.linalg.solve(gram, design.T @ (ratio - 1.0))
        while (trial := deviance(fitted + design @ step)) > best and np.abs(design @ step).max() > FIT_TOLERANCE:
            step = step / 2.0
        coefficients, fitted, best = coefficients + step, fitted + design @ step, trial
        if np.abs(design @ step).max() <= FIT_TOLERANCE:
            return coefficients
    raise ValueError("the volatility regression does not converge on these bars")
