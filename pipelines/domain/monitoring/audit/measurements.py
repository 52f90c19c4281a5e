"""Figures of an audit: each with its unit and the samples that it follows from. What could not be measured is a gap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np


class Unit(StrEnum):
    """What a figure counts, as it is written behind it."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    BYTES = "B"
    BYTES_PER_SECOND = "B/s"
    BYTES_PER_DAY = "B/d"
    PER_SECOND = "/s"
    PERCENT = "%"
    #: Of one processor core, so that two busy cores are 200.
    PERCENT_OF_A_CORE = "% of a core"
    #: Of percent: what two percentages differ by.
    POINTS = "points"
    PER_CORE = "per core"
    COUNT = ""


class Statistic(StrEnum):
    """How a figure follows from its samples."""

    LAST = "last"
    SUM = "sum"
    MEAN = "mean"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    LARGEST = "max"


PERCENTILES = {Statistic.P50: 50.0, Statistic.P95: 95.0, Statistic.P99: 99.0}


def statistic_of(statistic: Statistic, samples: Sequence[float]) -> float:
    """A statistic of at least one sample; percentiles are of the samples themselves, by linear interpolation."""
    values = np.asarray(samples, dtype=np.float64)
    if statistic in PERCENTILES:
        return float(np.percentile(values, PERCENTILES[statistic]))
    match statistic:
        case Statistic.SUM:
            return float(values.sum())
        case Statistic.MEAN:
            return float(values.mean())
        case Statistic.LARGEST:
            return float(values.max())
    return float(values[-1])


@dataclass(frozen=True)
class Figure:
    """One measured number. `name` says what of, `labels` of which one; `value` is `statistic` of `samples`.

    `note` is told with it, such as the shape of a query's plan, and is no part of what it is.
    """

    name: str
    unit: Unit
    statistic: Statistic
    samples: tuple[float, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not self.samples or not np.isfinite(self.samples).all():
            raise ValueError(f"{self.key} has no samples, or one that is no number: that is a gap")

    @property
    def value(self) -> float:
        """The figure, anew from its samples."""
        return statistic_of(self.statistic, self.samples)

    def is_of(self, name: str, statistic: Statistic, labels: Mapping[str, str]) -> bool:
        """Whether it is the statistic of what is so named, and has these labels, others besides or not."""
        return (self.name, self.statistic) == (name, statistic) and labels.items() <= self.labels.items()

    @property
    def key(self) -> str:
        """Name, statistic and labels: the same in every audit."""
        return key_of(self.name, self.statistic, self.labels)


def key_of(name: str, statistic: Statistic, labels: Mapping[str, str]) -> str:
    """As `Figure.key`: `lookup_read p95 {symbol=BTC}`."""
    told = ", ".join(f"{label}={value}" for label, value in sorted(labels.items()))
    parts = (name, "" if statistic is Statistic.LAST else statistic, told and f"{{{told}}}")
    return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Gap:
    """What an audit could not measure, and why; never a zero."""

    name: str
    why: str


@dataclass(frozen=True)
class Measured:
    """What a collector found."""

    figures: tuple[Figure, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(self.figures + other.figures, self.gaps + other.gaps)


def one(name: str, unit: Unit, value: float, note: str = "", **labels: str) -> Figure:
    """A figure that was read once."""
    return Figure(name, unit, Statistic.LAST, (float(value),), labels, note)


def percentiles(name: str, unit: Unit, samples: Sequence[float], note: str = "", **labels: str) -> tuple[Figure, ...]:
    """p50, p95 and p99 of the same samples."""
    values = tuple(float(sample) for sample in samples)
    return tuple(Figure(name, unit, statistic, values, labels, note) for statistic in PERCENTILES)


IDLE_BELOW_PCT = 1.0
HIGH_ABOVE_PCT = 20.0


def activity(percent_of_a_core: float) -> str:
    """Idle, normal or high: every share of a core is one of the three."""
    if percent_of_a_core < IDLE_BELOW_PCT:
        return "idle"
    return "normal" if percent_of_a_core <= HIGH_ABOVE_PCT else "high"


BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def scale_of(value: float, unit: Unit) -> tuple[int, str]:
    """What to divide a value by to read it, and what it is in then: bytes by powers of 1,024."""
    if unit not in (Unit.BYTES, Unit.BYTES_PER_SECOND, Unit.BYTES_PER_DAY):
        return 1, str(unit)
    size, name = next(((size, name) for size, name in BYTES if abs(value) >= size), (1, "B"))
    return size, f"{name}{str(unit).removeprefix('B')}"


def told(value: float, unit: Unit) -> str:
    """A value with its unit, three digits or so."""
    match unit:
        case Unit.BYTES | Unit.BYTES_PER_SECOND | Unit.BYTES_PER_DAY:
            size, name = scale_of(value, unit)
            return f"{value / size:,.{0 if size == 1 else 1}f} {name}"
        case Unit.SECONDS if abs(value) >= 3 * 86_400:
            return f"{value / 86_400:,.1f} d"
        case Unit.SECONDS if abs(value) >= 3 * 3_600:
            return f"{value / 3_600:,.1f} h"
        case Unit.PERCENT:
            return f"{value:,.2f} %"
        case Unit.COUNT:
            return f"{value:,.0f}" if value == round(value) else f"{value:,.3g}"
    return f"{value:,.3g} {unit}" if abs(value) < 100 else f"{value:,.0f} {unit}"
