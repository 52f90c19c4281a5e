"""The lookup: every table read at every (TTC, axis) node once, in hundredths of a percent.

One row per (TTC, bucket) holds prob_within for all nodes, so one row answers a whole strike ladder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import Profile
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.interpolation import (
    interpolate_beyond,
    served,
    settle,
    weights_on,
)
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats

Hundredths = npt.NDArray[np.int16]
#: Stands for "no data" in an array of hundredths; stored as a NULL array.
MISSING = -1


class AxisKind(StrEnum):
    """What a node of a table means."""

    MOVE_BPS = "move_bps"
    #: Hundredths of asinh(2 z), z the log return over sigma_t sqrt(t).
    STANDARDISED_MOVE = "standardised_move"


class LookupGrid(Protocol):
    """Where a lookup has its nodes, and which buckets it has."""

    @property
    def profile(self) -> Profile:
        """Which of the two ways to read below a minute."""

    @property
    def buckets(self) -> Sequence[int]:
        """Buckets, lowest first."""

    @property
    def lookup_ttcs_seconds(self) -> range:
        """TTC nodes."""

    @property
    def lookup_nodes(self) -> range:
        """Axis nodes."""


@dataclass(frozen=True)
class LookupBlock:
    """The lookup of one bucket.

    `within_positive`, `within_negative`: int16[TTC nodes, axis nodes], prob_within in hundredths of a percent, MISSING
    (in the whole row) where the table has no evidence. `n_eff`: float64[TTC nodes], of the weaker of the two
    horizons that a node lies between; `evidence_positive`, `evidence_negative`: float64[TTC nodes, evidence nodes], the
    same of the independent outcomes, None where not known.
    """

    bucket: int
    within_positive: Hundredths
    within_negative: Hundredths
    n_eff: Floats
    evidence_positive: Floats | None = None
    evidence_negative: Floats | None = None

    @property
    def has_data(self) -> npt.NDArray[np.bool_]:
        """bool[TTC nodes]: the row holds probabilities."""
        return np.not_equal(self.within_positive[:, 0], MISSING)


def to_hundredths(within_percent: Floats) -> Hundredths:
    """Percent to hundredths of a percent, rounded half to even; NaN becomes MISSING."""
    rounded = np.rint(within_percent * 100.0)
    return np.where(np.isnan(rounded), MISSING, rounded).astype(np.int16)


def build_lookup_block(fingerprints: FingerprintSet, bucket: int, config: LookupGrid) -> LookupBlock:
    """The lookup of one bucket, all MISSING when the set lacks the bucket's fingerprint."""
    ttcs = np.array(config.lookup_ttcs_seconds, dtype=np.float64)
    moves = np.array(config.lookup_nodes, dtype=np.float64)
    try:
        table = fingerprints.index(bucket)
    except KeyError:
        empty = np.full((len(ttcs), len(moves)), MISSING, dtype=np.int16)
        return LookupBlock(bucket, empty, empty, np.zeros(len(ttcs)))
    # Apart, since only rows below a minute need weights of their own for each cell.
    parts = [part for part in np.split(ttcs, [np.searchsorted(ttcs, SECONDS_PER_MINUTE)]) if len(part)]
    positive, negative = (
        100.0
        - np.concatenate(
            [
                interpolate_beyond(side[table], fingerprints.nodes, part[:, None], moves[None, :], config.profile)
                for part in parts
            ]
        )
        for side in (fingerprints.positive, fingerprints.negative)
    )
    rows = weights_on(np.arange(1, fingerprints.horizons + 1) * SECONDS_PER_MINUTE, ttcs)

    def weaker(values: Floats) -> Floats:
        """Of the two horizons around each node, or of the one it lies on: values[horizons, ...]."""
        share = rows.share.reshape(-1, *[1] * (values.ndim - 1))
        lower, upper = values[rows.lower], values[rows.upper]
        return np.where(share == 0.0, lower, np.where(share == 1.0, upper, np.minimum(lower, upper)))

    evidence = fingerprints.evidence
    sides = (None, None) if evidence is None else (evidence.positive[table], evidence.negative[table])
    return LookupBlock(
        bucket,
        to_hundredths(positive),
        to_hundredths(negative),
        weaker(fingerprints.n_eff[table]),
        *(None if side is None else weaker(side) for side in sides),
    )


@dataclass(frozen=True)
class LookupRow:
    """One stored row. `within_*`: int16[axis nodes] in hundredths of a percent, None where there is no evidence;
    `evidence_*`: float32[evidence nodes], None where not known.
    """

    ttc_seconds: int
    within_positive: Hundredths | None
    within_negative: Hundredths | None
    n_eff: float
    evidence_positive: npt.NDArray[np.float32] | None = None
    evidence_negative: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class LookupAxes:
    """What is needed to build and to read a lookup. `axis_step`, `axis_max` and `evidence_step` in the axis' unit."""

    profile: Profile
    ttc_step_seconds: int
    ttc_max_seconds: int
    axis_step: int
    axis_max: int
    axis: AxisKind = AxisKind.MOVE_BPS
    evidence_step: int | None = None
    buckets: tuple[int, ...] = ()

    @property
    def lookup_ttcs_seconds(self) -> range:
        """TTC nodes."""
        return range(0, self.ttc_max_seconds + 1, self.ttc_step_seconds)

    @property
    def lookup_nodes(self) -> range:
        """Axis nodes."""
        return range(0, self.axis_max + 1, self.axis_step)

    def nodes_around(self, ttc_seconds: float) -> tuple[int, int]:
        """The TTC nodes to read for an answer at `ttc_seconds`; below 60 s both are the 60-second row."""
        ttc = min(max(ttc_seconds, SECONDS_PER_MINUTE), self.ttc_max_seconds)
        lower = int(ttc // self.ttc_step_seconds) * self.ttc_step_seconds
        return lower, lower if ttc == lower else lower + self.ttc_step_seconds


@dataclass(frozen=True)
class Reading:
    """prob_beyond in percent for a ladder of strikes; NaN where there is no evidence.

    `beyond`: float64[k]; `clamped`: bool[k], the answer is the nearest the table has; `n_eff` of the weaker row;
    `independent`: float64[k], independent outcomes behind each, NaN where not known, and at the close,
    which needs none.
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
    """Bilinear reading of the lookup for many strikes at one TTC.

    `rows`: by TTC, holding `axes.nodes_around(ttc_seconds)`; `positions`: float64[k], >= 0, where the strikes lie on
    the axis at this very TTC (`Rule.positions`); `upward`: bool[k], the strike is above the price. Equals the tables
    within rounding, also below 60 seconds, where the 60-second row is read at a position that time has scaled.
    """
    low_node, high_node = axes.nodes_around(ttc_seconds)
    columns = weights_on(axes.lookup_nodes, positions)
    share = (ttc_seconds - low_node) / (high_node - low_node) if high_node > low_node else 0.0

    def within(row: LookupRow) -> Floats:
        if row.within_positive is None or row.within_negative is None:
            return np.full(len(positions), np.nan)
        low = np.where(upward, row.within_positive[columns.lower], row.within_negative[columns.lower])
        high = np.where(upward, row.within_positive[columns.upper], row.within_negative[columns.upper])
        return columns.between(low / 100.0, high / 100.0)

    low, high = rows[low_node], rows[high_node]
    beyond = 100.0 - (within(low) * (1.0 - share) + within(high) * share)
    outside = (positions > axes.axis_max) | (ttc_seconds > axes.ttc_max_seconds)
    certain = ttc_seconds <= 0.0 and axes.profile is Profile.SOUND
    independent = (_independent(row, axes, positions, upward) for row in (low, high))
    return Reading(
        served(settle(beyond, ttc_seconds, positions, axes.profile), ttc_seconds, axes.profile),
        np.zeros_like(outside) if certain else outside,
        min(low.n_eff, high.n_eff),
        np.full(len(positions), np.nan) if certain else np.minimum(*independent),
    )


def _independent(row: LookupRow, axes: LookupAxes, positions: Floats, upward: npt.NDArray[np.bool_]) -> Floats:
    if row.evidence_positive is None or row.evidence_negative is None or axes.evidence_step is None:
        return np.full(len(positions), np.nan)
    nodes = axes.evidence_step * np.arange(len(row.evidence_positive))
    sides = (np.interp(positions, nodes, side) for side in (row.evidence_positive, row.evidence_negative))
    return np.where(upward, *sides)
