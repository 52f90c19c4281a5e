"""Comparison with earlier audits: bands of what is usual, and differences beyond the variation between audits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipelines.domain.monitoring.audit.measurements import Detection, Measurement, Unit, formatted

#: Fewer audits have no band.
MIN_READINGS = 8
#: Half the width of a band: so many robust standard deviations, and at least this share of its median.
DEVIATIONS = 6.0
MIN_SHARE = 0.25
#: Makes the median absolute deviation of normal readings their standard deviation.
ROBUST = 1.4826
#: What has a band, and the growth that matters: the largest process of a name, which only a leak or more work can make
#: grow. Runs belong to different jobs and have no band.
BANDED = {"process_largest_uss": 32 * 2.0**20, "process_largest_threads": 8.0}
NOT_BANDED = {"run"}
#: Values by a measurement's key, oldest first.
History = Mapping[str, Sequence[float]]


def band_of(values: Sequence[float]) -> tuple[float, float] | None:
    """(Median of earlier values, largest usual distance from it) by the median absolute deviation; None of too few."""
    if len(values) < MIN_READINGS:
        return None
    median = float(np.median(values))
    spread = ROBUST * float(np.median(np.abs(np.asarray(values) - median)))
    return median, max(DEVIATIONS * spread, MIN_SHARE * abs(median))


def anomalies(measurements: Sequence[Measurement], history: History) -> list[Detection]:
    """Processes that grew beyond their band."""
    found = []
    for one in measurements:
        process, values = one.labels.get("process", ""), history.get(one.key, ())
        band = band_of(values)
        if band is None or one.name not in BANDED or process in NOT_BANDED:
            continue
        median, width = band
        if one.value > median + max(width, BANDED[one.name]):
            evidence = (
                f"{formatted(one.value, one.unit)}; the median of {len(values)} audits is "
                f"{formatted(median, one.unit)}, up to {formatted(median + width, one.unit)} is usual"
            )
            quantity = "memory" if one.unit is Unit.BYTES else "number of threads"
            found.append(Detection("outside its band", one.key, evidence, {"quantity": quantity, "process": process}))
    return found


def usual_difference(values: Sequence[float]) -> float | None:
    """Largest difference of two successive audits in nineteen of twenty cases without a change; None of too few.

    The median step is subtracted, as a trend is not noise, and readings outside the band are ignored.
    """
    band = band_of(values)
    if band is None:
        return None
    median, width = band
    readings = np.asarray(values, dtype=np.float64)
    usual = np.abs(readings - median) <= width
    steps = np.diff(readings)[usual[:-1] & usual[1:]]
    if steps.size < MIN_READINGS // 2:
        return None
    return float(np.percentile(np.abs(steps - np.median(steps)), 95.0))


class Outcome(StrEnum):
    """Outcome of the comparison of a measurement."""

    CHANGED = "changed"
    NOISE = "no difference"
    #: There are too few earlier audits to know the variation between audits.
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Change:
    """A measurement before and after; `noise`: usual difference of successive audits, None when not known."""

    key: str
    unit: Unit
    before: float
    after: float
    noise: float | None = None

    @property
    def outcome(self) -> Outcome:
        """Whether noise explains the difference."""
        if self.noise is None:
            return Outcome.NOT_JUDGED
        return Outcome.CHANGED if abs(self.difference) > self.noise else Outcome.NOISE

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def difference_unit(self) -> str:
        """Percentages change by points: from 20 % to 30 % is 10 points, and 50 % more."""
        return "points" if self.unit in {Unit.PERCENT, Unit.PERCENT_OF_A_CORE} else str(self.unit)

    @property
    def relative_pct(self) -> float | None:
        """Signed change in percent of the value before, None when that is 0."""
        return 100.0 * self.difference / abs(self.before) if self.before else None


def compare(before: Measurement, after: Measurement, earlier: Sequence[float] = ()) -> Change:
    """Compare measurements of the same key and unit; `earlier`: values in successive audits."""
    return Change(after.key, after.unit, before.value, after.value, usual_difference(earlier))


@dataclass(frozen=True)
class Comparison:
    """Changes of the measurements that both audits have, and the keys of the others."""

    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def compare_all(before: Iterable[Measurement], after: Iterable[Measurement], earlier: History) -> Comparison:
    """Compare all measurements that both sides have; `earlier`: values of successive audits."""
    first, second = {one.key: one for one in before}, {one.key: one for one in after}
    changes = tuple(
        compare(first[key], one, earlier.get(key, ()))
        for key, one in second.items()
        if key in first and _are_comparable(first[key], one)
    )
    both = {change.key for change in changes}
    return Comparison(changes, tuple(sorted(first.keys() - both)), tuple(sorted(second.keys() - both)))


def _are_comparable(before: Measurement, after: Measurement) -> bool:
    """Whether units are the same and totals, whose notes list their processes, are over the same ones."""
    return before.unit is after.unit and (not before.name.startswith("all_") or before.note == after.note)
