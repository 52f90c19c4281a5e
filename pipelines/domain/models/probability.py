"""The probability that the price closes at or past a strike, from a model's tables.

A market state selects a bucket and puts a strike at a position on the model's axis (`Rule`). `from_lookup` answers live
sessions and `strikecast ladder`; `from_baseline` replaces it where momentum is unknown. `for_scoring` repeats the
computation for many past states at whole minutes, on the tables that the lookup was rounded from. All three interpolate
with `LinearWeights.at` and clip with `clip_before_close`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.domain.configuration.model import Profile
from pipelines.domain.models.base import FittedModel, MarketStates
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.interpolation import (
    clip_before_close,
    interpolate_beyond,
    linear_weights,
    resolve_at_close,
    scaled_move_bps,
)
from pipelines.domain.models.lookup import LookupAxes, LookupRow
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats
from pipelines.domain.prices.momentum import NO_BUCKET

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """prob_beyond in percent for a ladder of strikes; NaN without data.

    `beyond`: float64[k]; `clamped`: bool[k], the strike or the TTC lies outside the table; `n_eff`: the smaller of the
    rows read; `independent`: float64[k], independent outcomes behind each, NaN where unknown and at the close.
    """

    beyond: Floats
    clamped: Bools
    n_eff: float
    independent: Floats

    def part(self, strikes: slice) -> "Reading":
        """The reading of some of the strikes."""
        return Reading(self.beyond[strikes], self.clamped[strikes], self.n_eff, self.independent[strikes])


def from_lookup(
    rows: Mapping[int, LookupRow], axes: LookupAxes, ttc_seconds: float, positions: Floats, upward: Bools
) -> Reading:
    """Bilinear interpolation of the lookup for many strikes at one TTC.

    `rows`: by TTC, holding `axes.nodes_around(ttc_seconds)`; `positions`: float64[k], >= 0, of the strikes on the axis
    at this TTC (`Rule.positions`); `upward`: bool[k], the strike is above the price. Equals the tables within rounding,
    also below 60 seconds, where `positions` already reflect the shorter time.
    """
    low_node, high_node = axes.nodes_around(ttc_seconds)
    columns = linear_weights(axes.nodes, positions)
    share = (ttc_seconds - low_node) / (high_node - low_node) if high_node > low_node else 0.0
    unknown = np.full(len(positions), np.nan)

    def within(row: LookupRow) -> Floats:
        positive, negative = row.within_positive, row.within_negative
        if positive is None or negative is None:
            return unknown
        low, high = (np.where(upward, positive[at], negative[at]) / 100.0 for at in (columns.lower, columns.upper))
        return columns.between(low, high)

    def independent(row: LookupRow) -> Floats:
        if row.independent_positive is None or row.independent_negative is None or axes.uncertainty_step is None:
            return unknown
        nodes = axes.uncertainty_step * np.arange(len(row.independent_positive))
        sides = (np.interp(positions, nodes, side) for side in (row.independent_positive, row.independent_negative))
        return np.where(upward, *sides)

    low, high = rows[low_node], rows[high_node]
    beyond = 100.0 - (within(low) * (1.0 - share) + within(high) * share)
    beyond = resolve_at_close(beyond, ttc_seconds, positions, axes.profile)
    resolved = ttc_seconds <= 0.0 and axes.profile is Profile.SOUND
    return Reading(
        clip_before_close(beyond, ttc_seconds, axes.profile),
        _clamped(positions, axes.axis_max, ttc_seconds, axes.ttc_max_seconds, axes.profile),
        min(low.n_eff, high.n_eff),
        unknown if resolved else np.minimum(independent(low), independent(high)),
    )


def from_baseline(baseline: FingerprintSet, ttc_seconds: float, moves_bps: Floats, profile: Profile) -> Reading:
    """From the baseline fingerprint, which has no lookup and comes first in its set. `moves_bps`: [k], signed."""
    nodes, distance = baseline.nodes, np.abs(moves_bps)
    tables = baseline.positive[0], baseline.negative[0]
    sides = [interpolate_beyond(table, nodes, ttc_seconds, distance, profile) for table in tables]
    beyond = clip_before_close(np.where(moves_bps > 0, *sides), ttc_seconds, profile)
    positions = scaled_move_bps(ttc_seconds, distance, profile)
    clamped = _clamped(positions, nodes[-1], ttc_seconds, baseline.horizons * SECONDS_PER_MINUTE, profile)
    return Reading(beyond, clamped, float(baseline.n_eff[0].min()), np.full(len(beyond), np.nan))


def for_scoring(model: FittedModel, states: MarketStates, ttc_minutes: int, moves_bps: Floats) -> Floats:
    """P(the close `ttc_minutes` later is at or past price x (1 + move)) as a fraction: float64[n, k].

    Past means above for moves > 0, otherwise below. A state without a bucket gets the baseline; NaN where the table or
    the forecast is NaN.
    """
    nodes, labels = model.tables.nodes, model.tables.buckets
    table = np.searchsorted([NO_BUCKET if label is None else label for label in labels], model.rule.buckets(states))
    columns = linear_weights(nodes, model.rule.positions(states, ttc_minutes, moves_bps))
    sides = np.stack([model.tables.negative[:, ttc_minutes - 1], model.tables.positive[:, ttc_minutes - 1]])
    beyond = columns.at(sides, table[:, None] + (moves_bps > 0)[None, :] * len(labels))
    return clip_before_close(beyond, ttc_minutes, model.rule.axes.profile) / 100.0


def _clamped(positions: Floats, axis_max: int, ttc_seconds: float, ttc_max_seconds: int, profile: Profile) -> Bools:
    """Whether each point lies outside the table; at TTC 0 `sound` needs no table."""
    outside = (positions > axis_max) | (ttc_seconds > ttc_max_seconds)
    return outside & (ttc_seconds > 0.0 or profile is Profile.SOURCE)
