"""The lookup: every fingerprint read at every (TTC, move) node once, in hundredths of a percent.

One row per (TTC, bucket) holds prob_within for all moves, so one row answers a whole strike ladder.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.domain.bars import SECONDS_PER_MINUTE, Floats
from pipelines.domain.config import ModelConfig, Profile
from pipelines.domain.fingerprint import FingerprintSet
from pipelines.domain.surface import (
    interpolate_beyond,
    is_clamped,
    scaled_move_bps,
    settle,
    weights_on,
    weights_on_steps,
)

Hundredths = npt.NDArray[np.int16]
#: Stands for "no data" in an array of hundredths; stored as a NULL array.
MISSING = -1


@dataclass(frozen=True)
class LookupBlock:
    """The lookup of one bucket.

    `within_positive`, `within_negative`: int16[TTC nodes, move nodes], prob_within in hundredths of a percent, MISSING
    (in the whole row) where the fingerprint has no evidence. `n_eff`: float64[TTC nodes], of the weaker of the two
    horizons that a node lies between.
    """

    bucket: int
    within_positive: Hundredths
    within_negative: Hundredths
    n_eff: Floats

    @property
    def has_data(self) -> npt.NDArray[np.bool_]:
        """bool[TTC nodes]: the row holds probabilities."""
        return np.not_equal(self.within_positive[:, 0], MISSING)


def to_hundredths(within_percent: Floats) -> Hundredths:
    """Percent to hundredths of a percent, rounded half to even; NaN becomes MISSING."""
    rounded = np.rint(within_percent * 100.0)
    return np.where(np.isnan(rounded), MISSING, rounded).astype(np.int16)


def build_lookup_block(fingerprints: FingerprintSet, bucket: int, config: ModelConfig) -> LookupBlock:
    """The lookup of one bucket, all MISSING when the set lacks the bucket's fingerprint."""
    ttcs = np.array(config.lookup_ttcs_seconds, dtype=np.float64)
    moves = np.array(config.lookup_moves_bps, dtype=np.float64)
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
    n_eff = fingerprints.n_eff[table]
    lower, upper = n_eff[rows.lower], n_eff[rows.upper]
    weaker = np.where(rows.share == 0.0, lower, np.where(rows.share == 1.0, upper, np.minimum(lower, upper)))
    return LookupBlock(bucket, to_hundredths(positive), to_hundredths(negative), weaker)


@dataclass(frozen=True)
class LookupRow:
    """One stored row. `within_*`: int16[move nodes] in hundredths of a percent, None where there is no evidence."""

    ttc_seconds: int
    within_positive: Hundredths | None
    within_negative: Hundredths | None
    n_eff: float


@dataclass(frozen=True)
class LookupAxes:
    """What is needed to read lookup rows."""

    profile: Profile
    ttc_step_seconds: int
    ttc_max_seconds: int
    move_step_bps: int
    move_max_bps: int

    def nodes_around(self, ttc_seconds: float) -> tuple[int, int]:
        """The TTC nodes to read for an answer at `ttc_seconds`; below 60 s both are the 60-second row."""
        ttc = min(max(ttc_seconds, SECONDS_PER_MINUTE), self.ttc_max_seconds)
        lower = int(ttc // self.ttc_step_seconds) * self.ttc_step_seconds
        return lower, lower if ttc == lower else lower + self.ttc_step_seconds


@dataclass(frozen=True)
class Reading:
    """prob_beyond in percent for a ladder of moves; NaN where there is no evidence.

    `beyond`: float64[k]; `clamped`: bool[k], the answer is the nearest the table has; `n_eff` of the weaker row.
    """

    beyond: Floats
    clamped: npt.NDArray[np.bool_]
    n_eff: float


def read_ladder(
    rows: Mapping[int, LookupRow],
    axes: LookupAxes,
    ttc_seconds: float,
    moves_bps: Floats,
    upward: npt.NDArray[np.bool_],
) -> Reading:
    """Bilinear reading of the lookup for many strikes at one TTC.

    `rows`: by TTC, holding `axes.nodes_around(ttc_seconds)`; `moves_bps`: float64[k], >= 0; `upward`: bool[k], the
    strike is above the price. Equals `interpolate_beyond` within rounding, also below 60 seconds, where the 60-second
    row is read at the scaled move rather than interpolated between nodes that bend too much.
    """
    low_node, high_node = axes.nodes_around(ttc_seconds)
    scaled = scaled_move_bps(ttc_seconds, moves_bps, axes.profile)
    columns = weights_on_steps(axes.move_step_bps, axes.move_max_bps // axes.move_step_bps, scaled)
    share = (ttc_seconds - low_node) / (high_node - low_node) if high_node > low_node else 0.0

    def within(row: LookupRow) -> Floats:
        if row.within_positive is None or row.within_negative is None:
            return np.full(len(moves_bps), np.nan)
        low = np.where(upward, row.within_positive[columns.lower], row.within_negative[columns.lower])
        high = np.where(upward, row.within_positive[columns.upper], row.within_negative[columns.upper])
        return (low + (high - low) * columns.share) / 100.0

    low, high = rows[low_node], rows[high_node]
    beyond = 100.0 - (within(low) * (1.0 - share) + within(high) * share)
    return Reading(
        settle(beyond, ttc_seconds, moves_bps, axes.profile),
        is_clamped(ttc_seconds, moves_bps, axes.ttc_max_seconds, axes.move_max_bps, axes.profile),
        min(low.n_eff, high.n_eff),
    )
