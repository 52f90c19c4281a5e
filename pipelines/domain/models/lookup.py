"""The lookup: every table precomputed at each (TTC, axis) node, in hundredths of a percent.

One row per (TTC, bucket) holds prob_within for all nodes, so two rows answer a whole strike ladder.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import Profile
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.interpolation import (
    clip_before_close,
    interpolate_beyond,
    linear_weights,
    resolve_at_close,
)
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


@dataclass(frozen=True)
class Reading:
    """prob_beyond in percent for a ladder of strikes; NaN without data.

    `beyond`: float64[k]; `clamped`: bool[k], the strike or the TTC lies outside the table; `n_eff`: the smaller of the
    rows read; `independent`: float64[k], independent outcomes behind each, NaN where unknown and at the close.
    """

    beyond: Floats
    clamped: npt.NDArray[np.bool_]
    n_eff: float
    independent: Floats


def read_ladder(
    rows: Mapping[int, LookupRow],
    axes: LookupAxes,
    ttc_seconds: float,
    positions: Floats,
    upward: npt.NDArray[np.bool_],
) -> Reading:
    """Bilinear interpolation of the lookup for many strikes at one TTC.

    `rows`: by TTC, holding `axes.nodes_around(ttc_seconds)`; `positions`: float64[k], >= 0, of the strikes on the axis
    at this TTC (`Rule.positions`); `upward`: bool[k], the strike is above the price. Equals the tables within rounding,
    also below 60 seconds, where `positions` already reflect the shorter time.
    """
    low_node, high_node = axes.nodes_around(ttc_seconds)
    columns = linear_weights(axes.nodes, positions)
    share = (ttc_seconds - low_node) / (high_node - low_node) if high_node > low_node else 0.0

    def within(row: LookupRow) -> Floats:
        if row.within_positive is None or row.within_negative is None:
            return np.full(len(positions), np.nan)
        low = np.where(upward, row.within_positive[columns.lower], row.within_negative[columns.lower])
        high = np.where(upward, row.within_positive[columns.upper], row.within_negative[columns.upper])
        return columns.between(low / 100.0, high / 100.0)

    low, high = rows[low_node], rows[high_node]
    beyond = 100.0 - (within(low) * (1.0 - share) + within(high) * share)
    beyond = resolve_at_close(beyond, ttc_seconds, positions, axes.profile)
    outside = (positions > axes.axis_max) | (ttc_seconds > axes.ttc_max_seconds)
    resolved = ttc_seconds <= 0.0 and axes.profile is Profile.SOUND
    independent = (_independent(row, axes, positions, upward) for row in (low, high))
    return Reading(
        clip_before_close(beyond, ttc_seconds, axes.profile),
        np.zeros_like(outside) if resolved else outside,
        min(low.n_eff, high.n_eff),
        np.full(len(positions), np.nan) if resolved else np.minimum(*independent),
    )


def _independent(row: LookupRow, axes: LookupAxes, positions: Floats, upward: npt.NDArray[np.bool_]) -> Floats:
    if row.independent_positive is None or row.independent_negative is None or axes.uncertainty_step is None:
        return np.full(len(positions), np.nan)
    nodes = axes.uncertainty_step * np.arange(len(row.independent_positive))
    sides = (np.interp(positions, nodes, side) for side in (row.independent_positive, row.independent_negative))
    return np.where(upward, *sides)
