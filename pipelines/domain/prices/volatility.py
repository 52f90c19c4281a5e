"""How wild the next minutes will be: the volatility forecast that standardises moves.

Three steps, each from one-minute closes alone:

1. season: how much a quarter-hour of the day usually moves, on weekdays and on weekends, with mean 1;
2. state: exponentially weighted means of the squared one-minute return over its season, with several half-lives; held
   over gaps; a return beyond 20 times its usual size counts as 20 times, so that one absurd tick does not last a day;
3. forecast: log variance per minute over the next t minutes = a constant plus weights times the logs of those means,
   both fitted per horizon by gamma regression (log link, iteratively reweighted least squares), times the mean season
   of those minutes.

Instants are minutes since 1970-01-01 UTC. A bar that opens at minute m closes at instant m + 1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.domain.prices.bars import Floats, Ints

#: Chosen on the year before 2025-07-17 (docs/models.md).
HALF_LIVES_MINUTES = (3, 10, 60, 720)
MEAN_ABS_RETURN_HALF_LIFE_MINUTES = 720
CAP_IN_MEAN_ABS_RETURNS = 20.0
#: What is usual is itself a mean, which one absurd tick must not move: a return counts as so many roots of the mean
#: squared return of the fit at most.
LARGEST_IN_TYPICAL_RETURNS = 50.0
#: Up to so many of them a return counts in full whatever is usual: after a feed that froze for days nothing is, and
#: a forecast would take hours to find back.
FULL_IN_TYPICAL_RETURNS = 3.0
#: Horizons whose weights are fitted; between them weights are interpolated in the log of the horizon.
KNOTS_MINUTES = (1, 2, 5, 10, 15, 30, 45, 60)
MINUTES_PER_DAY = 1440
MINUTES_PER_WEEK = 7 * MINUTES_PER_DAY
QUARTERS_PER_DAY = 96
SEASON_MINUTES = 5
#: Against the mean squared return: what a season adds to a variance before its logarithm, and the least variance.
SEASON_OFFSET_SHARE = 3e-4
FLOOR_SHARE = 2.5e-3
FIT_DAYS = 730
FIT_EVERY_MINUTES = 7
#: Real bars take about 12 steps; a feed that froze for three hours in every nine takes 110.
FIT_ITERATIONS = 300
#: The fit has converged when no logarithm of a forecast changes by more.
FIT_TOLERANCE = 1e-6
FIT_CAP = 50.0


def quarter_of_week(minutes: Ints) -> Ints:
    """0..95 for the quarter-hours of a weekday, 96..191 of a Saturday or Sunday (UTC).

    >>> quarter_of_week(np.array([0, 15, 2 * 1440]))  # 1970-01-01 was a Thursday
    array([ 0,  1, 96])
    """
    weekend = (minutes // MINUTES_PER_DAY + 3) % 7 >= 5
    return (minutes // 15) % QUARTERS_PER_DAY + QUARTERS_PER_DAY * weekend


@dataclass(frozen=True)
class VolatilityParameters:
    """What is fitted seldom and then held.

    `season`: float64[192], mean 1 over the fitted bars; `coefficients`: float64[knots, half-lives + 1], the constant
    last; `variance_floor`: least variance per minute, season taken out; `fitted_until`: instant, nothing at or after it
    was used.
    """

    season: Floats
    coefficients: Floats
    variance_floor: float
    fitted_until: int

    @property
    def largest_return(self) -> float:
        """Most that an absolute return over the root of its season counts in what is usual."""
        return LARGEST_IN_TYPICAL_RETURNS * self._typical_return

    @property
    def full_return(self) -> float:
        """Up to here an absolute return over the root of its season counts in full in the variances."""
        return FULL_IN_TYPICAL_RETURNS * self._typical_return

    @property
    def _typical_return(self) -> float:
        return float(np.sqrt(self.variance_floor / FLOOR_SHARE))

    @cached_property
    def season_by_minute(self) -> Floats:
        """float64[10080]: season of each minute of the week that begins with minute 0 of 1970."""
        return self.season[quarter_of_week(np.arange(MINUTES_PER_WEEK))]

    @cached_property
    def _season_sums(self) -> Floats:
        twice = np.concatenate([self.season_by_minute, self.season_by_minute[:61]])
        return np.concatenate([[0.0], np.cumsum(twice)])

    def mean_season(self, instants: Floats | Ints, ttc_minutes: float) -> Floats:
        """Mean season of the `ttc_minutes` (at most 60) that follow each instant, which may lie within a minute."""
        start = np.asarray(instants, dtype=np.float64) % MINUTES_PER_WEEK
        return (self._season_until(start + ttc_minutes) - self._season_until(start)) / ttc_minutes

    def _season_until(self, position: Floats) -> Floats:
        whole = np.floor(position).astype(np.intp)
        sums = self._season_sums
        return sums[whole] + (position - whole) * (sums[np.minimum(whole + 1, len(sums) - 1)] - sums[whole])

    def log_variance(self, log_states: Floats, ttc_minutes: float) -> Floats:
        """Log of the variance per minute over the next `ttc_minutes`, season taken out.

        `log_states`: float64[half-lives, n]. Below one minute it is that of one minute.
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
        """Logs of the states, not below the floor."""
        return np.log(np.maximum(variances, self.variance_floor))


@dataclass(frozen=True)
class VolatilityTrack:
    """State after each minute of a gapless grid; NaN until the first return, held where a minute is missing.

    `first_minute`: of the grid; `mean_abs_return`: float64[n]; `variances`: float64[half-lives, n], season taken out.
    """

    first_minute: int
    mean_abs_return: Floats
    variances: Floats


def log_returns(log_closes: Floats) -> Floats:
    """float64[n]: log return of each minute of a gapless grid, NaN where it or the minute before it is missing."""
    return np.concatenate([[np.nan], np.diff(log_closes)])


def _decayed_mean(values: Floats, half_life: float, before: float) -> Floats:
    import polars as pl  # 24 MB that a live session has no use for

    series = pl.Series(np.concatenate([[before], values]), nan_to_null=True)
    means = series.ewm_mean(half_life=half_life, adjust=False, ignore_nulls=True).fill_null(strategy="forward")
    return means.to_numpy()[1:]


def track_volatility(
    log_closes: Floats, first_minute: int, parameters: VolatilityParameters, before: "VolatilityState | None" = None
) -> VolatilityTrack:
    """States over a gapless grid of log closes that begins at `first_minute`, going on from `before` where given.

    Of the parameters only those that are fitted before any state matter: season and floor.
    """
    opening = np.concatenate([[np.nan if before is None else np.log(before.close)], log_closes])
    if before is not None and before.minute != first_minute - 1:
        opening[0] = np.nan
    minutes = first_minute + np.arange(len(log_closes))
    scaled = np.abs(log_returns(opening)[1:]) / np.sqrt(parameters.season[quarter_of_week(minutes)])
    start = [np.nan] * (len(HALF_LIVES_MINUTES) + 1) if before is None else [before.mean_abs_return, *before.variances]
    usual = _decayed_mean(np.minimum(scaled, parameters.largest_return), MEAN_ABS_RETURN_HALF_LIFE_MINUTES, start[0])
    cap = np.maximum(CAP_IN_MEAN_ABS_RETURNS * np.concatenate([[start[0]], usual[:-1]]), parameters.full_return)
    squared = np.square(np.where(scaled > cap, cap, scaled))
    variances = [
        _decayed_mean(squared, half_life, past) for half_life, past in zip(HALF_LIVES_MINUTES, start[1:], strict=True)
    ]
    return VolatilityTrack(first_minute, usual, np.stack(variances))


@dataclass(frozen=True)
class VolatilityState:
    """State after the close of one bar. `minute`: of its open; `close`: USD; the rest as in `VolatilityTrack`."""

    minute: int
    close: float
    mean_abs_return: float
    variances: tuple[float, ...]

    def at(self, instant: float, price: float, parameters: VolatilityParameters) -> "VolatilityState":
        """State at an instant after the close, up to one minute later, as if the minute ended with `price` there.

        A whole minute later it is the state after the next bar, exactly as `track_volatility` has it; before that each
        mean decays by the elapsed part of its half-life. An instant more than a minute later leaves a gap: the state
        is held. Raises ValueError for an instant before the close or a price that is not positive.
        """
        elapsed = instant - (self.minute + 1)
        if elapsed < 0 or not 0 < price < float("inf"):
            raise ValueError(f"no state for price {price} {elapsed} minutes after the bar's close")
        minute = int(np.ceil(instant)) - 1
        if elapsed == 0.0 or elapsed > 1.0 or self.close != self.close:
            return VolatilityState(max(minute, self.minute), price, self.mean_abs_return, self.variances)
        quarter = int(quarter_of_week(np.array([minute]))[0])
        scaled = abs(float(np.log(price) - np.log(self.close))) / float(np.sqrt(parameters.season[quarter]))
        cap = np.maximum(CAP_IN_MEAN_ABS_RETURNS * self.mean_abs_return, parameters.full_return)
        squared = min(scaled, float(cap)) ** 2 if cap == cap else scaled**2  # noqa: PLR0124  NaN before the first return

        def decayed(mean: float, value: float, half_life: float) -> float:
            if mean != mean:  # noqa: PLR0124
                return value / elapsed
            kept = float(0.5 ** (elapsed / half_life))
            return kept * mean + (1.0 - kept) * value / elapsed

        variances = tuple(decayed(v, squared, h) for v, h in zip(self.variances, HALF_LIVES_MINUTES, strict=True))
        usual = decayed(self.mean_abs_return, min(scaled, parameters.largest_return), MEAN_ABS_RETURN_HALF_LIFE_MINUTES)
        return VolatilityState(minute, price, usual, variances)


def fit_season(returns: Floats, first_minute: int) -> tuple[Floats, float]:
    """Season float64[192] and the mean squared return, from one-minute log returns on a gapless grid.

    The season of a quarter-hour is exp of the mean log of the variance of its fives of minutes, normalised to mean 1
    over the bars; a quarter-hour without a bar takes 1. Single minutes would not do: a thin market repeats its price
    for minutes, and the log of nothing would make its quiet hours far too quiet. A return beyond 20 times the mean size
    counts as 20 times: one tick at ten times the price would else put the least variance above that of two quiet
    months. Raises ValueError when no return differs from zero.
    """
    known = ~np.isnan(returns)
    sizes = np.abs(returns[known])
    if not len(sizes):
        raise ValueError("there is not one return: volatility cannot be fitted without bars a minute apart")
    squared = np.zeros(len(returns))
    squared[known] = np.square(np.minimum(sizes, CAP_IN_MEAN_ABS_RETURNS * sizes.mean()))
    level = float(squared[known].mean())
    if not level > 0.0:
        raise ValueError("the price never moves: volatility cannot be fitted")
    fives = (first_minute + np.arange(len(returns))) // SEASON_MINUTES
    fives -= fives[0]
    in_five = np.bincount(fives, known)
    there = in_five > 0
    variances = np.bincount(fives, squared)[there] / in_five[there]
    quarters = quarter_of_week((first_minute // SEASON_MINUTES + np.flatnonzero(there)) * SEASON_MINUTES)
    counts = np.bincount(quarters, in_five[there], 2 * QUARTERS_PER_DAY)
    logs = np.bincount(quarters, in_five[there] * np.log(variances + SEASON_OFFSET_SHARE * level), 2 * QUARTERS_PER_DAY)
    with np.errstate(invalid="ignore", divide="ignore"):
        season = np.exp(logs / counts)
    season /= np.nansum(season * counts) / counts.sum()
    return np.where(counts > 0, season, 1.0), level


def fit_volatility(log_closes: Floats, first_minute: int) -> tuple[VolatilityParameters, VolatilityTrack]:
    """Parameters from all bars of a gapless grid, and the states over it.

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
        # Without the floor, weights run away after a freeze: no forecast is low enough for a variance of zero.
        coefficients.append(_gamma_regression(design[n > 0], np.maximum(realised, empty.variance_floor)))
    return VolatilityParameters(season, np.stack(coefficients), empty.variance_floor, end), track


def _gamma_regression(design: Floats, response: Floats) -> Floats:
    """Coefficients of log E[response], by iteratively reweighted least squares; outliers count FIT_CAP at most.

    `response` > 0. A step that would fit worse is halved until it does not. Raises ValueError when that does not
    converge.
    """
    gram = design.T @ design + 1e-6 * len(design) * np.eye(design.shape[1])
    log_response, log_cap = np.log(response), np.log(FIT_CAP)

    def misfit(fitted: Floats) -> float:
        """Half the gamma deviance but for a constant; linear in the logarithm beyond the cap."""
        surprise = log_response - fitted
        capped = np.minimum(surprise, log_cap)
        return float((fitted + np.exp(capped) + FIT_CAP * (surprise - capped)).sum())

    coefficients = np.zeros(design.shape[1])
    coefficients[1] = 1.0  # the second half-life alone: the right order of magnitude to begin with
    fitted = design @ coefficients
    best = misfit(fitted)
    for _ in range(FIT_ITERATIONS):
        ratio = np.exp(np.minimum(log_response - fitted, log_cap))
        step = np.linalg.solve(gram, design.T @ (ratio - 1.0))
        while (tried := misfit(fitted + design @ step)) > best and np.abs(design @ step).max() > FIT_TOLERANCE:
            step = step / 2.0
        coefficients, fitted, best = coefficients + step, fitted + design @ step, tried
        if np.abs(design @ step).max() <= FIT_TOLERANCE:
            return coefficients
    raise ValueError("the volatility regression does not converge on these bars")
