"""Recognize from the bars themselves what a file's columns do not say: interval, order, swapped columns, another clock.

All functions take open times in minutes since 1970 and prices in USD.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipelines.domain.prices.bars import MINUTES_PER_DAY, Floats, Ints

#: Consecutive equal steps that show bars of another interval; quiet minutes leave irregular steps.
MIN_EQUAL_STEPS = 12
MIN_BARS = 3
#: Share of steps in one direction from which a file counts as sorted.
SORTED_SHARE = 0.95
#: Shifts to look for: half hours up to 14 h, and a bar's close time instead of its open time.
SHIFTS = (*range(-840, 841, 30), -1, 1)
MIN_COMMON_RETURNS = 200
#: Bars of one symbol in adjacent minutes differ by less, as a logarithm.
MAX_LEVEL_DIFFERENCE = 0.25
#: Allowed in addition for the root of the days between two prices: six daily moves of 5 %.
DRIFT_PER_ROOT_DAY = 6 * 0.05
#: Largest jump from a close to the next open, as a logarithm: the price doubles.
MAX_JUMP = 0.7


def interval_minutes(minutes: Ints) -> int:
    """Interval of bars, 1 unless all or many consecutive steps are a longer one; `minutes`: strictly increasing."""
    if len(minutes) < MIN_BARS:
        return 1
    steps = np.diff(minutes)
    common = int(np.gcd.reduce(steps))
    if common > 1:
        return common
    # The length of each run of equal steps: its end is where the next step differs.
    ends = np.append(np.nonzero(np.diff(steps))[0], len(steps) - 1)
    lengths = np.diff(ends, prepend=-1)
    longer = steps[ends[(lengths >= MIN_EQUAL_STEPS)]]
    return int(longer[longer > 1].min(initial=1 << 30)) if (longer > 1).any() else 1


def out_of_sequence(minutes: Ints) -> Ints:
    """Indices of single rows whose time is outside that of their neighbours, in a file that is otherwise sorted."""
    steps = np.diff(minutes)
    if len(steps) < 20:
        return np.empty(0, dtype=np.int64)
    for sign in (1, -1):
        if np.count_nonzero(sign * steps >= 0) >= SORTED_SHARE * len(steps):
            before, here, after = sign * minutes[:-2], sign * minutes[1:-1], sign * minutes[2:]
            rows = np.nonzero((before <= after) & ((here < before) | (here > after)))[0] + 1
            return rows if len(rows) <= max(1, 0.005 * len(minutes)) else rows[:0]  # many: several sorted parts
    return np.empty(0, dtype=np.int64)


def open_and_close_are_swapped(minutes: Ints, opens: Floats, closes: Floats) -> bool:
    """Whether opens are nearer to the next minute's close than closes to the next minute's open."""
    (adjacent,) = np.nonzero(np.diff(minutes) == 1)
    if len(adjacent) < MIN_BARS:
        return False
    as_named = np.abs(opens[adjacent + 1] - closes[adjacent]).sum()
    as_swapped = np.abs(closes[adjacent + 1] - opens[adjacent]).sum()
    return bool(as_named > (1.2 if len(adjacent) >= 20 else 3) * as_swapped)


def first_jump(minutes: Ints, opens: Floats, closes: Floats) -> int | None:
    """Index of the first bar whose close is at another level than the next open: twice, and more after a gap."""
    if len(minutes) < 2:
        return None
    ratios = opens[1:] / closes[:-1]
    (rows,) = np.nonzero((ratios > 2) | (ratios < 0.5))
    allowed = MAX_JUMP + DRIFT_PER_ROOT_DAY * np.sqrt((minutes[rows + 1] - minutes[rows]) / MINUTES_PER_DAY)
    rows = rows[np.abs(np.log(ratios[rows])) > allowed]
    return int(rows[0]) if len(rows) else None


@dataclass(frozen=True)
class ClockShift:
    """A shift of the clock at which returns agree with another symbol's: correlations there and without a shift."""

    minutes: int
    correlation: float
    unshifted: float

    def __str__(self) -> str:
        hours = self.minutes / 60
        return f"{hours:+g} h" if self.minutes % 30 == 0 else f"{self.minutes:+d} min"


def clock_shift(minutes: Ints, closes: Floats, other_minutes: Ints, other_closes: Floats) -> ClockShift | None:
    """The shift that makes one-minute returns agree with another symbol's, None when they agree best without one.

    Returns of different coins in the same minute are correlated, those of different hours are not. Needs
    MIN_COMMON_RETURNS; both series strictly increasing.
    """
    ours, theirs = _returns(minutes, closes), _returns(other_minutes, other_closes)
    correlations = {shift: _correlation(ours, theirs, shift) for shift in (0, *SHIFTS)}
    counts = {shift: found[1] for shift, found in correlations.items()}
    best = max(correlations, key=lambda shift: correlations[shift][0])
    if best == 0 or counts[best] < MIN_COMMON_RETURNS:
        return None
    value, unshifted = correlations[best][0], correlations[0][0]
    # Six standard errors of a correlation of independent returns, of which the largest of 59 is taken.
    clear = value - unshifted > max(0.15, 6 / np.sqrt(counts[best])) and value > 2 * unshifted
    return ClockShift(best, value, unshifted) if clear else None


def _returns(minutes: Ints, closes: Floats) -> tuple[Ints, Floats]:
    """Minutes of bars that follow another one directly, and their log returns, limited to five standard deviations."""
    (adjacent,) = np.nonzero(np.diff(minutes) == 1)
    returns = np.log(closes[adjacent + 1] / closes[adjacent])
    limit = 5 * returns.std() if len(returns) else 0.0
    return minutes[adjacent + 1], np.clip(returns, -limit, limit)


def _correlation(ours: tuple[Ints, Floats], theirs: tuple[Ints, Floats], shift: int) -> tuple[float, int]:
    """Correlation of returns after moving ours by `shift` minutes, and the number of common minutes."""
    _, at, other_at = np.intersect1d(ours[0] + shift, theirs[0], assume_unique=True, return_indices=True)
    left, right = ours[1][at], theirs[1][other_at]
    if len(at) < MIN_COMMON_RETURNS or not left.std() or not right.std():
        return 0.0, len(at)
    return float(np.corrcoef(left, right)[0, 1]), len(at)


def is_same_price(minutes: Ints, closes: Floats, other_minutes: Ints, other_closes: Floats) -> bool:
    """Whether closes of the same minutes are so near to another symbol's that they are its prices."""
    _, at, other_at = np.intersect1d(minutes, other_minutes, assume_unique=True, return_indices=True)
    if len(at) < MIN_BARS:
        return False
    return bool(np.median(np.abs(np.log(closes[at] / other_closes[other_at]))) < 0.01)


def is_price_level_of(close: float, stored_close: float, days_between: float) -> bool:
    """Whether a close may follow or precede a stored one: within 25 % and six daily moves of 5 % in between."""
    difference = abs(math.log(close / stored_close))
    return difference <= MAX_LEVEL_DIFFERENCE + DRIFT_PER_ROOT_DAY * math.sqrt(days_between)
