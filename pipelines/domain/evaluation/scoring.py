"""How good probability forecasts are: proper scores, calibration, and intervals that respect dependence in time.

A case is (base row, TTC, signed move): a forecast probability and whether it happened. Years of cases do not fit in
memory, so a `Tally` keeps sums only, and every figure comes out of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.domain.prices.bars import Floats, Ints

Bools = npt.NDArray[np.bool_]

DEFAULT_TTCS_MINUTES = (1, 2, 5, 10, 15, 30, 45, 60)
DEFAULT_MOVES_BPS = (5, 10, 20, 30, 50, 75, 100, 150, -5, -10, -20, -30, -50, -75, -100, -150)
#: Dimensions of the cases themselves; all others are labels of base rows.
TTC = "ttc_minutes"
MOVE = "move_bps"
WEEK = "week"
VOLATILITY_BAND = "volatility_band"
#: One forecast of 0 for what then happens costs 13.8, not infinity.
LOG_LOSS_CLIP = 1e-6
RELIABILITY_BINS = 20
#: Rows summed at a time, a day of 5-minute rows: 8 TTCs x 24 events x 6 statistics are 2.7 MB. A year of them (13.5
#: million cases, 5 dimensions of 152 levels) took 1.6 s on 2 cores; 2.0 s with 144 rows, 1.6 s with 512.
BLOCK_ROWS = 288
#: Axis 1 of a tally's sums.
STATISTICS = ("n", "p", "y", "p_squared", "squared_error", "log_loss")
_N, _P, _Y, _P_SQUARED, _SQUARED_ERROR, _LOG_LOSS = range(len(STATISTICS))


@dataclass(frozen=True)
class ScoreGrid:
    """Which cases a tally holds, and by which labels of the base row it can be cut.

    `ttcs_minutes`: [t]. `moves_bps`: [k], signed: h > 0 means P(move >= h), h < 0 means P(move <= h).
    `levels`: row dimension -> number of levels, labelled 0 .. levels - 1; "week" (7-day blocks, counted from one start
    for all tallies that are compared or merged) must be among them. Raises ValueError when a value cannot be meant.
    """

    ttcs_minutes: tuple[int, ...] = DEFAULT_TTCS_MINUTES
    moves_bps: tuple[int, ...] = DEFAULT_MOVES_BPS
    levels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        if not self.ttcs_minutes or len(set(self.ttcs_minutes)) < len(self.ttcs_minutes) or min(self.ttcs_minutes) < 1:
            problems.append(f"ttcs_minutes must be distinct and 1 or more, not {self.ttcs_minutes}")
        if not self.moves_bps or len(set(self.moves_bps)) < len(self.moves_bps) or 0 in self.moves_bps:
            problems.append(f"moves_bps must be distinct and not 0, not {self.moves_bps}")
        if WEEK not in self.levels:
            problems.append(f"levels must contain {WEEK!r}, not only {sorted(self.levels)}")
        if clash := {TTC, MOVE} & set(self.levels):
            problems.append(f"levels must not contain {sorted(clash)}, which are dimensions of the cases")
        if empty := {name: count for name, count in self.levels.items() if count < 1}:
            problems.append(f"levels must be 1 or more, not {empty}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def sizes_bps(self) -> tuple[int, ...]:
        """|move| of every move, rising."""
        return tuple(sorted({abs(move) for move in self.moves_bps}))

    @property
    def two_sided_bps(self) -> tuple[int, ...]:
        """|move| of the moves that are there with both signs, rising."""
        return tuple(size for size in self.sizes_bps if {size, -size} <= set(self.moves_bps))


class Tally:
    """Sums over the cases of one model; mutable.

    `totals`: float64[l, stats, t, k + b], `l` the levels of all row dimensions (by name) one after the other, `stats`
    as in `STATISTICS`, `b` the events |move| >= h of `two_sided_bps`, events of their own (p = sum of both sides).
    `bins`: float64[bands, 20, 3], sums of 1, p, y over the one-sided cases, by volatility band (one band when the grid
    has no such dimension) and by bin of p: [0, 0.05), [0.05, 0.10), ..., [0.95, 1].
    """

    def __init__(self, grid: ScoreGrid) -> None:
        self.grid = grid
        names = sorted(grid.levels)  # equal grids may list them in different orders, and their sums are added
        edges = np.cumsum([0, *(grid.levels[name] for name in names)]).tolist()
        self._spans = {name: slice(*edges[i : i + 2]) for i, name in enumerate(names)}
        self._upward = [grid.moves_bps.index(size) for size in grid.two_sided_bps]
        self._downward = [grid.moves_bps.index(-size) for size in grid.two_sided_bps]
        events = len(grid.moves_bps) + len(grid.two_sided_bps)
        self.totals: Floats = np.zeros((edges[-1], len(STATISTICS), len(grid.ttcs_minutes), events))
        self.bins: Floats = np.zeros((grid.levels.get(VOLATILITY_BAND, 1), RELIABILITY_BINS, 3))

    def add(self, probabilities: Floats, happened: Bools, known: Bools, labels: Mapping[str, Ints]) -> None:
        """Count a chunk of cases in.

        `probabilities`: float64[n, t, k], fractions. `happened`: bool[n, t, k]. `known`: bool[n, t]; where False the
        case does not count, and `probabilities` may be anything. `labels`: int64[n] for each row dimension; where no
        case of a row counts, its labels may be anything. Raises ValueError, having counted nothing, on shapes, names,
        probabilities or labels that do not fit.
        """
        self._require_shapes(probabilities, happened, known, labels)
        rows = np.flatnonzero(known.any(axis=1))
        known = known[rows]
        p = np.where(known[:, :, None], probabilities[rows], 0.0).astype(np.float64, copy=False)
        y = happened[rows] & known[:, :, None]
        kept = {name: values[rows] for name, values in labels.items()}
        if len(rows):
            self._require_values(p, kept)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            of_block = {name: values[block].astype(np.int64) for name, values in kept.items()}
            self._add_block(p[block], y[block], known[block], of_block)

    def by_level(self, dimension: str, *, two_sided: bool = False) -> Floats:
        """Sums of a row dimension: float64[levels, stats, t, k], or [.., b]; raises ValueError on an unknown name."""
        if dimension not in self._spans:
            raise ValueError(f"no row dimension {dimension!r}, expected one of {sorted(self._spans)}")
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

        # One matrix product sums over the rows of every level of every dimension; only levels that occur get a row.
        flat = np.stack([self._spans[name].start + labels[name] for name in self._spans])
        present, position = np.unique(flat, return_inverse=True)
        membership = np.zeros((len(present), len(p)))
        membership[position.reshape(flat.shape), np.arange(len(p))] = 1.0
        self.totals[present] += (membership @ statistics.reshape(len(p), -1)).reshape(-1, *self.totals.shape[1:])

    def _require_shapes(self, p: Floats, y: Bools, known: Bools, labels: Mapping[str, Ints]) -> None:
        cases = (len(p) if p.ndim else 0, len(self.grid.ttcs_minutes), len(self.grid.moves_bps))
        shapes = [("probabilities", p.shape, cases), ("happened", y.shape, cases), ("known", known.shape, cases[:2])]
        shapes += [(f"labels[{name!r}]", np.shape(values), cases[:1]) for name, values in labels.items()]
        problems = [f"{name} has shape {found}, expected {wanted}" for name, found, wanted in shapes if found != wanted]
        if y.dtype.kind != "b" or known.dtype.kind != "b":
            problems.append(f"happened and known are {y.dtype} and {known.dtype}, expected bool")
        if set(labels) != set(self.grid.levels):
            problems.append(f"labels are {sorted(labels)}, expected {sorted(self.grid.levels)}")
        if problems:
            raise ValueError("; ".join(problems))

    def _require_values(self, p: Floats, labels: Mapping[str, Ints]) -> None:
        problems = []
        low, high = float(p.min()), float(p.max())
        if not (low >= 0.0 and high <= 1.0):  # false on NaN, too
            problems.append(f"probabilities of known cases lie in {low}..{high}, expected fractions 0..1")
        for name, values in labels.items():
            levels = self.grid.levels[name]
            if values.dtype.kind not in "iu":
                problems.append(f"labels[{name!r}] is {values.dtype}, expected whole numbers")
            elif values.min() < 0 or values.max() >= levels:
                problems.append(f"labels[{name!r}] are {values.min()}..{values.max()}, expected 0..{levels - 1}")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True)
class Slice:
    """Scores of the `n` cases of one level; all figures are means over these cases, probabilities as fractions.

    `brier`: mean (p - y)^2 (Brier 1950). `log_loss`: mean -ln of the probability given to what happened, clipped to
    1e-6 .. 1 - 1e-6. `calibration`: mean p - mean y (calibration in the large). `sharpness`: variance of p.
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
    """Parts of the Brier score: brier = reliability - resolution + uncertainty + within_bin.

    `reliability`: mean over cases of (bin's mean p - bin's mean y)^2, 0 is best. `resolution`: of (bin's mean y -
    mean y)^2. `uncertainty`: mean y (1 - mean y) (Murphy 1973). `within_bin`: what the bins hide, the variance of p
    within bins less twice its covariance with y (Stephenson, Coelho and Jolliffe 2008).
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float


@dataclass(frozen=True)
class ReliabilityBin:
    """`n` cases whose forecasts fell into one bin: their mean forecast and the share that happened, as fractions."""

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
    """One tally of the cases of all (folds of one model); raises ValueError on none, and on different grids."""
    if not tallies:
        raise ValueError("no tallies to merge, expected at least 1")
    merged = Tally(tallies[0].grid)
    for tally in tallies:
        _require_same_grid(merged, tally)
        merged.totals += tally.totals
        merged.bins += tally.bins
    return merged


def pooled(tally: Tally) -> Slice:
    """Scores over all one-sided cases; raises ValueError when there are none."""
    return _slice("all", "all", _by_week(tally).sum(axis=(0, 2, 3)))


def slices(tally: Tally, dimension: str) -> list[Slice]:
    """Scores per level of a row dimension, of "ttc_minutes", or of "move_bps" (|move|, both sides' cases together).

    Levels without cases are left out. Raises ValueError on an unknown dimension, and when there are no cases at all.
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
    """Scores of the event |move| >= `move_bps` after `ttc_minutes`, per level of a row dimension.

    The forecast is the sum of both sides' probabilities (above 1 if they contradict each other), `n` counts base rows,
    and every figure is that of the two-sided event. Levels without cases are left out. Raises ValueError on a dimension
    or cell that the grid lacks, and when the tally has no cases at all.
    """
    _by_week(tally)
    grid = tally.grid
    if ttc_minutes not in grid.ttcs_minutes or move_bps not in grid.two_sided_bps:
        wanted = f"{TTC} of {grid.ttcs_minutes} and two-sided moves of {grid.two_sided_bps}"
        raise ValueError(f"no cell of {ttc_minutes} minutes and +-{move_bps} bps, expected {wanted}")
    ttc, move = grid.ttcs_minutes.index(ttc_minutes), grid.two_sided_bps.index(move_bps)
    sums = tally.by_level(dimension, two_sided=True)[:, :, ttc, move]
    return _slices(dimension, range(len(sums)), sums)


def reliability(tally: Tally, band: int | None = None) -> list[ReliabilityBin]:
    """Forecast against outcome in 20 equal bins of p, of one volatility band or (None) of all cases.

    Empty bins are left out. Raises ValueError on a band that the grid lacks, and when the tally has no cases at all.
    """
    _by_week(tally)
    bands = tally.grid.levels.get(VOLATILITY_BAND, 0)
    if band is not None and not 0 <= band < bands:
        raise ValueError(f"no volatility band {band}; the grid has {bands}, counted from 0")
    sums = tally.bins.sum(axis=0) if band is None else tally.bins[band]
    return [ReliabilityBin(int(n), p / n, y / n) for n, p, y in sums.tolist() if n]


def brier_decomposition(tally: Tally) -> BrierDecomposition:
    """The Brier score of all one-sided cases, taken apart over the 20 bins of p; raises ValueError without cases."""
    total = pooled(tally)
    n, p, y = tally.bins.sum(axis=0).T
    filled = n > 0
    share, p, y = n[filled] / total.n, p[filled] / n[filled], y[filled] / n[filled]
    reliable = float(share @ (p - y) ** 2)
    resolved = float(share @ (y - total.observed_frequency) ** 2)
    uncertain = total.observed_frequency * (1.0 - total.observed_frequency)
    return BrierDecomposition(reliable, resolved, uncertain, total.brier - (reliable - resolved + uncertain))


def skill(tally: Tally, reference: Tally) -> float:
    """Brier skill score 1 - brier / brier of the reference, on the same cases: 1 is perfect, below 0 is worse.

    Raises ValueError on different grids or cases, no cases, and a reference without error.
    """
    _, errors, reference_errors = _paired_weeks(tally, reference)
    return float(_skill(errors, reference_errors))


def brier_difference(model: Tally, yardstick: Tally, *, resamples: int = 2000, seed: int = 1) -> Interval:
    """Brier score of the model less that of the yardstick (below 0: the model is better), with its 95 % interval.

    The interval is the percentile interval (Efron and Tibshirani 1993) over `resamples` draws, with replacement, of the
    7-day blocks that have cases; cases of one hour, and hours of one week, are far from independent. Each draw takes
    the same weeks of both. Raises ValueError on different grids or cases, and on fewer than 2 weeks.
    """
    n, errors, yardstick_errors = _paired_weeks(model, yardstick)
    draws = _draw_weeks(len(n), resamples, seed)
    more = errors - yardstick_errors
    return _interval(more.sum() / n.sum(), more[draws].sum(axis=1) / n[draws].sum(axis=1))


def skill_interval(model: Tally, reference: Tally, *, resamples: int = 2000, seed: int = 1) -> Interval:
    """Brier skill score with its 95 % interval, by the draws of `brier_difference`; raises as this and `skill`."""
    _, errors, reference_errors = _paired_weeks(model, reference)
    draws = _draw_weeks(len(errors), resamples, seed)
    return _interval(_skill(errors, reference_errors), _skill(errors[draws], reference_errors[draws]))


def _by_week(tally: Tally) -> Floats:
    """One-sided sums by week, from which everything pooled is taken; raises ValueError when the tally is empty."""
    sums = tally.by_level(WEEK)
    if not sums[:, _N].any():
        raise ValueError("no cases in the tally, expected at least 1")
    return sums


def _slice(dimension: str, level: str | int, sums: Floats) -> Slice:
    n, p, y, p_squared, squared_error, log_loss = sums.tolist()
    mean_p, mean_y = p / n, y / n
    return Slice(
        dimension=dimension,
        level=level,
        n=int(n),
        mean_probability=mean_p,
        observed_frequency=mean_y,
        brier=squared_error / n,
        log_loss=log_loss / n,
        calibration=mean_p - mean_y,
        sharpness=max(p_squared / n - mean_p**2, 0.0),  # rounding can leave -1e-17 where p is constant
    )


def _slices(dimension: str, levels: Sequence[int], sums: Floats) -> list[Slice]:
    return [_slice(dimension, level, row) for level, row in zip(levels, sums, strict=True) if row[_N]]


def _require_same_grid(one: Tally, other: Tally) -> None:
    if one.grid != other.grid:
        raise ValueError(f"tallies of different grids: {other.grid}, expected {one.grid}")


def _paired_weeks(model: Tally, other: Tally) -> tuple[Floats, Floats, Floats]:
    """Cases, and both tallies' summed squared errors: float64[weeks that have cases] each."""
    _require_same_grid(model, other)
    of_model, of_other = _by_week(model), _by_week(other)
    if not np.array_equal(of_model[:, [_N, _Y]], of_other[:, [_N, _Y]]):
        counts = [int(sums[:, _N].sum()) for sums in (of_model, of_other)]
        raise ValueError(f"tallies of different cases ({counts}), expected the same: score both where both are known")
    n = of_model[:, _N].sum(axis=(1, 2))
    filled = n > 0
    errors, other_errors = (sums[filled, _SQUARED_ERROR].sum(axis=(1, 2)) for sums in (of_model, of_other))
    return n[filled], errors, other_errors


def _draw_weeks(weeks: int, resamples: int, seed: int) -> Ints:
    if weeks < 2:
        raise ValueError(f"cases of {weeks} week, expected 2 or more for an interval")
    return np.random.default_rng(seed).integers(weeks, size=(resamples, weeks))


def _skill(errors: Floats, reference_errors: Floats) -> Floats:
    """Brier skill score over the weeks on the last axis."""
    reference_error = reference_errors.sum(axis=-1)
    if not np.all(reference_error):
        raise ValueError("the reference's Brier score is 0, expected above 0: no skill can be told against it")
    return np.asarray(1.0 - errors.sum(axis=-1) / reference_error)


def _interval(estimate: Floats, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Interval(float(estimate), low, high)
