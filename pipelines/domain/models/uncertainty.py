"""Uncertainty of a probability: intervals from a bootstrap over 7-day blocks, in closed form.

Neighbouring minutes overlap and volatility clusters, so a thousand rows hold far fewer independent outcomes. The
variance of p = sum(w K) / sum(w N) when whole weeks of base rows are resampled is, to first order,
sum(w^2 (K_b - p N_b)^2) / (sum w N)^2 over the weeks b, which needs no resampling
(docs/decisions/0006-intervals-are-computed-from-weekly-sums.md; a test compares the two). What is stored is the number
of independent outcomes with the same variance, n = p (1 - p) / variance; an interval is Wilson's with that n.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.prices.bars import Floats

#: 97.5 % quantile of the normal distribution: intervals cover 95 %.
Z_95 = 1.959963984540054
#: Answers based on fewer independent outcomes are marked as `thin_evidence`.
MIN_INDEPENDENT_OUTCOMES = 30.0


@dataclass(frozen=True)
class Uncertainty:
    """Independent outcomes behind each probability.

    `step`: distance of the nodes on the model's axis; `positive`, `negative`: float64[f, h, e], NaN where unknown.
    """

    step: int
    positive: Floats
    negative: Floats


class BlockSums:
    """Running sums over blocks for the variance of p, which is known only at the end.

    Shapes are those of p; `rows` broadcasts against them.
    """

    def __init__(self) -> None:
        self.blocks = 0
        self._kk: Any = 0.0
        self._kn: Any = 0.0
        self._nn: Any = 0.0

    def add(self, hits: npt.NDArray[Any], rows: npt.NDArray[Any], weight: float) -> None:
        """Add one block: `hits` of `rows` base rows, each weighing `weight`."""
        square = weight * weight
        self._kk = self._kk + square * np.square(hits, dtype=np.float64)
        self._kn = self._kn + square * np.multiply(hits, rows, dtype=np.float64)
        self._nn = self._nn + square * np.square(rows, dtype=np.float64)
        self.blocks += 1

    def variance(self, share: Floats, total: Floats) -> Floats:
        """Variance of p = `share` under the block bootstrap; `total`: the sum of weighted rows.

        NaN where all rows lie in one block.
        """
        if self.blocks < 2:
            return np.full(share.shape, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = self._kk - 2.0 * share * self._kn + share**2 * self._nn
            variance = np.maximum(spread, 0.0) / total**2 * self.blocks / (self.blocks - 1)
        return np.where(total**2 > self._nn * (1.0 + 1e-9), variance, np.nan)


def independent_outcomes(share: Floats, variance: Floats, at_most: Floats) -> Floats:
    """p (1 - p) / variance, along the last axis (nodes), limited to `at_most` (effective rows).

    An event that never or always happened has no sample variance and takes the value of the nearest node towards 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where((variance > 0) & (share > 0) & (share < 1), share * (1.0 - share) / variance, np.nan)
    for node in range(1, found.shape[-1]):
        found[..., node] = np.where(np.isnan(found[..., node]), found[..., node - 1], found[..., node])
    return np.asarray(np.minimum(found, at_most))


def wilson_interval_pct(percent: Floats, independent: Floats) -> tuple[Floats, Floats]:
    """95 % interval of probabilities in percent: Wilson's score interval with `independent` outcomes.

    Of positive width even at 0 and 100; NaN where either is NaN. Wilson (1927).

    >>> low, high = wilson_interval_pct(np.array([50.0]), np.array([100.0]))
    >>> low.round(1), high.round(1)
    (array([40.4]), array([59.6]))
    """
    p = percent / 100.0
    with np.errstate(invalid="ignore", divide="ignore"):
        shrink = 1.0 + Z_95**2 / independent
        centre = (p + Z_95**2 / (2.0 * independent)) / shrink
        half = Z_95 / shrink * np.sqrt(p * (1.0 - p) / independent + Z_95**2 / (4.0 * independent**2))
    return 100.0 * np.maximum(centre - half, 0.0), 100.0 * np.minimum(centre + half, 1.0)
