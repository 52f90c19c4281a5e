"""Bilinear interpolation of a fingerprint on its (TTC, move) grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import Profile
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats

#: An outcome that is still open is not certain: probabilities stay this far from 0 and 100 %.
MIN_PROBABILITY_PCT = 0.01


@dataclass(frozen=True)
class LinearWeights:
    """Linear interpolation as two nodes and the share of the upper one, each of the shape of the points."""

    lower: npt.NDArray[np.intp]
    upper: npt.NDArray[np.intp]
    share: Floats

    def at(self, tables: Floats, row: int | npt.NDArray[Any]) -> Floats:
        """Interpolated values of `tables` [..., nodes]; `row`: the row of each point, leading axes counted as one."""
        start = row * tables.shape[-1]
        return self.between(tables.take(start + self.lower), tables.take(start + self.upper))

    def between(self, low: Floats, high: Floats) -> Floats:
        """Interpolated values; a node with a share of zero may be NaN."""
        mixed = high - low
        mixed *= self.share
        mixed += low
        if np.isnan(mixed).any():
            return np.where(self.share == 0.0, low, np.where(self.share == 1.0, high, mixed))
        return mixed


def linear_weights(nodes: Sequence[float] | npt.NDArray[Any], points: npt.ArrayLike) -> LinearWeights:
    """Weights of `points` on rising `nodes`; points outside are clamped to the ends, NaN has a share of NaN."""
    axis = np.asarray(nodes, dtype=np.float64)
    index = np.interp(np.asarray(points, dtype=np.float64), axis, np.arange(len(axis)))
    lower = np.minimum(np.where(np.isnan(index), 0.0, index).astype(np.intp), max(len(axis) - 2, 0))
    return LinearWeights(lower, lower + 1 if len(axis) > 1 else lower, index - lower)


def scaled_move_bps(ttc_seconds: npt.ArrayLike, moves_bps: npt.ArrayLike, profile: Profile) -> Floats:
    """The moves to look up in the 60-second row when less than 60 seconds are left.

    `sound`: the distribution shrinks with the square root of time, so a move at TTC t is as likely as a move
    sqrt(60 / t) times as large at 60 s; infinite for t = 0. `source` uses the 60-second row unscaled. The shapes
    broadcast; at 60 seconds or more the moves are unchanged.
    """
    ttc, moves = np.asarray(ttc_seconds, dtype=np.float64), np.asarray(moves_bps, dtype=np.float64)
    if profile is Profile.SOURCE or bool((ttc >= SECONDS_PER_MINUTE).all()):
        return np.broadcast_to(moves, np.broadcast_shapes(ttc.shape, moves.shape)).copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = moves * np.sqrt(SECONDS_PER_MINUTE / np.clip(ttc, 0.0, SECONDS_PER_MINUTE))
    return np.where(moves == 0.0, 0.0, scaled)


def resolve_at_close(beyond: Floats, ttc_seconds: npt.ArrayLike, moves_bps: npt.ArrayLike, profile: Profile) -> Floats:
    """`beyond` with known outcomes at TTC 0: 100 at the strike, 0 away from it (`source`: unchanged)."""
    if profile is Profile.SOURCE:
        return beyond
    at_close = np.asarray(ttc_seconds, dtype=np.float64) <= 0.0
    outcome = np.where(np.asarray(moves_bps, dtype=np.float64) == 0.0, 100.0, 0.0)
    return np.where(at_close & ~np.isnan(beyond), outcome, beyond)


def clip_before_close(beyond: Floats, ttc_seconds: float, profile: Profile) -> Floats:
    """`beyond` without exact 0 or 100 before the close (`source`: unchanged)."""
    if profile is Profile.SOURCE or ttc_seconds <= 0.0:
        return beyond
    return np.clip(beyond, MIN_PROBABILITY_PCT, 100.0 - MIN_PROBABILITY_PCT)


def interpolate_beyond(
    table: Floats,
    table_moves_bps: tuple[int, ...],
    ttc_seconds: npt.ArrayLike,
    moves_bps: npt.ArrayLike,
    profile: Profile,
) -> Floats:
    """prob_beyond in percent at (TTC, move) points, from one side of one fingerprint.

    `table`: float64[h, m], percent, horizons 1..h minutes; `ttc_seconds`, `moves_bps` (>= 0): broadcast together.
    Moves beyond the last threshold and TTCs beyond the last horizon are clamped; NaN where the table has none.
    """
    ttc, moves = np.asarray(ttc_seconds, np.float64), np.asarray(moves_bps, np.float64)
    rows = linear_weights(np.arange(1, len(table) + 1) * SECONDS_PER_MINUTE, ttc)
    below_minute = bool((ttc < SECONDS_PER_MINUTE).any())
    columns = linear_weights(table_moves_bps, scaled_move_bps(ttc, moves, profile) if below_minute else moves)
    beyond = rows.between(columns.at(table, rows.lower), columns.at(table, rows.upper))
    return resolve_at_close(beyond, ttc, moves, profile) if below_minute else beyond
