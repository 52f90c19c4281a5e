"""The standardised fingerprint: distribution of the move in the next 1..60 minutes, in units of forecast volatility.

z = ln(close_{i+t} / close_i) / (sigma_t sqrt(t)) with sigma_t of `volatility`; asinh(2 z) is counted in bins of 0.05
from 0 to 7 on either side, per horizon and per group of momentum over sigma. Counts are whole numbers per week. A table
is their sum with weights that halve every 90 days, so an update counts new bars only. Groups are shrunk towards the
pooled distribution.

A base row counts once its longest horizon has passed; its week is the one in which that happened.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.models.fingerprint import FingerprintSet, histogram, tails
from pipelines.domain.models.uncertainty import Uncertainty, independent_outcomes
from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK, Floats, Ints
from pipelines.domain.prices.history import MarketHistory
from pipelines.domain.prices.season import Season
from pipelines.domain.prices.volatility import (
    HALF_LIVES_MINUTES,
    VolatilityParameters,
    VolatilityTrack,
    fit_volatility,
)

GROUPS = 9
HORIZON_MINUTES = 60
#: The axis in hundredths of asinh(2 z).
AXIS_STEP = 5
AXIS_MAX = 700
AXIS_UNITS = 100.0
TOP = AXIS_MAX // AXIS_STEP
BINS = 2 * TOP + 3
HALF_LIFE_DAYS = 90.0
#: A week two years old weighs 0.4 % of a new one.
OLDEST_WEEKS = 104
#: A group's own distribution has the weight n_eff / (n_eff + SHRINKAGE), the pooled one the rest.
SHRINKAGE = 1000.0
#: Horizon of the sigma that momentum is divided by, and days whose quantiles separate the groups.
GROUP_SIGMA_MINUTES = 30
GROUP_DAYS = 365
#: Uncertainty is kept at every tenth node.
UNCERTAINTY_STEP = 50

#: Whole numbers [60, groups, bins]; those of a week fit into 16 bits.
Counts = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class StandardisedParameters:
    """Parameters, constant between fits. `momentum_edges`: [8], between the groups of score / sigma, rising."""

    volatility: VolatilityParameters
    momentum_edges: tuple[float, ...]

    def group_of(self, score: Floats, sigma: Floats) -> Ints:
        """1..9 by momentum score (a fraction) over sigma of 30 minutes; 0, pooled, where the score is NaN."""
        groups = 1 + np.searchsorted(np.array(self.momentum_edges), score / sigma)
        return np.where(np.isnan(score), 0, groups)

    def as_json(self) -> dict[str, Any]:
        """The parameters as JSON values."""
        return {
            "half_lives_minutes": list(HALF_LIVES_MINUTES),
            "season": self.volatility.season.quarters.tolist(),
            "minute_factors": self.volatility.season.minute_factors.tolist(),
            "time_zone": self.volatility.season.time_zone,
            "coefficients": self.volatility.coefficients.tolist(),
            "variance_floor": self.volatility.variance_floor,
            "range_ratio": self.volatility.range_ratio,
            "fitted_until": self.volatility.fitted_until,
            "momentum_edges": list(self.momentum_edges),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "StandardisedParameters":
        """The inverse of `as_json`. Raises ValueError when the half-lives differ."""
        if tuple(stored["half_lives_minutes"]) != HALF_LIVES_MINUTES:
            raise ValueError(f"fitted with half-lives {stored['half_lives_minutes']}, not {HALF_LIVES_MINUTES}")
        volatility = VolatilityParameters(
            _stored_season(stored),
            np.array(stored["coefficients"]),
            float(stored["variance_floor"]),
            int(stored["fitted_until"]),
            float(stored.get("range_ratio", 1.0)),  # versions without ranges have none
        )
        return cls(volatility, tuple(stored["momentum_edges"]))


def _stored_season(stored: Mapping[str, Any]) -> Season:
    if "minute_factors" not in stored:  # of a version before the season had New York's clock
        return Season.of_day_kinds(stored["season"])
    return Season(np.array(stored["season"]), np.array(stored["minute_factors"]), stored["time_zone"])


def axis_position(log_moves: npt.ArrayLike, sigma: npt.ArrayLike, ttc_minutes: float) -> Floats:
    """|asinh(2 z)| in hundredths: the position of log returns on the axis. At TTC 0 infinite, except 0 for no move."""
    size = np.abs(np.asarray(log_moves, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = size / (np.asarray(sigma) * np.sqrt(ttc_minutes))
    return np.where(size == 0.0, 0.0, AXIS_UNITS * np.arcsinh(2.0 * z))


def fit_parameters(history: MarketHistory) -> StandardisedParameters:
    """Parameters from all of `history`. Raises ValueError when it is too short or never moves."""
    volatility, track = fit_volatility(history.log_close, history.first_minute, history.log_extremes)
    rows = np.arange(max(0, len(history) - GROUP_DAYS * MINUTES_PER_DAY), len(history))
    sigma = sigma_of_rows(volatility, track, rows, GROUP_SIGMA_MINUTES)
    relative = history.score[rows] / sigma
    relative = relative[~np.isnan(relative)]
    if len(relative) < 100 * GROUPS:
        raise ValueError(f"{len(relative)} bars with momentum are too few for {GROUPS} groups")
    edges = np.quantile(relative, np.arange(1, GROUPS) / GROUPS)
    return StandardisedParameters(volatility, tuple(edges.tolist()))


def sigma_of_rows(parameters: VolatilityParameters, track: VolatilityTrack, rows: Ints, ttc_minutes: float) -> Floats:
    """Forecast at the close of each row of the grid."""
    states = parameters.log_states(track.variances[:, rows])
    return parameters.sigma(states, track.first_minute + rows + 1, ttc_minutes)


def count_outcomes(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, start: int, stop: int
) -> Counts:
    """int64[60, groups, bins] of the base rows start..stop-1 of the grid; their look-ahead lies within the history.

    Rows without close, score or forecast, and horizons without a bar exactly t minutes later, count nothing.
    """
    rows = np.arange(start, stop)
    states = parameters.volatility.log_states(track.variances[:, start:stop])
    instants = history.first_minute + rows + 1
    score, base = history.score[start:stop], history.log_close[start:stop]
    group = parameters.group_of(score, parameters.volatility.sigma(states, instants, GROUP_SIGMA_MINUTES)) - 1
    usable = ~(np.isnan(score) | np.isnan(base) | np.isnan(states[0]))
    if not usable.all():
        states = states[:, usable]
        instants, group, base, rows = (values[usable] for values in (instants, group, base, rows))
    offset = group * BINS + TOP + 1
    counts = np.zeros((HORIZON_MINUTES, GROUPS * BINS), dtype=np.int64)
    at_knots: dict[int, Floats] = {}
    for horizon in range(1, HORIZON_MINUTES + 1):
        sigma = parameters.volatility.sigma(states, instants, horizon, at_knots)
        moves = history.log_close[rows + horizon] - base
        steps = np.arcsinh(moves * (2.0 / np.sqrt(horizon)) / sigma)
        steps *= AXIS_UNITS / AXIS_STEP
        counts[horizon - 1] = histogram(steps, offset, TOP, GROUPS * BINS)
    return counts.reshape(HORIZON_MINUTES, GROUPS, BINS)


def week_of_row(minute: int) -> int:
    """Week in which a base row opening at `minute` is known to its longest horizon."""
    return (minute + HORIZON_MINUTES) // MINUTES_PER_WEEK


def rows_by_week(history: MarketHistory, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """The base rows first..last-1 of the grid as (week, start, stop)."""
    while first < last:
        week = week_of_row(history.first_minute + first)
        stop = min(last, (week + 1) * MINUTES_PER_WEEK - HORIZON_MINUTES - history.first_minute)
        yield week, first, stop
        first = stop


def count_weeks(
    history: MarketHistory, parameters: StandardisedParameters, track: VolatilityTrack, since_minute: int
) -> dict[int, Counts]:
    """Counts by week of all base rows that open at or after `since_minute` and are known at the history's end."""
    first, last = max(since_minute - history.first_minute, 0), len(history) - HORIZON_MINUTES
    return {
        week: count_outcomes(history, parameters, track, start, stop)
        for week, start, stop in rows_by_week(history, first, last)
    }


@dataclass
class DecayedCounts:
    """Weekly counts summed with decaying weights as of one week: all that tables are made from.

    `weighted`: float64[60, groups, bins]; `squares`: float64[60, groups], the sum of squared weights; `n`: rows.
    """

    week: int
    weighted: Floats
    squares: Floats
    n: Ints

    @classmethod
    def empty(cls, week: int) -> "DecayedCounts":
        """All zero."""
        shape = (HORIZON_MINUTES, GROUPS)
        return cls(week, np.zeros((*shape, BINS)), np.zeros(shape), np.zeros(shape, dtype=np.int64))

    @classmethod
    def of(cls, weeks: Mapping[int, Counts], week: int) -> "DecayedCounts":
        """Sum as of `week` over the weeks in its window."""
        total = cls.empty(week)
        for each in weeks_in_window(weeks, week):
            total.add(weeks[each], each)
        return total

    def decayed_to(self, week: int) -> "DecayedCounts":
        """The same counts as of a later week."""
        weight = decay_weight(week - self.week)
        return DecayedCounts(week, self.weighted * weight, self.squares * weight**2, self.n)

    def add(self, counts: Counts, week: int) -> None:
        """Add the counts of a week."""
        weight = decay_weight(self.week - week)
        rows = counts.sum(axis=2)
        self.weighted += weight * counts
        self.squares += weight**2 * rows
        self.n = self.n + rows

    def tables(self) -> FingerprintSet:
        """Percent at or past each node: bucket 0 is pooled, 1..9 are the groups."""
        rows = self.weighted.sum(axis=2)
        pooled = self.weighted.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            n_eff = np.where(rows > 0, rows**2 / self.squares, 0.0)
            n_eff_pooled = np.where(rows.sum(axis=1) > 0, rows.sum(axis=1) ** 2 / self.squares.sum(axis=1), 0.0)
            pooled_shares = pooled / pooled.sum(axis=1)[:, None]
            own = np.where(rows[..., None] > 0, self.weighted / rows[..., None], 0.0)
        own_weight = shrinkage_weight(n_eff)[..., None]
        shares = np.concatenate(
            [pooled_shares[None], (own_weight * own + (1.0 - own_weight) * pooled_shares[:, None]).swapaxes(0, 1)]
        )
        positive, negative = tails(shares, TOP)
        n = np.concatenate([self.n.sum(axis=1)[None], self.n.T])
        return FingerprintSet(
            tuple(range(GROUPS + 1)),
            tuple(range(0, AXIS_MAX + 1, AXIS_STEP)),
            100.0 * np.minimum(positive, 1.0),
            100.0 * np.minimum(negative, 1.0),
            n,
            np.concatenate([n_eff_pooled[None], n_eff.T]),
        )


def decay_weight(age_weeks: int) -> float:
    """Weight of counts of this age."""
    return float(0.5 ** (7.0 * age_weeks / HALF_LIFE_DAYS))


def shrinkage_weight(n_eff: Floats) -> Floats:
    """Weight of a group's own distribution in its table; the pooled distribution has the rest."""
    return np.asarray(n_eff / (n_eff + SHRINKAGE))


@dataclass(frozen=True)
class CountedTables:
    """Decayed sums of stored counts as of a week, and the tables made from them, with uncertainty."""

    sums: DecayedCounts
    tables: FingerprintSet


def fit_tables(weeks: Mapping[int, Counts], week: int) -> CountedTables:
    """Sums and tables as of `week`. Raises ValueError when nothing was counted."""
    sums = DecayedCounts.of(weeks, week)
    if not sums.n.any():
        raise ValueError("no outcome is known yet")
    tables = sums.tables()
    return CountedTables(sums, replace(tables, uncertainty=_uncertainty(weeks, week, sums, tables)))


def _uncertainty(weeks: Mapping[int, Counts], week: int, sums: DecayedCounts, tables: FingerprintSet) -> Uncertainty:
    """Bootstrap over weeks of each table, with its shrinkage."""
    every = UNCERTAINTY_STEP // AXIS_STEP
    own_weight = shrinkage_weight(tables.n_eff[1:].T)[:, :, None]
    own_rows = sums.weighted.sum(axis=2)[:, :, None]
    pooled_rows = own_rows.sum(axis=1, keepdims=True)
    own_shares = [side / np.maximum(own_rows, 1e-300) for side in tails(sums.weighted, TOP, every)]
    sides = []
    for number, side in enumerate((tables.positive, tables.negative)):
        pooled = side[0, :, None, ::every] / 100.0
        squares = np.zeros((HORIZON_MINUTES, GROUPS + 1, pooled.shape[-1]))
        used = weeks_in_window(weeks, week)
        for each in used:
            counts, weight = weeks[each], decay_weight(week - each)
            rows = counts.sum(axis=2)[:, :, None]
            hits = tails(counts, TOP, every)[number]
            pooled_deviation = (
                weight * (hits.sum(axis=1, keepdims=True) - pooled * rows.sum(axis=1, keepdims=True)) / pooled_rows
            )
            own_deviation = weight * (hits - own_shares[number] * rows) / np.maximum(own_rows, 1e-300)
            squares[:, :1] += np.square(pooled_deviation)
            squares[:, 1:] += np.square(own_weight * own_deviation + (1.0 - own_weight) * pooled_deviation)
        variance = squares * len(used) / (len(used) - 1) if len(used) > 1 else np.full_like(squares, np.nan)
        share = side[..., ::every] / 100.0
        # A group is shrunk towards the pooled table, so its limit is the pooled n_eff.
        sides.append(independent_outcomes(share, variance.swapaxes(0, 1), tables.n_eff[:1, :, None]))
    return Uncertainty(UNCERTAINTY_STEP, *sides)


def weeks_in_window(weeks: Iterable[int], week: int) -> list[int]:
    """Weeks that a table as of `week` is made from, oldest first."""
    return sorted(each for each in weeks if week - OLDEST_WEEKS < each <= week)
