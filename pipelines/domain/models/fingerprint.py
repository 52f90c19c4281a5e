"""Fingerprints: distribution of the price's move in the next 1..60 minutes, by momentum bucket.

One pass per horizon over the closes makes all 62 tables of a symbol: each base row adds one to a histogram cell
(bucket, move bin); cumulative sums over the move bins give the probabilities. Weights are constant within bands of age,
so each band is counted in whole numbers and weighted afterwards, which avoids rounding errors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import SOURCE_YEAR_WEIGHTS, ModelConfig, Profile
from pipelines.domain.models.uncertainty import BlockSums, Uncertainty, independent_outcomes
from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK, Closes, Floats, Ints
from pipelines.domain.prices.momentum import BPS_PER_UNIT, NO_BUCKET, Momentum

#: Base rows per chunk: 256 kB per array fit the cache. Five years of one symbol took 1.13 s, 1.30 s with a quarter of
#: it, 1.14 s with four times as much.
CHUNK_ROWS = 32_768


@dataclass(frozen=True)
class FingerprintSet:
    """The tables of one symbol and model: for momentum the baseline and one per momentum bucket.

    `buckets`: [f], None for the baseline, which comes first. `nodes`: [m] thresholds on the model's axis, for momentum
    moves in basis points. Horizons are 1..h minutes. `positive`, `negative`: float64[f, h, m], percent; NaN where there
    is no data. `n`: int64[f, h] base rows; `n_eff`: float64[f, h], (sum w)^2 / sum w^2. Both -1 where unknown
    (imported tables). `uncertainty`: for intervals; None where unknown.
    """

    buckets: tuple[int | None, ...]
    nodes: tuple[int, ...]
    positive: Floats
    negative: Floats
    n: Ints
    n_eff: Floats
    uncertainty: Uncertainty | None = None

    @property
    def horizons(self) -> int:
        """Number of horizons, in minutes."""
        return int(self.positive.shape[1])

    def index(self, bucket: int | None) -> int:
        """Position of a bucket's table; raises KeyError when the set lacks it."""
        try:
            return self.buckets.index(bucket)
        except ValueError:
            raise KeyError(bucket) from None


@dataclass(frozen=True)
class _WeightBand:
    start: int
    stop: int
    weight: int


def weight_bands(minutes: Ints, config: ModelConfig) -> list[_WeightBand]:
    """Consecutive rows of equal weight. `sound`: by age against the newest bar; `source`: by calendar year (UTC)."""
    if config.profile is Profile.SOURCE:
        years = minutes.astype("datetime64[m]").astype("datetime64[Y]").astype(np.int64) + 1970
        edges = [0, *(np.flatnonzero(np.diff(years)) + 1).tolist(), len(minutes)]
        weights = [SOURCE_YEAR_WEIGHTS.get(int(years[start]), 1) for start in edges[:-1]]
    else:
        oldest_first = config.age_weights[::-1]
        ages = np.array([band.max_age_days * MINUTES_PER_DAY for band in oldest_first])
        inner = np.searchsorted(minutes, minutes[-1] - ages, side="right").tolist()
        edges = [0, *inner, len(minutes)]
        weights = [config.oldest_weight, *(band.weight for band in oldest_first)]
    bands = zip(edges[:-1], edges[1:], weights, strict=True)
    return [_WeightBand(start, stop, weight) for start, stop, weight in bands if stop > start]


def compute_fingerprints(closes: Closes, momentum: Momentum, config: ModelConfig) -> FingerprintSet:
    """All fingerprints of one symbol.

    The move of base row i over t minutes is (close_{i+t} - close_i) / close_i; `pos(t, h)` is the weighted share of
    moves >= h, `neg(t, h)` of moves <= -h, both inclusive, in percent. Rows without a bar t later drop out for that t
    (`source`: a row t later). Raises ValueError when there are no bars.
    """
    if not len(closes):
        raise ValueError("no bars")
    if config.profile is Profile.SOURCE:
        grid, rows = closes.scaled, np.arange(len(closes))
    else:
        grid, rows = closes.on_grid()
    top = config.move_max_bps // config.move_step_bps
    groups = len(config.buckets) + 1
    bins = 2 * top + 3
    weighted = np.zeros((config.horizon_minutes, groups, bins), dtype=np.int64)
    n = np.zeros((groups, config.horizon_minutes), dtype=np.int64)
    w_sum, w_square_sum = np.zeros_like(n), np.zeros_like(n)
    group = np.where(momentum.buckets == NO_BUCKET, groups - 1, momentum.buckets.astype(np.int64) + config.bucket_limit)

    def with_baseline(values: Ints, axis: int) -> Ints:
        """`values` with the sum over all groups first, and without the group of rows that have no bucket."""
        return np.concatenate(
            [values.sum(axis=axis, keepdims=True), np.delete(values, groups - 1, axis=axis)], axis=axis
        )

    every = config.uncertainty_step_bps // config.move_step_bps
    sides = BlockSums(), BlockSums()
    for band in weight_bands(closes.minutes, config):
        for start, stop in _weeks(closes.minutes, band.start, band.stop):
            counts = _count_moves(grid, rows[start:stop], group[start:stop], groups, config)
            weighted += band.weight * counts
            rows_counted = counts.sum(axis=2).T
            n += rows_counted
            w_sum += band.weight * rows_counted
            w_square_sum += band.weight**2 * rows_counted
            for side, hits in zip(sides, tails(counts, top, every), strict=True):
                side.add(with_baseline(hits, 1), with_baseline(rows_counted.T, 1)[..., None], band.weight)

    weighted = with_baseline(weighted, 1).swapaxes(0, 1)
    n, w_sum, w_square_sum = (with_baseline(values, 0) for values in (n, w_sum, w_square_sum))
    at_least, at_most = tails(weighted, top)
    kept = np.array(config.moves_bps) // config.move_step_bps
    with np.errstate(invalid="ignore", divide="ignore"):
        n_eff = np.where(n > 0, w_sum.astype(np.float64) ** 2 / w_square_sum, 0.0)
        shares = at_least / w_sum[..., None], at_most / w_sum[..., None]
    positive, negative = (100.0 * share[..., kept] for share in shares)
    total = w_sum[..., None].astype(np.float64).swapaxes(0, 1)
    independent = []
    for side, share in zip(sides, shares, strict=True):
        coarse = share[..., ::every]
        variance = side.variance(coarse.swapaxes(0, 1), total).swapaxes(0, 1)
        independent.append(independent_outcomes(coarse, variance, n_eff[..., None]))
    uncertainty = Uncertainty(config.uncertainty_step_bps, *independent)
    if config.profile is Profile.SOURCE:
        positive, negative = (np.where(np.isnan(side), 0.0, side).round(2) for side in (positive, negative))
    return FingerprintSet((None, *config.buckets), config.moves_bps, positive, negative, n, n_eff, uncertainty)


def _weeks(minutes: Ints, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Rows start..stop-1, split at the start of each week."""
    turns = np.flatnonzero(np.diff(minutes[start:stop] // MINUTES_PER_WEEK)) + 1 + start
    return pairwise([start, *turns.tolist(), stop])


def _count_moves(grid: Floats, rows: Ints, group: Ints, groups: int, config: ModelConfig) -> Ints:
    """Histogram int64[h, groups, bins] of the moves that start at `rows` of the grid.

    Bins along the last axis: 0..top fall by at least (top - bin) steps, top + 1 does not move, above that it rises by
    (bin - top - 2) whole steps or more; the outermost bins are open-ended.
    """
    top = config.move_max_bps // config.move_step_bps
    bins = 2 * top + 3
    counts = np.zeros((config.horizon_minutes, groups * bins), dtype=np.int64)
    padded = np.concatenate([grid, np.full(config.horizon_minutes, np.nan)])
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS]
        base = _ahead(padded, chunk, 0)
        divisor = base * config.move_step_bps
        offset = (group[start : start + CHUNK_ROWS] * bins + top + 1).astype(np.float64)
        has_gap = bool(np.isnan(padded[chunk[0] : chunk[-1] + config.horizon_minutes + 1]).any())
        for horizon in range(1, config.horizon_minutes + 1):
            # Both operands are whole numbers, so a whole quotient is exact and no other rounds up to one while
            # quotient x divisor < 2**53: an exact tie counts as a tie.
            steps = (_ahead(padded, chunk, horizon) - base) * BPS_PER_UNIT
            steps /= divisor
            counts[horizon - 1] += histogram(steps, offset, top, groups * bins, has_gap=has_gap)
    return counts.reshape(config.horizon_minutes, groups, bins)


def histogram(steps: Floats, offset: Floats | Ints, top: int, cells: int, *, has_gap: bool = True) -> Ints:
    """Number of moves in each of `cells`, NaN left out. Overwrites `steps`, the moves in steps.

    `offset`: the cell of no move in the bins of each move's group; see `_count_moves`. `has_gap`: moves may be NaN.
    """
    place = np.sign(steps)
    np.trunc(steps, out=steps)
    np.clip(steps, -top, top, out=steps)
    place += steps
    place += offset
    if has_gap:
        place = place[~np.isnan(place)]
    return np.bincount(place.astype(np.intp), minlength=cells)


def _ahead(padded: Floats, rows: Ints, horizon: int) -> Floats:
    """Closes `horizon` steps after `rows`; a view in the usual case of rows without a gap."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return padded[first + horizon : last + horizon + 1]
    return padded[rows + horizon]


def tails(counts: npt.NDArray[Any], top: int, every: int = 1) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Sums of a histogram [..., 2 top + 3] over moves >= each `every`-th threshold, and over moves <= minus each.

    Both are [..., top // every + 1]. Bins: 0..top fall by at least (top - bin) steps, top + 1 does not move, above that
    rise by (bin - top - 2) or more.
    """
    flat = counts[..., top + 1]
    rising = counts[..., top + 2 :][..., ::-1].cumsum(axis=-1)[..., ::-1][..., ::every].copy()
    falling = counts[..., : top + 1].cumsum(axis=-1)[..., ::-1][..., ::every].copy()
    rising[..., 0] += flat
    falling[..., 0] += flat
    return rising, falling
