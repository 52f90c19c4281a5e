"""Two audits beside each other: what changed, in the right arithmetic, and whether noise alone explains it.

Noise is of two kinds: within an audit, by resampling its samples, and from one audit to the next, by how much the same
figure varies among earlier ones. A change is one only beyond both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipelines.domain.monitoring.audit.history import usual_difference
from pipelines.domain.monitoring.audit.measurements import PERCENTILES, Figure, Statistic, Unit

#: Fewer samples on either side say nothing about their spread; of a percentile, fewer beyond it.
LEAST_SAMPLES = 5
RESAMPLINGS = 1_000
CONFIDENCE = 0.95
#: Of these the difference is a number of points: "from 20 % to 30 %" is 10 points, and 50 % more.
IN_POINTS = frozenset({Unit.PERCENT, Unit.PERCENT_OF_A_CORE})


class Verdict(StrEnum):
    """What a difference is worth."""

    CHANGED = "changed"
    NOISE = "no difference"
    #: There are too few audits to know how it varies from one to the next.
    UNJUDGED = "not judged"


@dataclass(frozen=True)
class Change:
    """A figure before and after. `difference` is in its unit, in points where that is a percentage; `relative` is in
    percent of the value before, None where that is 0; `low` and `high` bound the difference with 95 % confidence by the
    samples of both; `noise`: so much two audits differ by, when nothing changed, nineteen times of twenty.
    """

    key: str
    unit: Unit
    before: float
    after: float
    verdict: Verdict
    low: float | None = None
    high: float | None = None
    noise: float | None = None

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def within(self) -> float | None:
        """So much noise alone may make of it: that of the samples or that from audit to audit, whichever is more."""
        known = [] if self.noise is None else [self.noise]
        if self.low is not None and self.high is not None:
            known.append((self.high - self.low) / 2)
        return max(known, default=None)

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
    return 100.0 * (after - before) / abs(before) if before else None


def compare(before: Figure, after: Figure, repeats: Sequence[float] = ()) -> Change:
    """The change of one figure; `repeats`: its values in successive audits. Raises ValueError for two kinds of it."""
    if before.key != after.key or before.unit is not after.unit:
        raise ValueError(f"{before.key} in {before.unit!s} and {after.key} in {after.unit!s} cannot be compared")
    noise = usual_difference(repeats)
    interval = None
    if min(_telling(before), _telling(after)) >= LEAST_SAMPLES:
        interval = difference_interval(before.samples, after.samples, after.statistic)
    verdict = _verdict(after.value - before.value, interval, noise)
    low, high = interval or (None, None)
    return Change(after.key, after.unit, before.value, after.value, verdict, low, high, noise)


def _telling(figure: Figure) -> float:
    """How many samples tell where a figure is: of a percentile those beyond it, of the largest and the last none."""
    match figure.statistic:
        case Statistic.LARGEST | Statistic.LAST:
            return 0.0
        case Statistic.P50 | Statistic.P95 | Statistic.P99:
            return len(figure.samples) * (1.0 - PERCENTILES[figure.statistic] / 100.0)
    return float(len(figure.samples))


def _verdict(difference: float, interval: tuple[float, float] | None, noise: float | None) -> Verdict:
    within = interval is not None and interval[0] <= 0.0 <= interval[1]
    if within or (noise is not None and abs(difference) <= noise):
        return Verdict.NOISE
    return Verdict.UNJUDGED if noise is None else Verdict.CHANGED


def difference_interval(
    before: tuple[float, ...], after: tuple[float, ...], statistic: Statistic
) -> tuple[float, float]:
    """Bounds of the difference of a statistic with 95 % confidence, by resampling both sides; the same each time."""
    rng = np.random.default_rng(1)
    sides = []
    for samples in (before, after):
        values = np.asarray(samples, dtype=np.float64)
        drawn = values[rng.integers(0, values.size, (RESAMPLINGS, values.size))]
        sides.append(_of_each(statistic, drawn))
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(sides[1] - sides[0], [tail, 100.0 - tail])
    return float(low), float(high)


def _of_each(statistic: Statistic, drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The statistic of each row, as `statistic_of`, a hundred times as fast."""
    if statistic in PERCENTILES:
        return np.asarray(np.percentile(drawn, PERCENTILES[statistic], axis=1), dtype=np.float64)
    return np.asarray(drawn.sum(axis=1) if statistic is Statistic.SUM else drawn.mean(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Comparison:
    """All figures of two audits: those that both have, and the names of those that only one has."""

    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def compare_all(
    before: Iterable[Figure], after: Iterable[Figure], repeats: Mapping[str, Sequence[float]] | None = None
) -> Comparison:
    """Compare figure by figure. What one side lacks, such as a process that was left out, is said, not summed over; so
    are sums over different lists.

    `repeats`: by key, values of successive audits, which say how much of a change is the machine's.
    """
    known = repeats or {}
    earlier: Mapping[str, Figure] = {figure.key: figure for figure in before}
    later: Mapping[str, Figure] = {figure.key: figure for figure in after}
    both = [key for key in later if key in earlier and _alike(earlier[key], later[key])]
    return Comparison(
        tuple(compare(earlier[key], later[key], known.get(key, ())) for key in both),
        tuple(sorted(earlier.keys() - set(both))),
        tuple(sorted(later.keys() - set(both))),
    )


def _alike(before: Figure, after: Figure) -> bool:
    """Whether two figures of one key are of the same thing: a total's note says what it is the total of."""
    return before.unit is after.unit and (not before.name.startswith("all_") or before.note == after.note)
