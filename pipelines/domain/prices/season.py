"""Season: relative variance of each minute of the week in New York time, around which the market's day turns.

The variance of a minute is that of its quarter-hour of the week times that of its minute of the hour. Instants are
minutes since 1970-01-01 UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK, Floats, Ints

MARKET_TIME_ZONE = "America/New_York"
MINUTES_PER_HOUR = 60
QUARTER_MINUTES = 15
QUARTERS_PER_DAY = MINUTES_PER_DAY // QUARTER_MINUTES
QUARTERS_PER_WEEK = 7 * QUARTERS_PER_DAY
#: Minute of the season's week, which begins on Monday, at the epoch: 1970-01-01 was a Thursday.
EPOCH_MINUTE = 3 * MINUTES_PER_DAY
#: Longest horizon of `Season.mean`.
MAX_AHEAD_MINUTES = 60
#: Years whose changes of the clock are looked up; instants before and after have the offset of the first and last one.
CLOCK_YEARS = range(2009, 2101)

#: Variances are averaged over intervals of this length before their logarithm.
INTERVAL_MINUTES = 5
#: Relative to the mean squared return: the offset added to a variance before its logarithm.
OFFSET_SHARE = 3e-4
#: Returns are capped at this many mean absolute returns.
CAP_IN_MEAN_ABS_RETURNS = 20.0
HALF_LIFE_DAYS = 365.0
#: Weeks of bars with which a quarter-hour's average over its kind of day, and a minute's over the hour, is weighted:
#: with few weeks of bars these decide, with years of them they do not matter.
PRIOR_WEEKS = 4.0


@cache
def clock_changes(time_zone: str) -> tuple[Ints, Ints]:
    """Instants int64[n] at which the zone's offset from UTC changes, rising, and the offsets int64[n + 1] in minutes.

    Raises ZoneInfoNotFoundError for an unknown zone.
    """
    zone = ZoneInfo(time_zone)

    def offset(instant: int) -> int:
        at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=instant)).astimezone(zone).utcoffset()
        assert at is not None
        return int(at / timedelta(minutes=1))

    months = [
        int(datetime(year, month, 1, tzinfo=UTC).timestamp()) // 60 for year in CLOCK_YEARS for month in range(1, 13)
    ]
    changes, offsets = [], [offset(months[0])]
    for first, last in pairwise(months):
        if offset(last) == offsets[-1]:
            continue
        before, after = first, last
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if offset(middle) == offsets[-1] else (before, middle)
        changes.append(after)
        offsets.append(offset(last))
    return np.array(changes, dtype=np.int64), np.array(offsets, dtype=np.int64)


def minute_of_week(instants: Ints, time_zone: str) -> Ints:
    """Minute of the local week that begins on Monday 00:00, of each instant."""
    changes, offsets = clock_changes(time_zone)
    return np.asarray(_place(instants, offsets[changes.searchsorted(instants, side="right")]))


def _place(instants: Floats | Ints, offset_minutes: Ints | np.int64) -> Floats | Ints:
    return (instants + (offset_minutes + EPOCH_MINUTE)) % MINUTES_PER_WEEK


@dataclass(frozen=True)
class Season:
    """`quarters`: float64[672], from Monday 00:00 local time on; `minute_factors`: float64[60]. Mean about 1 each."""

    quarters: Floats
    minute_factors: Floats
    time_zone: str = MARKET_TIME_ZONE

    @classmethod
    def of_day_kinds(cls, quarters: Sequence[float]) -> "Season":
        """The season of earlier versions, [192]: quarter-hours of the day in UTC, of weekdays and of weekends."""
        kinds = np.reshape(np.array(quarters, dtype=np.float64), (2, QUARTERS_PER_DAY))
        return cls(kinds[[0, 0, 0, 0, 0, 1, 1]].reshape(-1), np.ones(MINUTES_PER_HOUR), "UTC")

    @cached_property
    def by_minute(self) -> Floats:
        """float64[10080]: the season of each minute of the local week."""
        return np.repeat(self.quarters, QUARTER_MINUTES) * np.tile(self.minute_factors, 7 * 24)

    @cached_property
    def _sums(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(np.concatenate([self.by_minute, self.by_minute[:MAX_AHEAD_MINUTES]]))])

    def of_minutes(self, minutes: Ints) -> Floats:
        """The season of each minute: float64[n]."""
        return self.by_minute[minute_of_week(minutes, self.time_zone)]

    def mean(self, instants: Floats | Ints, ahead_minutes: float) -> Floats:
        """Mean season over the `ahead_minutes` (at most 60) after each instant; instants may lie within a minute."""
        if not len(instants):
            return np.empty(0)
        changes, offsets = clock_changes(self.time_zone)
        first, last = changes.searchsorted((instants.min(), instants.max() + ahead_minutes), side="right").tolist()
        if first == last:  # a live session is here on all but two days of the year
            return self._sum(_place(instants, offsets[first]), ahead_minutes) / ahead_minutes
        place = _place(instants, offsets[changes.searchsorted(instants, side="right")])
        result = self._sum(place, ahead_minutes)
        for number in range(first, last):
            change = int(changes[number])
            for row in np.flatnonzero((instants < change) & (instants + ahead_minutes > change)).tolist():
                before = change - float(instants[row])
                after = _place(np.array([change]), offsets[number + 1])
                result[row] = self._sum(place[[row]], before)[0] + self._sum(after, ahead_minutes - before)[0]
        return result / ahead_minutes

    def _sum(self, place: Floats | Ints, ahead_minutes: float) -> Floats:
        """Sum of the seasons over the time ahead of minutes of the week, as if the clock did not change in it."""
        if place.dtype.kind == "i" and ahead_minutes == int(ahead_minutes):
            return np.asarray(self._sums[place + int(ahead_minutes)] - self._sums[place])
        return self._until(place.astype(np.float64) + ahead_minutes) - self._until(place)

    def _until(self, place: Floats | Ints) -> Floats:
        whole = place.astype(np.intp)  # not negative
        sums = self._sums
        return np.asarray(sums[whole] + (place - whole) * (sums[np.minimum(whole + 1, len(sums) - 1)] - sums[whole]))


def fit_season(returns: Floats, first_minute: int) -> tuple[Season, float]:
    """Season and the mean squared return, from one-minute log returns on a gapless grid.

    The season of a quarter-hour is exp of the mean log variance of its five-minute intervals; intervals of one minute
    would bias thin markets: their price repeats for minutes, and the log of zero variance would make quiet hours far
    too quiet. The factor of a minute of the hour is the square of its mean absolute return over the root of the season.
    Bars weigh half as much for each HALF_LIFE_DAYS of their age. Returns are capped at 20 times their mean size:
    otherwise one tick at ten times the price would raise the minimum variance above that of two quiet months. Raises
    ValueError when no return differs from zero.
    """
    known = ~np.isnan(returns)
    sizes = np.abs(returns[known])
    if not len(sizes):
        raise ValueError("there are no one-minute returns: volatility cannot be fitted without bars one minute apart")
    sizes = np.minimum(sizes, CAP_IN_MEAN_ABS_RETURNS * sizes.mean())
    level = float(np.square(sizes).mean())
    if not level > 0.0:
        raise ValueError("the price never moves: volatility cannot be fitted")
    minutes = first_minute + np.flatnonzero(known)
    places = minute_of_week(minutes, MARKET_TIME_ZONE)
    weights = 0.5 ** ((minutes[-1] - minutes) / (HALF_LIFE_DAYS * MINUTES_PER_DAY))
    quarters = _fit_quarters(minutes, places, np.square(sizes), weights, OFFSET_SHARE * level)
    season = quarters[places // QUARTER_MINUTES]
    factors = _fit_minute_factors(places % MINUTES_PER_HOUR, sizes / np.sqrt(season), weights)
    quarters /= np.average(season * factors[places % MINUTES_PER_HOUR], weights=weights)
    return Season(quarters, factors), level


def _fit_quarters(minutes: Ints, places: Ints, squares: Floats, weights: Floats, offset: float) -> Floats:
    """exp of the mean log variance of five minutes, [672]; 1 where the kind of day has no bars."""
    starts = np.flatnonzero(np.diff(minutes // INTERVAL_MINUTES, prepend=-1))
    in_interval = np.diff(starts, append=len(minutes))
    logs = np.log(np.add.reduceat(squares, starts) / in_interval + offset)
    cells, weight = places[starts] // QUARTER_MINUTES, in_interval * weights[starts]
    totals = np.bincount(cells, weight * logs, QUARTERS_PER_WEEK).reshape(7, QUARTERS_PER_DAY)
    counts = np.bincount(cells, weight, QUARTERS_PER_WEEK).reshape(7, QUARTERS_PER_DAY)
    result = np.empty((7, QUARTERS_PER_DAY))
    overall = np.average(logs, weights=weight)
    for kind in (slice(0, 5), slice(5, 7)):
        n = counts[kind].sum(axis=0)
        with np.errstate(invalid="ignore"):
            usual = np.where(n > 0, totals[kind].sum(axis=0) / n, overall)
        prior = PRIOR_WEEKS * QUARTER_MINUTES
        result[kind] = (totals[kind] + prior * usual) / (counts[kind] + prior)
    return np.exp(result.reshape(-1))


def _fit_minute_factors(minutes_of_hour: Ints, scaled_sizes: Floats, weights: Floats) -> Floats:
    """Squares of the mean absolute returns, [60], with mean 1."""
    totals = np.bincount(minutes_of_hour, weights * scaled_sizes, MINUTES_PER_HOUR)
    counts = np.bincount(minutes_of_hour, weights, MINUTES_PER_HOUR)
    prior = PRIOR_WEEKS * 7 * 24
    means = (totals + prior * totals.sum() / counts.sum()) / (counts + prior)
    squares = np.square(means)
    return np.asarray(squares / squares.mean())
