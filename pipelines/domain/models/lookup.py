"""The lookup: every table precomputed at each (TTC, axis) node, in hundredths of a percent.

One row per (TTC, bucket) holds prob_within for all nodes, so two rows answer a whole strike ladder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import Profile
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.interpolation import interpolate_beyond, linear_weights
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats

Hundredths = npt.NDArray[np.int16]
#: Means "no data" in an array of hundredths; stored as a NULL array.
MISSING = -1


class AxisKind(StrEnum):
    """Unit of a lookup's axis."""

    MOVE_BPS = "move_bps"
    #: Hundredths of asinh(2 z), z the log return over sigma_t sqrt(t).
    STANDARDISED_MOVE = "standardised_move"


@dataclass(frozen=True)
class LookupAxes:
    """Nodes and buckets of a lookup. `axis_step`, `axis_max` and `uncertainty_step`: in the unit of the axis."""

    profile: Profile
    ttc_step_seconds: int
    ttc_max_seconds: int
    axis_step: int
    axis_max: int
    axis: AxisKind = AxisKind.MOVE_BPS
    uncertainty_step: int | None = None
    buckets: tuple[int, ...] = ()

    @property
    def ttcs_seconds(self) -> range:
        """TTC nodes."""
        return range(0, self.ttc_max_seconds + 1, self.ttc_step_seconds)

    @property
    def nodes(self) -> range:
        """Axis nodes."""
        return range(0, self.axis_max + 1, self.axis_step)

    @property
    def rows(self) -> int:
        """Rows of a full lookup: one per (TTC, bucket)."""
        return len(self.ttcs_seconds) * len(self.buckets)

    @property
    def cells(self) -> int:
        """Cells of a full lookup: 8,840,181 for the momentum model's defaults."""
        return self.rows * len(self.nodes)

    def nodes_around(self, ttc_seconds: float) -> tuple[int, int]:
        """The TTC nodes to read for an answer at `ttc_seconds`; below 60 s both are the 60-second row."""
        ttc = min(max(ttc_seconds, SECONDS_PER_MINUTE), self.ttc_max_seconds)
        lower = int(ttc // self.ttc_step_seconds) * self.ttc_step_seconds
        return lower, lower if ttc == lower else lower + self.ttc_step_seconds


@dataclass(frozen=True)
class LookupBlock:
    """The lookup of one bucket.

    `within_positive`, `within_negative`: int16[TTC nodes, axis nodes], prob_within in hundredths of a percent, MISSING
    throughout a row whose table has no data. `n_eff`: float64[TTC nodes], the smaller value of the two horizons around
    a node; `independent_positive`, `independent_negative`: float64[TTC nodes, uncertainty nodes], likewise of the
    independent outcomes, None where unknown.
    """

    bucket: int
    within_positive: Hundredths
    within_negative: Hundredths
    n_eff: Floats
    independent_positive: Floats | None = None
    independent_negative: Floats | None = None

    @property
    def has_data(self) -> npt.NDArray[np.bool_]:
        """bool[TTC nodes]: the row holds probabilities."""
        return np.not_equal(self.within_positive[:, 0], MISSING)


def to_hundredths(within_percent: Floats) -> Hundredths:
    """Percent to hundredths of a percent, rounded half to even; NaN becomes MISSING."""
    rounded = np.rint(within_percent * 100.0)
    return np.where(np.isnan(rounded), MISSING, rounded).astype(np.int16)


def build_lookup_block(fingerprints: FingerprintSet, bucket: int, axes: LookupAxes) -> LookupBlock:
    """The lookup of one bucket, all MISSING when the set has no fingerprint of it."""
    ttcs = np.array(axes.ttcs_seconds, dtype=np.float64)
    moves = np.array(axes.nodes, dtype=np.float64)
    try:
        table = fingerprints.index(bucket)
    except KeyError:
        empty = np.full((len(ttcs), len(moves)), MISSING, dtype=np.int16)
        return LookupBlock(bucket, empty, empty, np.zeros(len(ttcs)))
    # Only rows below a minute need weights for each cell, so they are computed separately.
    parts = [part for part in np.split(ttcs, [np.searchsorted(ttcs, SECONDS_PER_MINUTE)]) if len(part)]
    positive, negative = (
        100.0
        - np.concatenate(
            [
                interpolate_beyond(side[table], fingerprints.nodes, part[:, None], moves[None, :], axes.profile)
                for part in parts
            ]
        )
        for side in (fingerprints.positive, fingerprints.negative)
    )
    rows = linear_weights(np.arange(1, fingerprints.horizons + 1) * SECONDS_PER_MINUTE, ttcs)

    def smaller(values: Floats) -> Floats:
        """values[horizons, ...] at each TTC node: the smaller of the two horizons around it."""
        share = rows.share.reshape(-1, *[1] * (values.ndim - 1))
        lower, upper = values[rows.lower], values[rows.upper]
        return np.where(share == 0.0, lower, np.where(share == 1.0, upper, np.minimum(lower, upper)))

    uncertainty = fingerprints.uncertainty
    sides = (None, None) if uncertainty is None else (uncertainty.positive[table], uncertainty.negative[table])
    return LookupBlock(
        bucket,
        to_hundredths(positive),
        to_hundredths(negative),
        smaller(fingerprints.n_eff[table]),
        *(None if side is None else smaller(side) for side in sides),
    )


def build_lookup(fingerprints: FingerprintSet, axes: LookupAxes) -> Iterator[LookupBlock]:
    """The lookup of each bucket, one at a time to limit memory."""
    for bucket in axes.buckets:
        yield build_lookup_block(fingerprints, bucket, axes)


@dataclass(frozen=True)
class LookupRow:
    """One stored row. `within_*`: int16[axis nodes] in hundredths of a percent, None without data; `independent_*`:
    float32[uncertainty nodes], None where unknown.
    """

    ttc_seconds: int
    within_positive: Hundredths | None
    within_negative: Hundredths | None
    n_eff: float
    independent_positive: npt.NDArray[np.float32] | None = None
    independent_negative: npt.NDArray[np.float32] | None = None
