"""Targets of service: declared with units in a file, judged against the figures of an audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.domain.audit.figures import Figure, Statistic, Unit, told


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
    """One target: the figure `name` with `statistic`, of whatever labels, is to be below or above `bound` in `unit`."""

    title: str
    name: str
    statistic: Statistic
    unit: Unit
    bound: float
    upper: bool
    severity: Severity
    area: Area

    def holds(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value < self.bound if self.upper else value >= self.bound

    @property
    def told(self) -> str:
        """As people read it: `lookup p95 below 10 ms`."""
        return f"{self.title} {'below' if self.upper else 'at least'} {told(self.bound, self.unit)}"


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
            unknown = set(entry) - {"title", "figure", "statistic", "unit", "severity", "area", kind}
            if unknown:
                raise ValueError(f"it has {', '.join(sorted(unknown))}, which no target has")
            found.append(
                Target(
                    entry["title"], entry["figure"], Statistic(entry.get("statistic", Statistic.LAST)),
                    Unit(entry["unit"]), float(bound), kind == "below", Severity(entry["severity"]),
                    Area(entry["area"]),
                )
            )  # fmt: skip
        except KeyError as error:
            raise ValueError(f"{name}: it lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
    if len({target.title for target in found}) < len(found):
        raise ValueError("two targets have one title")
    return tuple(found)


def judge(targets: Sequence[Target], figures: Sequence[Figure]) -> tuple[Judgement, ...]:
    """Every target, met, missed or not measured. Raises ValueError for a figure in another unit than its target's."""
    return tuple(_judge(target, figures) for target in targets)


def _judge(target: Target, figures: Sequence[Figure]) -> Judgement:
    of_it = [figure for figure in figures if (figure.name, figure.statistic) == (target.name, target.statistic)]
    for figure in of_it:
        if figure.unit is not target.unit:
            raise ValueError(f"{target.title} is declared in {target.unit!s}, but {figure.key} is in {figure.unit!s}")
    if not of_it:
        return Judgement(target, State.NOT_MEASURED)
    worst = max(of_it, key=lambda figure: figure.value if target.upper else -figure.value)
    return Judgement(target, State.MET if target.holds(worst.value) else State.MISSED, worst.value, worst.key)
