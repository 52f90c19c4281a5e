"""Measurements of an audit: a unit, a statistic, and the samples that the value is computed from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from statistics import fmean
from typing import Any, ClassVar


class Unit(StrEnum):
    """Unit of a measurement, as printed after its value."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    BYTES = "B"
    BYTES_PER_SECOND = "B/s"
    BYTES_PER_DAY = "B/d"
    PER_SECOND = "/s"
    PERCENT = "%"
    #: Two busy cores are 200 %.
    PERCENT_OF_A_CORE = "% of a core"
    #: Percentage points: the difference of two percentages.
    POINTS = "points"
    PER_CORE = "per core"
    COUNT = ""


class Statistic(StrEnum):
    """How the value is computed from the samples."""

    LAST = "last"
    MEAN = "mean"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    MAX = "max"


PERCENTILES = {Statistic.P50: 50.0, Statistic.P95: 95.0, Statistic.P99: 99.0}


def key_of(name: str, labels: Mapping[str, str], statistic: str = "") -> str:
    """Key of a measurement: `lookup_read p95 {symbol=BTC}`."""
    listed = ", ".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return " ".join(part for part in (name, statistic, listed and f"{{{listed}}}") if part)


@dataclass(frozen=True)
class Measurement:
    """A measured value: `statistic` of `samples`. `labels` name the object, such as a table or a process.

    `note` is shown with it, such as the shape of a query's plan, and does not identify it. Raises ValueError without
    samples, or for one that is not finite: that is a gap.
    """

    name: str
    unit: Unit
    statistic: Statistic
    samples: tuple[float, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not self.samples or not all(map(math.isfinite, self.samples)):
            raise ValueError(f"{self.key} has no samples, or one that is not finite: report a gap instead")

    @cached_property
    def value(self) -> float:
        """Computed from the samples; percentiles by linear interpolation."""
        match self.statistic:
            case Statistic.LAST:
                return self.samples[-1]
            case Statistic.MEAN:
                return fmean(self.samples)
            case Statistic.MAX:
                return max(self.samples)
        import numpy as np

        return float(np.percentile(self.samples, PERCENTILES[self.statistic]))

    @property
    def key(self) -> str:
        """Name, statistic and labels, the same in every audit."""
        return key_of(self.name, self.labels, "" if self.statistic is Statistic.LAST else self.statistic)


@dataclass(frozen=True)
class Reading:
    """A measurement's value in an earlier audit; `at` is aware UTC."""

    at: datetime
    value: float


@dataclass(frozen=True)
class Gap:
    """What an audit could not measure, and why; never a zero."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    name: str
    why: str


@dataclass(frozen=True)
class Detection:
    """A problem of a declared `kind` with `subject`, such as a table, and its evidence.

    `labels` fill the placeholders of the kind's explanation, as `subject` does.
    """

    kind: str
    subject: str
    evidence: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Kind and subject: the same in every audit that detects it."""
        return f"{self.kind} {self.subject}".strip()


def single(name: str, unit: Unit, value: float, note: str = "", **labels: str) -> Measurement:
    """A measurement with one sample."""
    return Measurement(name, unit, Statistic.LAST, (float(value),), labels, note)


def percentiles(name: str, unit: Unit, samples: Sequence[float], note: str = "", **labels: str) -> list[Measurement]:
    """p50, p95 and p99 of the same samples."""
    values = tuple(float(sample) for sample in samples)
    return [Measurement(name, unit, statistic, values, labels, note) for statistic in PERCENTILES]


@dataclass
class Measurements:
    """What a collector measured, could not measure, and detected."""

    items: list[Measurement] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)

    def add(self, name: str, unit: Unit, value: float | None, note: str = "", **labels: str) -> None:
        """Add a measurement with one sample, unless it is None."""
        if value is not None:
            self.items.append(single(name, unit, value, note, **labels))

    def add_gap(self, name: str, why: str) -> None:
        """Add what could not be measured."""
        self.gaps.append(Gap(name, why))

    def values(self) -> dict[str, float]:
        """Values by key."""
        return {one.key: one.value for one in self.items}

    def extend(self, other: "Measurements") -> None:
        """Add everything of another collector."""
        self.items += other.items
        self.gaps += other.gaps
        self.detections += other.detections


def activity(percent_of_a_core: float) -> str:
    """Activity class of a process: idle below 1 % of a core, high above 20 %."""
    return "idle" if percent_of_a_core < 1.0 else "normal" if percent_of_a_core <= 20.0 else "high"


BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def formatted(value: float, unit: Unit) -> str:
    """A value with its unit, to about three digits; bytes in powers of 1,024."""
    match unit:
        case Unit.BYTES | Unit.BYTES_PER_SECOND | Unit.BYTES_PER_DAY:
            size, name = next(((size, name) for size, name in BYTES if abs(value) >= size), (1, "B"))
            return f"{value / size:,.{0 if size == 1 else 1}f} {name}{unit.removeprefix('B')}"
        case Unit.SECONDS if abs(value) >= 3 * 86_400:
            return f"{value / 86_400:,.1f} d"
        case Unit.SECONDS if abs(value) >= 3 * 3_600:
            return f"{value / 3_600:,.1f} h"
        case Unit.PERCENT:
            return f"{value:,.2f} %"
        case Unit.COUNT:
            return f"{value:,.0f}" if value == round(value) else f"{value:,.3g}"
    return f"{value:,.3g} {unit}" if abs(value) < 100 else f"{value:,.0f} {unit}"
