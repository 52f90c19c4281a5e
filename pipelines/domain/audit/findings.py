"""Findings: what somebody should look at, with the evidence, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.domain.audit.figures import told
from pipelines.domain.audit.slo import Area, Judgement, Severity, State


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


def missed_targets(judgements: Sequence[Judgement]) -> tuple[Finding, ...]:
    """A finding for each target that was missed."""
    return tuple(
        Finding(
            f"target {one.target.title}", one.target.severity, one.target.area, f"{one.target.title} misses its target",
            f"{one.key} is {told(one.value, one.target.unit)}; wanted: {one.target.told}",
            "see the figures of the same area beside it", "see its page in docs/runbook.md",
            command="strikecast audit show",
        )
        for one in judgements
        if one.state is State.MISSED and one.value is not None
    )  # fmt: skip


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
