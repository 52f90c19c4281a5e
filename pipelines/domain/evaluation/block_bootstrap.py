"""Means of cases that are far from independent, with intervals by a bootstrap of blocks of them."""

import numpy as np

from pipelines.domain.evaluation.scoring import Interval
from pipelines.domain.prices.bars import Floats, Ints

DRAWS = 2000
#: Draws at a time: of 9,000 blocks, an hourly series' events of a year, 18 MB.
DRAWS_AT_A_TIME = 250


def block_intervals(values: Floats, blocks: Ints, weights: Floats | None = None) -> list[Interval]:
    """The mean of each column with its 95 % interval.

    `values`: float64[n, k]; `blocks`: int64[n]; `weights`: float64[n], by default 1 each. The interval is the
    percentile interval (Efron and Tibshirani 1993) of 2,000 draws of blocks with replacement, the same draws for all
    columns. Raises ValueError for fewer than 2 blocks.
    """
    _, block = np.unique(blocks, return_inverse=True)
    n = np.bincount(block, weights)
    count = len(n)
    if count < 2:
        raise ValueError(f"cases of {count} block{'' if count == 1 else 's'}, expected 2 or more for an interval")
    weighted = values if weights is None else values * weights[:, None]
    sums = np.stack([n, *(np.bincount(block, weights=column) for column in weighted.T)], axis=1)
    generator, means = np.random.default_rng(1), []
    for _ in range(0, DRAWS, DRAWS_AT_A_TIME):
        draws = generator.integers(count, size=(DRAWS_AT_A_TIME, count))
        draws += np.arange(DRAWS_AT_A_TIME)[:, None] * count
        times = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape)
        totals = times @ sums
        means.append(totals[:, 1:] / totals[:, :1])
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975), axis=0).tolist()
    means_of_all = np.average(values, axis=0, weights=weights)
    return [Interval(*one) for one in zip(means_of_all.tolist(), low, high, strict=True)]


def brier_difference(probabilities: Floats, reference: Floats, outcomes: Floats | Ints, blocks: Ints) -> Interval:
    """Brier score of probabilities minus that of the reference, with its 95 % interval; below 0 they are better.

    All [n]; see `block_intervals`.
    """
    excess = (probabilities - outcomes) ** 2 - (reference - outcomes) ** 2
    return block_intervals(excess[:, None], blocks)[0]
