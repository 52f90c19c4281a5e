"""Findings: what somebody should look at, with the evidence, and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.domain.monitoring.audit.measurements import Figure, Measured, told
from pipelines.domain.monitoring.audit.targets import Area, Judgement, Severity, State


@dataclass(frozen=True)
class Finding:
    """One thing to look at. `key` is the same in every audit that finds it; `effort` in words; `command` to try."""

    key: str
    severity: Severity
    area: Area
    title: str
    evidence: str
    cause: str
    remedy: str
    effort: str = "minutes"
    command: str = ""


#: What a step of an audit measured, and what it found besides.
Found = tuple[Measured, list[Finding]]


@dataclass(frozen=True)
class Advice:
    """What is likely behind a target that was missed, what to do, and a command to try."""

    cause: str
    remedy: str
    command: str


def parse_advice(raw: Mapping[str, Any]) -> dict[str, Advice]:
    """By a target's title, from the content of the targets' file. Raises ValueError that names one without."""
    found = {}
    for entry in raw.get("target", ()):
        try:
            found[entry["title"]] = Advice(*(entry["advice"][name] for name in ("cause", "remedy", "command")))
        except KeyError as error:
            raise ValueError(f"{entry.get('title', 'a target')}: its advice lacks {error}") from error
    return found


def missed_targets(
    judgements: Sequence[Judgement], advice: Mapping[str, Advice], figures: Sequence[Figure]
) -> tuple[Finding, ...]:
    """A finding for each target that was missed, with the advice of its title.

    `{symbol}` in its command is that of the figure that decided.
    """
    labels = {figure.key: figure.labels for figure in figures}
    return tuple(
        Finding(
            f"target {one.target.title}",
            one.target.severity,
            one.target.area,
            f"missed: {one.target.title}",
            f"{told(one.value, one.target.unit)}, wanted {one.target.bound_told} ({one.key})",
            advice[one.target.title].cause,
            advice[one.target.title].remedy,
            command=advice[one.target.title].command.replace(
                "{symbol}", labels.get(one.key or "", {}).get("symbol", "SYMBOL")
            ),
        )
        for one in judgements
        if one.state is State.MISSED and one.value is not None
    )


#: What a finding takes off its area's hundred points.
PENALTIES = {Severity.P0: 100.0, Severity.P1: 40.0, Severity.P2: 15.0, Severity.P3: 5.0}
#: What an area weighs in the grade: answers are what the system is for.
WEIGHTS = {Area.ANSWERS: 0.4, Area.DATABASE: 0.25, Area.MAINTENANCE: 0.2, Area.RESOURCES: 0.15}
GRADES = ((95.0, "A"), (85.0, "B"), (70.0, "C"), (50.0, "D"), (0.0, "E"))


@dataclass(frozen=True)
class Scorecard:
    """Points of each area, 0 to 100, None where nothing of it was measured; the weighted mean of the rest; a letter."""

    areas: dict[Area, float | None] = field(default_factory=dict)

    @property
    def points(self) -> float | None:
        """The weighted mean over the areas that have points; None without any."""
        known = {area: points for area, points in self.areas.items() if points is not None}
        weight = sum(WEIGHTS[area] for area in known)
        return sum(WEIGHTS[area] * points for area, points in known.items()) / weight if known else None

    @property
    def grade(self) -> str:
        """A to E by the points; `-` without any."""
        points = self.points
        return "-" if points is None else next(letter for least, letter in GRADES if points >= least)


def score(findings: Sequence[Finding], judgements: Sequence[Judgement]) -> Scorecard:
    """A hundred points an area less its findings' penalties, never below 0. An area none of whose targets was measured,
    and that has no finding, has no points: nothing is known of it.
    """
    areas: dict[Area, float | None] = {}
    for area in Area:
        of_it = [one for one in findings if one.area is area]
        measured = any(one.target.area is area and one.state is not State.NOT_MEASURED for one in judgements)
        areas[area] = max(0.0, 100.0 - sum(PENALTIES[one.severity] for one in of_it)) if of_it or measured else None
    return Scorecard(areas)
