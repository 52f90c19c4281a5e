"""Proper scores and calibration of probability forecasts, with block bootstrap intervals.

A case is (base row, TTC, signed move): a forecast probability and a binary outcome. Years of cases do not fit in
memory, so a `Tally` keeps only sums, from which every score is computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.domain.prices.bars import Floats, Ints

Bools = npt.NDArray[np.bool_]

DEFAULT_TTCS_MINUTES = (1, 2, 5, 10, 15, 30, 45, 60)
DEFAULT_MOVES_BPS = (5, 10, 20, 30, 50, 75, 100, 150, -5, -10, -20, -30, -50, -75, -100, -150)
#: Dimensions of the cases; all others are labels of base rows.
TTC = "ttc_minutes"
MOVE = "move_bps"
WEEK = "week"
VOLATILITY_BAND = "volatility_band"
#: Limits the log loss of a forecast of 0 for an event that occurs to 13.8.
LOG_LOSS_CLIP = 1e-6
RELIABILITY_BINS = 20
#: Rows summed at a time, one day of 5-minute rows: with 8 TTCs, 24 events and 6 statistics 2.7 MB. A year (13.5 million
#: cases, 5 dimensions of 152 levels) took 1.6 s on 2 cores; 2.0 s with 144 rows, 1.6 s with 512.
BLOCK_ROWS = 288
#: Axis 1 of a tally's sums.
STATISTICS = ("n", "p", "y", "p_squared", "squared_error", "log_loss")
_N, _P, _Y, _P_SQUARED, _SQUARED_ERROR, _LOG_LOSS = range(len(STATISTICS))


@dataclass(frozen=True)
class ScoreGrid:
    """Cases of a tally, and the labels of base rows by which it can be sliced.

    `ttcs_minutes`: [t]. `moves_bps`: [k], signed: h > 0 means P(move >= h), h < 0 means P(move <= h).
    `levels`: row dimension -> number of levels, labelled 0 .. levels - 1. It must contain "week": 7-day blocks, counted
    from the same start in all tallies that are compared or merged.
    """

    ttcs_minutes: tuple[int, ...] = DEFAULT_TTCS_MINUTES
    moves_bps: tuple[int, ...] = DEFAULT_MOVES_BPS
    levels: Mapping[str, int] = field(default_factory=dict)

    @property
    def sizes_bps(self) -> tuple[int, ...]:
        """The distinct |move|, ascending."""
        return tuple(sorted({abs(move) for move in self.moves_bps}))

    @property
    def two_sided_bps(self) -> tuple[int, ...]:
        """The |move| that occur with both signs, ascending."""
        return tuple(size for size in self.sizes_bps if {size, -size} <= set(self.moves_bps))


class Tally:
    """Mutable sums over the cases of one model.

    `totals`: float64[l, stats, t, k + b], with `l` the concatenated levels of all row dimensions (by name), `stats` as
    in `STATISTICS`, and `b` the two-sided events |move| >= h of `two_sided_bps` (p = sum of both sides).
    `bins`: float64[bands, 20, 3], sums of 1, p, y over the one-sided cases, by volatility band (one band when the grid
    has no such dimension) and by bin of p: [0, 0.05), [0.05, 0.10), ..., [0.95, 1].
    """

    def __init__(self, grid: ScoreGrid) -> None:
        self.grid = grid
        names = sorted(grid.levels)  # equal grids may list them in different orders
        edges = np.cumsum([0, *(grid.levels[name] for name in names)]).tolist()
        self._spans = {name: slice(*edges[i : i + 2]) for i, name in enumerate(names)}
        self._upward = [grid.moves_bps.index(size) for size in grid.two_sided_bps]
        self._downward = [grid.moves_bps.index(-size) for size in grid.two_sided_bps]
        events = len(grid.moves_bps) + len(grid.two_sided_bps)
        self.totals: Floats = np.zeros((edges[-1], len(STATISTICS), len(grid.ttcs_minutes), events))
        self.bins: Floats = np.zeros((grid.levels.get(VOLATILITY_BAND, 1), RELIABILITY_BINS, 3))

    def add(self, probabilities: Floats, outcomes: Bools, known: Bools, labels: Mapping[str, Ints]) -> None:
        """Add a chunk of cases.

        `probabilities`: float64[n, t, k], fractions. `outcomes`: bool[n, t, k]. `known`: bool[n, t], False for cases to
        ignore. `labels`: int64[n] for each row dimension. Raises ValueError, without adding anything, when a known
        case has no probability within 0..1.
        """
        rows = np.flatnonzero(known.any(axis=1))
        known = known[rows]
        p = np.where(known[:, :, None], probabilities[rows], 0.0).astype(np.float64, copy=False)
        y = outcomes[rows] & known[:, :, None]
        kept = {name: values[rows] for name, values in labels.items()}
        if not ((p >= 0.0) & (p <= 1.0)).all():  # false on NaN, too
            raise ValueError(f"probabilities of known cases lie in {p.min()}..{p.max()}, expected fractions 0..1")
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            of_block = {name: values[block].astype(np.int64) for name, values in kept.items()}
            self._add_block(p[block], y[block], known[block], of_block)

    def by_level(self, dimension: str, *, two_sided: bool = False) -> Floats:
        """Sums by level: float64[levels, stats, t, k], or [.., b] if two-sided."""
        moves = len(self.grid.moves_bps)
        return self.totals[self._spans[dimension], :, :, slice(moves, None) if two_sided else slice(moves)]

    def _add_block(self, p: Floats, y: Bools, known: Bools, labels: Mapping[str, Ints]) -> None:
        bands = labels.get(VOLATILITY_BAND, np.zeros(len(p), dtype=np.int64))
        bins = np.minimum((p * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
        keys = (bins + bands[:, None, None] * RELIABILITY_BINS).ravel()
        counted = np.broadcast_to(known[:, :, None], p.shape)
        for i, values in enumerate((counted, p, y)):
            sums = np.bincount(keys, weights=values.ravel(), minlength=len(self.bins) * RELIABILITY_BINS)
            self.bins[:, :, i] += sums.reshape(len(self.bins), RELIABILITY_BINS)

        p = np.concatenate((p, p[..., self._upward] + p[..., self._downward]), axis=2)
        y = np.concatenate((y, y[..., self._upward] | y[..., self._downward]), axis=2)
        statistics = np.empty((len(p), *self.totals.shape[1:]))
        statistics[:, _N] = known[:, :, None]
        statistics[:, _P] = p
        statistics[:, _Y] = y
        statistics[:, _P_SQUARED] = p * p
        statistics[:, _SQUARED_ERROR] = (p - y) ** 2
        given = np.clip(np.where(y, p, 1.0 - p), LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
        statistics[:, _LOG_LOSS] = -np.log(given) * known[:, :, None]

        # One matrix product sums the rows of every level of every dimension; levels that do not occur have no row.
        flat = np.stack([self._spans[name].start + labels[name] for name in self._spans])
        present, position = np.unique(flat, return_inverse=True)
        membership = np.zeros((len(present), len(p)))
        membership[position.reshape(flat.shape), np.arange(len(p))] = 1.0
        self.totals[present] += (membership @ statistics.reshape(len(p), -1)).reshape(-1, *self.totals.shape[1:])


@dataclass(frozen=True)
class Slice:
    """Scores of the `n` cases of one level: means over these cases, probabilities as fractions.

    `observed_frequency`: mean outcome. `brier`: mean (p - y)^2 (Brier 1950). `log_loss`: mean -ln of the probability of
    the outcome, clipped to 1e-6 .. 1 - 1e-6. `calibration`: mean p - mean y. `sharpness`: variance of p.
    """

    dimension: str
    level: str | int
    n: int
    mean_probability: float
    observed_frequency: float
    brier: float
    log_loss: float
    calibration: float
    sharpness: float


@dataclass(frozen=True)
class BrierDecomposition:
    """Decomposition of the Brier score: brier = reliability - resolution + uncertainty + within_bin.

    `reliability`: mean over cases of (bin's mean p - bin's mean y)^2, 0 is best. `resolution`: of (bin's mean y -
    mean y)^2. `uncertainty`: mean y (1 - mean y) (Murphy 1973). `within_bin`: variance of p within bins minus twice
    its covariance with y (Stephenson, Coelho and Jolliffe 2008).
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Mean forecast and observed frequency of the `n` cases in one bin of the forecast, as fractions."""

    n: int
    mean_probability: float
    observed_frequency: float


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


def merge(tallies: Sequence[Tally]) -> Tally:
    """Merge the tallies of one model's folds. Raises ValueError for different grids."""
    merged = Tally(tallies[0].grid)
    for tally in tallies:
        _require_same_grid(merged, tally)
        merged.totals += tally.totals
        merged.bins += tally.bins
    return merged


def pooled(tally: Tally) -> Slice:
    """Scores over all one-sided cases. Raises ValueError without cases."""
    return _slice("all", "all", _by_week(tally).sum(axis=(0, 2, 3)))


def slices(tally: Tally, dimension: str) -> list[Slice]:
    """Scores by level of a row dimension, of "ttc_minutes", or of "move_bps" (|move|, cases of both sides).

    Levels without cases are omitted. Raises ValueError without cases.
    """
    by_week = _by_week(tally)
    levels: Sequence[int]
    if dimension == TTC:
        levels = tally.grid.ttcs_minutes
        sums = by_week.sum(axis=(0, 3)).T
    elif dimension == MOVE:
        levels = tally.grid.sizes_bps
        by_move = by_week.sum(axis=(0, 2))
        sizes = np.abs(tally.grid.moves_bps)
        sums = np.stack([by_move[:, sizes == size].sum(axis=1) for size in levels])
    else:
        sums = tally.by_level(dimension).sum(axis=(2, 3))
        levels = range(len(sums))
    return _slices(dimension, levels, sums)


def two_sided_slices(tally: Tally, dimension: str, ttc_minutes: int, move_bps: int) -> list[Slice]:
    """Scores of the event |move| >= `move_bps` after `ttc_minutes`, by level of a row dimension.

    The forecast is the sum of both sides' probabilities (above 1 if they are inconsistent), and `n` counts base rows.
    Levels without cases are omitted. Raises ValueError without cases, and for a TTC or move that the grid lacks.
    """
    _by_week(tally)
    grid = tally.grid
    if ttc_minutes not in grid.ttcs_minutes or move_bps not in grid.two_sided_bps:
        expected = f"{TTC} of {grid.ttcs_minutes} and two-sided moves of {grid.two_sided_bps}"
        raise ValueError(f"no cell of {ttc_minutes} minutes and +-{move_bps} bps, expected {expected}")
    ttc, move = grid.ttcs_minutes.index(ttc_minutes), grid.two_sided_bps.index(move_bps)
    sums = tally.by_level(dimension, two_sided=True)[:, :, ttc, move]
    return _slices(dimension, range(len(sums)), sums)


def reliability(tally: Tally, band: int | None = None) -> list[ReliabilityBin]:
    """Reliability in 20 equal bins of p, for one volatility band or (None) for all cases.

    Empty bins are omitted. Raises ValueError without cases.
    """
    _by_week(tally)
    sums = tally.bins.sum(axis=0) if band is None else tally.bins[band]
    return [ReliabilityBin(int(n), p / n, y / n) for n, p, y in sums.tolist() if n]


def brier_decomposition(tally: Tally) -> BrierDecomposition:
    """Decompose the Brier score of all one-sided cases over the 20 bins of p. Raises ValueError without cases."""
    total = pooled(tally)
    n, p, y = tally.bins.sum(axis=0).T
    filled = n > 0
    share, p, y = n[filled] / total.n, p[filled] / n[filled], y[filled] / n[filled]
    reliability_term = float(share @ (p - y) ** 2)
    resolution_term = float(share @ (y - total.observed_frequency) ** 2)
    uncertainty = total.observed_frequency * (1.0 - total.observed_frequency)
    within_bin = total.brier - (reliability_term - resolution_term + uncertainty)
    return BrierDecomposition(reliability_term, resolution_term, uncertainty, within_bin)


def brier_difference(model: Tally, reference: Tally, *, resamples: int = 2000, seed: int = 1) -> Interval:
    """Brier score of the model minus that of the reference, with its 95 % interval; below 0 the model is better.

    The interval is the percentile interval (Efron and Tibshirani 1993) of a block bootstrap: `resamples` paired draws,
    with replacement, of the 7-day blocks that have cases, because cases of one week are far from independent. Raises
    ValueError for different grids or cases, and for fewer than 2 weeks.
    """
    n, errors, reference_errors = _paired_weeks(model, reference)
    draws = _draw_weeks(len(n), resamples, seed)
    excess = errors - reference_errors
    return _interval(excess.sum() / n.sum(), excess[draws].sum(axis=1) / n[draws].sum(axis=1))


def skill_interval(model: Tally, reference: Tally, *, resamples: int = 2000, seed: int = 1) -> Interval:
    """Brier skill score 1 - brier / brier of the reference, with its 95 % interval: 1 is perfect, below 0 is worse.

    Draws and errors as in `brier_difference`; a ValueError also for a reference without error.
    """
    _, errors, reference_errors = _paired_weeks(model, reference)
    draws = _draw_weeks(len(errors), resamples, seed)
    return _interval(_skill(errors, reference_errors), _skill(errors[draws], reference_errors[draws]))


def _by_week(tally: Tally) -> Floats:
    """One-sided sums by week. Raises ValueError when the tally is empty."""
    sums = tally.by_level(WEEK)
    if not sums[:, _N].any():
        raise ValueError("no cases in the tally, expected at least 1")
    return sums


def _slice(dimension: str, level: str | int, sums: Floats) -> Slice:
    n, *totals = sums.tolist()
    mean_p, mean_y, p_squared, brier, log_loss = (total / n for total in totals)
    sharpness = max(p_squared - mean_p**2, 0.0)  # rounding gives -1e-17 for constant p
    return Slice(dimension, level, int(n), mean_p, mean_y, brier, log_loss, mean_p - mean_y, sharpness)


def _slices(dimension: str, levels: Sequence[int], sums: Floats) -> list[Slice]:
    return [_slice(dimension, level, row) for level, row in zip(levels, sums, strict=True) if row[_N]]


def _require_same_grid(one: Tally, other: Tally) -> None:
    if one.grid != other.grid:
        raise ValueError(f"tallies of different grids: {other.grid}, expected {one.grid}")


def _paired_weeks(model: Tally, other: Tally) -> tuple[Floats, Floats, Floats]:
    """Cases and both tallies' summed squared errors: float64[weeks with cases] each."""
    _require_same_grid(model, other)
    of_model, of_other = _by_week(model), _by_week(other)
    if not np.array_equal(of_model[:, [_N, _Y]], of_other[:, [_N, _Y]]):
        counts = [int(sums[:, _N].sum()) for sums in (of_model, of_other)]
        raise ValueError(f"tallies of different cases ({counts}), expected the same cases")
    n = of_model[:, _N].sum(axis=(1, 2))
    filled = n > 0
    errors, other_errors = (sums[filled, _SQUARED_ERROR].sum(axis=(1, 2)) for sums in (of_model, of_other))
    return n[filled], errors, other_errors


def _draw_weeks(weeks: int, resamples: int, seed: int) -> Ints:
    if weeks < 2:
        raise ValueError(f"cases of {weeks} week, expected 2 or more for an interval")
    return np.random.default_rng(seed).integers(weeks, size=(resamples, weeks))


def _skill(errors: Floats, reference_errors: Floats) -> Floats:
    """Brier skill score; weeks are on the last axis."""
    reference_error = reference_errors.sum(axis=-1)
    if not np.all(reference_error):
        raise ValueError("the reference's Brier score is 0, expected above 0: skill is undefined")
    return np.asarray(1.0 - errors.sum(axis=-1) / reference_error)


def _interval(estimate: Floats, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Interval(float(estimate), low, high)
