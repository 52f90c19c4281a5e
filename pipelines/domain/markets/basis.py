"""The basis: the log of a market's index over our price, in basis points (index = price * exp(basis / 10,000)).

Three sources, each from what was known at the time: the index itself, the quotes of the market, and settled values. An
estimate is a `Basis`, or a `NoBasis` with the reason why there is none. `choose_basis` takes the first usable one of
the index, the quotes and settled values.

The basis drifts by 1 to 6 basis points over days. A value that is far from the others is therefore an error of a feed:
it does not count, or its source is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.domain.prices.bars import Floats, Ints
from pipelines.domain.prices.momentum import BPS_PER_UNIT
from pipelines.domain.prices.ticks import EPOCH, MILLISECOND

#: A larger basis is an error, such as an index of another symbol: venues of one symbol differ by a tenth of this.
CREDIBLE_BPS = 50.0
#: Estimates that differ this much from the others of their source do not count.
JUMP_BPS = 10.0
#: The index: the newest minute counts, of at least this many values.
NEWEST_MS = 60_000
MIN_INDEX_VALUES = 3
#: The index is frozen when it keeps its value for 15 s while our price moves by more than 1 bp, or for 60 s while our
#: price moves at all. A quarter of the newest minute does not move its median.
FROZEN_MS = 15_000
FROZEN_MOVE_BPS = 1.0
#: Weights of settled values and of quotes halve in these times.
SETTLED_HALF_LIFE = timedelta(minutes=60)
QUOTES_HALF_LIFE = timedelta(minutes=480)
#: Bases at which quotes are compared with the model.
GRID_BPS: Floats = np.linspace(-10.0, 10.0, 41)
#: Wider quotes say little about a probability.
MAX_SPREAD = 0.20
#: Fewer quotes, counted with their weights, give no basis: that is ten minutes of ten strikes near the price.
MIN_QUOTES = 100.0


class BasisSource(StrEnum):
    """Where a basis comes from."""

    INDEX = "index"
    QUOTES = "quotes"
    SETTLED = "settled"
    #: By whoever asks; not estimated.
    GIVEN = "given"


#: The estimated ones, the most direct first; older estimates are not used. The index moves against our price within
#: minutes. Quotes of the day before are worse than those of the last hours, but better than none; settled values have a
#: short memory of their own.
MAX_AGE = {
    BasisSource.INDEX: timedelta(minutes=15),
    BasisSource.QUOTES: timedelta(hours=24),
    BasisSource.SETTLED: timedelta(hours=6),
}


@dataclass(frozen=True)
class Basis:
    """The basis in basis points as of `at` (aware UTC), the instant of the newest value behind it."""

    bps: float
    source: BasisSource
    at: datetime


@dataclass(frozen=True)
class NoBasis:
    """Why a source gives no basis."""

    source: BasisSource
    reason: str


@dataclass(frozen=True)
class BasisChoice:
    """The basis to use, None without one; `reasons`: why each source that comes before it was refused."""

    basis: Basis | None
    reasons: tuple[str, ...] = ()


def choose_basis(estimates: Iterable[Basis | NoBasis], now: datetime) -> BasisChoice:
    """The first usable estimate at `now` (aware), in the order of MAX_AGE; at most one estimate per source."""
    of_source = {one.source: one for one in estimates}
    reasons: list[str] = []
    for source, most_age in MAX_AGE.items():
        found = of_source.get(source)
        if isinstance(found, Basis):
            age = now - found.at
            if timedelta(0) <= age <= most_age:
                return BasisChoice(found, tuple(reasons))
            old = f"{_minutes(age)} min old, at most {_minutes(most_age)} are used"
            reasons.append(f"{source}: " + (old if age > timedelta(0) else f"dated {_minutes(-age)} min ahead"))
        elif found is not None:
            reasons.append(f"{source}: {found.reason}")
    return BasisChoice(None, tuple(reasons))


def basis_of_index(valued_ms: Ints, values: Floats, prices_usd: Floats) -> Basis | NoBasis:
    """The median of the newest minute's log ratios of the index and our last price before it.

    `valued_ms`: int64[n], rising, milliseconds since 1970 UTC, of about the last ten minutes; `values`: float64[n], the
    index; `prices_usd`: float64[n], our last price before each value, NaN where it is more than 10 s older.
    """
    source = BasisSource.INDEX
    paired = np.isfinite(values) & (values > 0) & np.isfinite(prices_usd) & (prices_usd > 0)
    valued_ms, values, prices_usd = valued_ms[paired], values[paired], prices_usd[paired]
    newest = valued_ms > valued_ms[-1] - NEWEST_MS if len(valued_ms) else np.zeros(0, dtype=np.bool_)
    if newest.sum() < MIN_INDEX_VALUES:
        expected = f"expected {MIN_INDEX_VALUES} or more"
        return NoBasis(source, f"{newest.sum()} values with a price of ours in the newest minute, {expected}")
    changes = np.flatnonzero(values != values[-1])
    same = slice(int(changes[-1]) + 1 if len(changes) else 0, None)
    same_ms = int(valued_ms[-1] - valued_ms[same][0])
    moved_bps = float(np.ptp(np.log(prices_usd[same]))) * BPS_PER_UNIT
    if same_ms >= FROZEN_MS and moved_bps > (FROZEN_MOVE_BPS if same_ms < NEWEST_MS else 0.0):
        return NoBasis(source, f"unchanged for {same_ms / 1000:.0f} s while our price moved by {moved_bps:.1f} bps")
    ratios_bps = np.log(values / prices_usd) * BPS_PER_UNIT
    bps, before = float(np.median(ratios_bps[newest])), float(np.median(ratios_bps))
    if abs(bps - before) > JUMP_BPS:
        return NoBasis(source, f"{bps:.1f} bps, a jump from {before:.1f} bps within minutes")
    return _credible(bps, source, int(valued_ms[-1]))


def basis_of_settled(closes_ms: Ints, values: Floats, means_usd: Floats) -> Basis | NoBasis:
    """The mean log ratio of settled values and our own means of the same minutes, with weights by age.

    `closes_ms`: int64[n], rising, milliseconds since 1970 UTC, of about the last day; `values`: float64[n], settled
    values; `means_usd`: float64[n], `settled_price` of our prices, NaN where unknown. A value equal to the one before
    it does not count unless our mean is the same too, nor does one more than JUMP_BPS from the median.
    """
    source = BasisSource.SETTLED
    known = np.isfinite(values) & (values > 0) & np.isfinite(means_usd) & (means_usd > 0)
    if not known.any():
        return NoBasis(source, f"{len(values)} settled values, none of a minute that our prices cover")
    closes_ms, values, means_usd = closes_ms[known], values[known], means_usd[known]
    ratios_bps = np.log(values / means_usd) * BPS_PER_UNIT
    repeated = np.zeros(len(values), dtype=np.bool_)
    repeated[1:] = (values[1:] == values[:-1]) & (means_usd[1:] != means_usd[:-1])
    credible = (np.abs(ratios_bps) <= CREDIBLE_BPS) & ~repeated
    if not credible.any():
        wrong = f"repeated or more than {CREDIBLE_BPS:.0f} bps away"
        return NoBasis(source, f"all of {len(values)} settled values are {wrong}, the newest {ratios_bps[-1]:.1f} bps")
    used = credible & (np.abs(ratios_bps - np.median(ratios_bps[credible])) <= JUMP_BPS)
    if not used.any():
        return NoBasis(source, f"{credible.sum()} settled values contradict each other by {2 * JUMP_BPS:.0f} bps")
    age = (closes_ms[used][-1] - closes_ms[used]) * MILLISECOND.total_seconds()
    weights = 0.5 ** (age / SETTLED_HALF_LIFE.total_seconds())
    return _credible(float(np.average(ratios_bps[used], weights=weights)), source, int(closes_ms[used][-1]))


@dataclass(frozen=True)
class QuotedSums:
    """What a `QuotedBasis` has counted until `at` (aware UTC): a sum for each of GRID_BPS, and the quotes by weight."""

    at: datetime
    sums: tuple[float, ...]
    quotes: float


class QuotedBasis:
    """The basis at which a model's probabilities agree best with a market's quotes, updated minute by minute.

    It minimises the sum over past minutes of 2^-(age / half-life) times the sum over strikes of (P_b - mid)^2. The sums
    for each b of GRID_BPS are all that is kept, so a minute costs as much after days as at the start.
    """

    def __init__(self, half_life: timedelta = QUOTES_HALF_LIFE, counted: QuotedSums | None = None) -> None:
        """`counted`: by an earlier one, which this one continues. Raises ValueError for another grid."""
        if counted is not None and len(counted.sums) != len(GRID_BPS):
            raise ValueError(f"{len(counted.sums)} sums, expected {len(GRID_BPS)}")
        self._half_life = half_life
        self._sums: Floats = np.zeros(len(GRID_BPS)) if counted is None else np.array(counted.sums)
        self._quotes = 0.0 if counted is None else counted.quotes
        self._at = None if counted is None else counted.at
        self._previous: tuple[float, Floats, Floats] | None = None
        self._frozen = False

    def add(self, at: datetime, price_usd: float, probabilities: Floats, bids: Floats, asks: Floats) -> None:
        """Count the quotes of a minute that ends at `at` (aware), later than the minute before.

        `probabilities`: float64[41, k], P(yes) of each market for each basis of GRID_BPS, fractions; `bids`, `asks`:
        float64[k], of YES, in dollars, NaN, 0 and 1 where there is none. Quotes on one side, crossed, locked, wider
        than 20 cents, or without a probability do not count; nor does a minute in which no quote has changed while
        `price_usd` has moved by more than 1 bp.
        """
        if self._at is not None and at <= self._at:
            raise ValueError(f"quotes of {at} after those of {self._at}, expected later ones")
        previous, self._previous = self._previous, (price_usd, bids, asks)
        if previous is not None:
            moved_bps = abs(np.log(price_usd / previous[0])) * BPS_PER_UNIT
            same = all(np.array_equal(*pair, equal_nan=True) for pair in zip(previous[1:], (bids, asks), strict=True))
            self._frozen = same and (moved_bps > FROZEN_MOVE_BPS or self._frozen)
            if same:
                # The price before the freeze: slow moves add up.
                self._previous = previous
            if self._frozen:
                return
        counted = two_sided(bids, asks) & np.isfinite(probabilities).all(axis=0)
        if not counted.any():
            return
        decay = 1.0 if self._at is None else 0.5 ** ((at - self._at) / self._half_life)
        errors = probabilities[:, counted] - (bids + asks)[counted] / 2
        self._sums = self._sums * decay + np.square(errors).sum(axis=1)
        self._quotes = self._quotes * decay + float(counted.sum())
        self._at = at

    @property
    def counted(self) -> QuotedSums | None:
        """What a later one can continue from; None before the first quotes."""
        return None if self._at is None else QuotedSums(self._at, tuple(self._sums.tolist()), self._quotes)

    def estimate(self) -> Basis | NoBasis:
        """The minimum of the sums, by a parabola through the least of the grid and its neighbours."""
        source = BasisSource.QUOTES
        if self._at is None or self._quotes < MIN_QUOTES:
            return NoBasis(source, f"{self._quotes:.0f} quotes, expected {MIN_QUOTES:.0f} or more")
        least = int(self._sums.argmin())
        if least in (0, len(GRID_BPS) - 1):
            return NoBasis(source, f"at or beyond {GRID_BPS[least]:.0f} bps, the end of the grid")
        below, minimum, above = self._sums[least - 1 : least + 2].tolist()
        curvature = below - 2 * minimum + above
        if curvature <= 1e-9 * minimum:
            return NoBasis(source, "the quotes are of strikes too far away to show it")
        step = float(GRID_BPS[1] - GRID_BPS[0])
        return Basis(float(GRID_BPS[least]) + step * (below - above) / (2 * curvature), source, self._at)


def two_sided(bids: Floats, asks: Floats) -> npt.NDArray[np.bool_]:
    """Whether each quote has a bid and an ask within MAX_SPREAD above it; dollars, NaN, 0 and 1 for none."""
    spread: npt.NDArray[Any] = asks - bids
    return (bids > 0) & (asks < 1) & (spread > 0) & (spread <= MAX_SPREAD + 1e-9)


def _credible(bps: float, source: BasisSource, at_ms: int) -> Basis | NoBasis:
    if abs(bps) > CREDIBLE_BPS:
        return NoBasis(source, f"{bps:.1f} bps, at most {CREDIBLE_BPS:.0f} are credible")
    return Basis(bps, source, EPOCH + at_ms * MILLISECOND)


def _minutes(duration: timedelta) -> str:
    return f"{duration / timedelta(minutes=1):,.0f}"
