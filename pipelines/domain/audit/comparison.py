"""Two audits beside each other: what changed, in the right arithmetic, and whether noise alone explains it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipelines.domain.audit.figures import Figure, Statistic, Unit, statistic_of

#: Fewer samples on either side say nothing about their spread.
LEAST_SAMPLES = 5
RESAMPLINGS = 1_000
CONFIDENCE = 0.95
#: Of these the difference is a number of points: "from 20 % to 30 %" is 10 points, and 50 % more.
IN_POINTS = frozenset({Unit.PERCENT, Unit.PERCENT_OF_A_CORE})


class Verdict(StrEnum):
    """What a difference is worth."""

    CHANGED = "changed"
    NOISE = "no difference"
    #: One sample each has no spread.
    UNJUDGED = "not judged"


@dataclass(frozen=True)
class Change:
    """A figure before and after. `difference` is in its unit, in points where that is a percentage; `relative` is in
    percent of the value before, None where that is 0; `low` and `high` bound the difference with 95 % confidence.
    """

    key: str
    unit: Unit
    before: float
    after: float
    verdict: Verdict
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def difference_unit(self) -> str:
        """What `difference` counts."""
        return "points" if self.unit in IN_POINTS else str(self.unit)

    @property
    def relative(self) -> float | None:
        """Signed change in percent of the value before."""
        return relative_change(self.before, self.after)


def relative_change(before: float, after: float) -> float | None:
    """Signed change in percent of the value before: -97.3 from 37.1 to 1.0; None from 0."""
    return 100.0 * (after - before) / before if before else None


def compare(before: Figure, after: Figure) -> Change:
    """The change of one figure. Raises ValueError when they are not of one kind."""
    if before.key != after.key or before.unit is not after.unit:
        raise ValueError(f"{before.key} in {before.unit!s} and {after.key} in {after.unit!s} cannot be compared")
    if min(len(before.samples), len(after.samples)) < LEAST_SAMPLES:
        return Change(after.key, after.unit, before.value, after.value, Verdict.UNJUDGED)
    low, high = difference_interval(before.samples, after.samples, after.statistic)
    verdict = Verdict.NOISE if low <= 0.0 <= high else Verdict.CHANGED
    return Change(after.key, after.unit, before.value, after.value, verdict, low, high)


def difference_interval(
    before: tuple[float, ...], after: tuple[float, ...], statistic: Statistic
) -> tuple[float, float]:
    """Bounds of the difference of a statistic with 95 % confidence, by resampling both sides; the same each time."""
    rng = np.random.default_rng(1)
    sides = []
    for samples in (before, after):
        values = np.asarray(samples, dtype=np.float64)
        drawn = values[rng.integers(0, values.size, (RESAMPLINGS, values.size))]
        sides.append(np.array([statistic_of(statistic, row) for row in drawn]))
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(sides[1] - sides[0], [tail, 100.0 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """All figures of two audits: those that both have, and the names of those that only one has."""

    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def compare_all(before: Iterable[Figure], after: Iterable[Figure]) -> Comparison:
    """Compare figure by figure. What one side lacks, such as a process that was left out, is said, not summed over."""
    earlier: Mapping[str, Figure] = {figure.key: figure for figure in before}
    later: Mapping[str, Figure] = {figure.key: figure for figure in after}
    both = [key for key in later if key in earlier and earlier[key].unit is later[key].unit]
    return Comparison(
        tuple(compare(earlier[key], later[key]) for key in both),
        tuple(sorted(earlier.keys() - set(both))),
        tuple(sorted(later.keys() - set(both))),
    )
