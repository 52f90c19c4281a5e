"""Targets of service: declared with units in a file, judged against the figures of an audit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pipelines.domain.monitoring.audit.measurements import Figure, Statistic, Unit, told


class Severity(StrEnum):
    """How soon somebody should look: P0 now, P1 today, P2 this week, P3 when there is time."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Area(StrEnum):
    """What a target or a finding is about; the scorecard weighs by it."""

    ANSWERS = "answers"
    DATABASE = "database"
    MAINTENANCE = "maintenance"
    RESOURCES = "resources"


@dataclass(frozen=True)
class Target:
    """One target: the figures `name` with `statistic`, of all or of certain `labels`, are to keep to `bound`."""

    title: str
    name: str
    statistic: Statistic
    unit: Unit
    bound: float
    upper: bool
    severity: Severity
    area: Area
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def check(self) -> str:
        """Name of its asset check: `tick_to_file_p99`."""
        return "_".join(re.findall(r"[a-z0-9]+", self.title.lower().replace("'", "")))

    def judges(self, figure: Figure) -> bool:
        """Whether a figure is one that it is about."""
        return figure.is_of(self.name, self.statistic, self.labels)

    def holds(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value < self.bound if self.upper else value >= self.bound

    @property
    def bound_told(self) -> str:
        """The bound as people read it: `below 10 ms`."""
        return f"{'below' if self.upper else 'at least'} {told(self.bound, self.unit)}"

    @property
    def told(self) -> str:
        """As people read it: `lookup p95 below 10 ms`."""
        return f"{self.title} {self.bound_told}"


class State(StrEnum):
    """What became of a target."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Judgement:
    """A target and the figure that decided: of several labels the one furthest off; `value` None when not measured."""

    target: Target
    state: State
    value: float | None = None
    key: str | None = None


def parse_targets(raw: Mapping[str, Any]) -> tuple[Target, ...]:
    """Targets from the content of a TOML file. Raises ValueError that names the wrong one."""
    found = []
    for number, entry in enumerate(raw.get("target", ()), start=1):
        name = entry.get("title", f"target {number}")
        try:
            bounds = [(kind, entry[kind]) for kind in ("below", "at_least") if kind in entry]
            ((kind, bound),) = bounds
            unknown = set(entry) - {
                "title",
                "figure",
                "statistic",
                "unit",
                "severity",
                "area",
                "labels",
                "advice",
                kind,
            }
            if unknown:
                raise ValueError(f"it has {', '.join(sorted(unknown))}, which no target has")
            found.append(
                Target(
                    entry["title"],
                    entry["figure"],
                    Statistic(entry.get("statistic", Statistic.LAST)),
                    Unit(entry["unit"]),
                    float(bound),
                    kind == "below",
                    Severity(entry["severity"]),
                    Area(entry["area"]),
                    dict(entry.get("labels", {})),
                )
            )
        except KeyError as error:
            raise ValueError(f"{name}: it lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
    if len({target.check for target in found}) < len(found):
        raise ValueError("two targets have one title")
    return tuple(found)


def judge(targets: Sequence[Target], figures: Sequence[Figure]) -> tuple[Judgement, ...]:
    """Every target, met, missed or not measured. Raises ValueError for a figure in another unit than its target's."""
    return tuple(_judge(target, figures) for target in targets)


def _judge(target: Target, figures: Sequence[Figure]) -> Judgement:
    of_it = [figure for figure in figures if target.judges(figure)]
    for figure in of_it:
        if figure.unit is not target.unit:
            raise ValueError(f"{target.title} is declared in {target.unit!s}, but {figure.key} is in {figure.unit!s}")
    if not of_it:
        return Judgement(target, State.NOT_MEASURED)
    worst = max(of_it, key=lambda figure: figure.value if target.upper else -figure.value)
    return Judgement(target, State.MET if target.holds(worst.value) else State.MISSED, worst.value, worst.key)


#: A breach lasts when so many audits missed a target, none met it meanwhile, and so much time lies between them.
LASTING_AUDITS = 3
LASTING_TIME = timedelta(hours=1)
#: An hour's audit that was left out is no end; a night without any is.
LONGEST_PAUSE = timedelta(hours=3)
#: How far back one looks: a breach that began before is told as one that began then.
LOOKED_BACK = timedelta(days=2)


@dataclass(frozen=True)
class Judged:
    """What became of the targets in an audit; `at` is aware UTC."""

    at: datetime
    judgements: Sequence[Judgement]


@dataclass(frozen=True)
class Breach:
    """A target that successive audits missed."""

    title: str
    severity: Severity
    message: str


def lasting_breaches(newest_first: Sequence[Judged], now: datetime) -> tuple[Breach, ...]:
    """Targets that the newest audits missed, one after the other, for an hour at least: one sample is no breach.

    An audit that could not measure a target neither makes a breach nor ends one. Audits of long before `now` (aware
    UTC) say nothing of it.
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
            value = told(missed[0][1].value or 0.0, newest.target.unit)
            since = "" if newest.state is State.MISSED else "; since then it could not be measured"
            began = f"{missed[-1][0]:%Y-%m-%d %H:%M} UTC"
            told_so_far = f"{newest.target.told} was missed by {len(missed)} audits from {began} on"
            message = f"{told_so_far}, by the last with {value}{since}"
            found.append(Breach(newest.target.title, newest.target.severity, message))
    return tuple(found)
