"""Service targets: declared with units in `targets.toml`, judged against the measurements of an audit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from pipelines.domain.monitoring.audit.measurements import Measurement, Statistic, Unit, formatted


class Severity(StrEnum):
    """Urgency: P0 now, P1 today, P2 this week, P3 when there is time."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Area(StrEnum):
    """Subject of a target or a finding; each area has a weight in the grade."""

    ANSWERS = "answers"
    DATABASE = "database"
    MAINTENANCE = "maintenance"
    RESOURCES = "resources"


@dataclass(frozen=True)
class Target:
    """A service target, as it was declared at the time of the audit."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}
    title: str
    name: str
    """Name of the measurements that it applies to."""
    unit: Unit
    bound: float
    upper: bool
    """Whether the value has to be below the bound, rather than at least the bound."""
    severity: Severity
    area: Area
    statistic: Statistic = Statistic.LAST
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the measurements must have; empty: all of them."""

    @property
    def check(self) -> str:
        """Name of its asset check: `tick_to_file_p99`."""
        return "_".join(re.findall(r"[a-z0-9]+", self.title.lower().replace("'", "")))

    def applies_to(self, one: Measurement) -> bool:
        """Whether name and statistic are the same and the labels include those of the target."""
        same = (one.name, one.statistic) == (self.name, self.statistic)
        return same and self.labels.items() <= one.labels.items()

    @property
    def bound_text(self) -> str:
        """The bound as shown: `below 10 ms`."""
        return f"{'below' if self.upper else 'at least'} {formatted(self.bound, self.unit)}"

    @property
    def text(self) -> str:
        """Title and bound: `lookup p95 below 10 ms`."""
        return f"{self.title} {self.bound_text}"


class State(StrEnum):
    """State of a target in an audit."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Judgement:
    """State of a target in an audit."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}
    target: Target
    state: State
    value: float | None = None
    """The worst of the measurements that it applies to; null when not measured."""
    key: str | None = None
    """Key of that measurement."""


def judge(targets: Sequence[Target], measurements: Sequence[Measurement]) -> tuple[Judgement, ...]:
    """Judge every target. Raises ValueError for a measurement in another unit than its target's."""
    found = []
    for target in targets:
        matching = [one for one in measurements if target.applies_to(one)]
        for one in matching:
            if one.unit is not target.unit:
                raise ValueError(f"{target.title} is declared in {target.unit!s}, but {one.key} is in {one.unit!s}")
        if matching:
            worst = (max if target.upper else min)(matching, key=lambda one: one.value)
            met = worst.value < target.bound if target.upper else worst.value >= target.bound
            found.append(Judgement(target, State.MET if met else State.MISSED, worst.value, worst.key))
        else:
            found.append(Judgement(target, State.NOT_MEASURED))
    return tuple(found)


#: A breach lasts when so many successive audits missed a target over at least this time.
LASTING_AUDITS = 3
LASTING_TIME = timedelta(hours=1)
#: Longest time between two successive audits: one hourly audit may fail, a night without audits ends a breach.
LONGEST_PAUSE = timedelta(hours=3)
#: Older audits are not read; an older breach is reported as one that began then.
BREACH_WINDOW = timedelta(days=2)


@dataclass(frozen=True)
class JudgedAudit:
    """Judgements of an audit; `at` is aware UTC."""

    at: datetime
    judgements: Sequence[Judgement]


@dataclass(frozen=True)
class Breach:
    """A target that successive audits missed."""

    title: str
    severity: Severity
    message: str


def lasting_breaches(newest_first: Sequence[JudgedAudit], now: datetime) -> tuple[Breach, ...]:
    """Targets that successive audits up to `now` (aware UTC) missed for at least an hour; one miss is no breach.

    An audit that could not measure a target neither begins a breach nor ends one.
    """
    if not newest_first:
        return ()
    found = []
    for newest in newest_first[0].judgements:
        missed: list[tuple[datetime, Judgement]] = []
        at = now
        for audit in newest_first:
            judgement = next((one for one in audit.judgements if one.target.title == newest.target.title), None)
            if judgement is None or judgement.state is State.MET or at - audit.at > LONGEST_PAUSE:
                break
            at = audit.at
            if judgement.state is State.MISSED:
                missed.append((audit.at, judgement))
        if len(missed) >= LASTING_AUDITS and missed[0][0] - missed[-1][0] >= LASTING_TIME:
            value = formatted(missed[0][1].value or 0.0, newest.target.unit)
            since = "" if newest.state is State.MISSED else "; later audits could not measure it"
            message = (
                f"{newest.target.text} was missed by {len(missed)} audits since {missed[-1][0]:%Y-%m-%d %H:%M} UTC, "
                f"last with {value}{since}"
            )
            found.append(Breach(newest.target.title, newest.target.severity, message))
    return tuple(found)
