"""Reading a fingerprint between its nodes: bilinear on the (TTC, move) grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import Profile
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats


@dataclass(frozen=True)
class Weights:
    """Linear interpolation as two nodes and the share of the upper one, each of the shape of the points."""

    lower: npt.NDArray[np.intp]
    upper: npt.NDArray[np.intp]
    share: Floats

    def between(self, low: Floats, high: Floats) -> Floats:
        """Interpolated values; a node that takes no part may be NaN."""
        mixed = high - low
        mixed *= self.share
        mixed += low
        if np.isnan(mixed).any():
            return np.where(self.share == 0.0, low, np.where(self.share == 1.0, high, mixed))
        return mixed


def weights_on(nodes: Sequence[float] | npt.NDArray[Any], points: npt.ArrayLike) -> Weights:
    """Weights of `points` on rising `nodes`; points outside are clamped to the ends, NaN has a share of NaN."""
    axis = np.asarray(nodes, dtype=np.float64)
    index = np.interp(np.asarray(points, dtype=np.float64), axis, np.arange(len(axis)))
    lower = np.minimum(np.nan_to_num(index).astype(np.intp), max(len(axis) - 2, 0))
    return Weights(lower, lower + 1 if len(axis) > 1 else lower, index - lower)


def scaled_move_bps(ttc_seconds: npt.ArrayLike, moves_bps: npt.ArrayLike, profile: Profile) -> Floats:
    """The move to look up in the 60-second row in place of `moves_bps` when less than 60 seconds are left.

    `sound`: the distribution shrinks with the square root of time, so a move is as rare at TTC t as a move
    sqrt(60 / t) times as large at 60 s; infinite for t = 0. `source` uses the 60-second row as it is. The shapes
    broadcast; at 60 seconds or more nothing changes.
    """
    ttc, moves = np.asarray(ttc_seconds, dtype=np.float64), np.asarray(moves_bps, dtype=np.float64)
    if profile is Profile.SOURCE or bool((ttc >= SECONDS_PER_MINUTE).all()):
        return np.broadcast_to(moves, np.broadcast_shapes(ttc.shape, moves.shape)).copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = moves * np.sqrt(SECONDS_PER_MINUTE / np.clip(ttc, 0.0, SECONDS_PER_MINUTE))
    return np.where(moves == 0.0, 0.0, scaled)


def settle(beyond: Floats, ttc_seconds: npt.ArrayLike, moves_bps: npt.ArrayLike, profile: Profile) -> Floats:
    """`beyond` with the cells at TTC 0 set to what is certain then: 100 at the strike, 0 away from it (`sound`)."""
    if profile is Profile.SOURCE:
        return beyond
    at_close = np.asarray(ttc_seconds, dtype=np.float64) <= 0.0
    certain = np.where(np.asarray(moves_bps, dtype=np.float64) == 0.0, 100.0, 0.0)
    return np.where(at_close & ~np.isnan(beyond), certain, beyond)


#: What is not settled yet is not certain: no answer is nearer to 0 or 100 than a file's last digit.
LEAST_PCT = 0.01


def served(beyond: Floats, ttc_seconds: float, profile: Profile) -> Floats:
    """`beyond` as it is told: never exactly 0 or 100 before the close (`source`: as it is)."""
    if profile is Profile.SOURCE or ttc_seconds <= 0.0:
        return beyond
    return np.clip(beyond, LEAST_PCT, 100.0 - LEAST_PCT)


def is_clamped(
    ttc_seconds: float, moves_bps: Floats, ttc_max_seconds: int, move_max_bps: int, profile: Profile
) -> npt.NDArray[np.bool_]:
    """Whether an answer is the nearest that the table has, not one inside of it; at TTC 0 `sound` knows for certain."""
    if ttc_seconds <= 0.0 and profile is Profile.SOUND:
        return np.zeros(moves_bps.shape, dtype=np.bool_)
    outside = scaled_move_bps(ttc_seconds, moves_bps, profile) > move_max_bps
    return outside | (ttc_seconds > ttc_max_seconds)


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
    rows = weights_on(np.arange(1, len(table) + 1) * SECONDS_PER_MINUTE, ttc)
    below_minute = bool((ttc < SECONDS_PER_MINUTE).any())
    columns = weights_on(table_moves_bps, scaled_move_bps(ttc, moves, profile) if below_minute else moves)
    low = columns.between(table[rows.lower, columns.lower], table[rows.lower, columns.upper])
    high = columns.between(table[rows.upper, columns.lower], table[rows.upper, columns.upper])
    beyond = rows.between(low, high)
    return settle(beyond, ttc, moves, profile) if below_minute else beyond
