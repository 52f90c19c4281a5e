"""Comparison of two audits: differences, and whether the variation of earlier audits explains them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.domain.monitoring.audit.history import usual_difference
from pipelines.domain.monitoring.audit.measurements import Measurement, Unit

#: Differences of these are in percentage points: from 20 % to 30 % is 10 points, and 50 % more.
IN_POINTS = frozenset({Unit.PERCENT, Unit.PERCENT_OF_A_CORE})


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
    outcome: Outcome
    noise: float | None = None

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def difference_unit(self) -> str:
        """Unit of `difference`."""
        return "points" if self.unit in IN_POINTS else str(self.unit)

    @property
    def relative(self) -> float | None:
        """Signed change in percent of the value before, None when that is 0."""
        return 100.0 * self.difference / abs(self.before) if self.before else None


def compare(before: Measurement, after: Measurement, earlier: Sequence[float] = ()) -> Change:
    """Compare one measurement; `earlier`: its values in successive audits. Raises ValueError for different ones."""
    if before.key != after.key or before.unit is not after.unit:
        raise ValueError(f"{before.key} in {before.unit!s} and {after.key} in {after.unit!s} cannot be compared")
    noise = usual_difference(earlier)
    if noise is None:
        return Change(after.key, after.unit, before.value, after.value, Outcome.NOT_JUDGED)
    outcome = Outcome.CHANGED if abs(after.value - before.value) > noise else Outcome.NOISE
    return Change(after.key, after.unit, before.value, after.value, outcome, noise)


@dataclass(frozen=True)
class Comparison:
    """Changes of the measurements that both audits have, and the keys of the others."""

    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def compare_all(
    before: Iterable[Measurement], after: Iterable[Measurement], earlier: Mapping[str, Sequence[float]] | None = None
) -> Comparison:
    """Compare all measurements that both sides have; totals over different processes are not comparable.

    `earlier`: by key, values of successive audits.
    """
    known, first, second = earlier or {}, {one.key: one for one in before}, {one.key: one for one in after}

    def comparable(key: str) -> bool:
        """The note of a total lists its processes."""
        one, other = first[key], second[key]
        return one.unit is other.unit and (not one.name.startswith("all_") or one.note == other.note)

    both = [key for key in second if key in first and comparable(key)]
    return Comparison(
        tuple(compare(first[key], second[key], known.get(key, ())) for key in both),
        tuple(sorted(first.keys() - set(both))),
        tuple(sorted(second.keys() - set(both))),
    )
