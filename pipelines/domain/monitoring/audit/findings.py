"""Findings: problems with evidence, likely cause and remedy; and the grade that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.domain.monitoring.audit.measurements import Detection, Measurement, formatted
from pipelines.domain.monitoring.audit.targets import Area, Judgement, Severity, State


@dataclass(frozen=True)
class Finding:
    """A problem to look at."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}
    key: str
    """The same in every audit that finds it."""
    severity: Severity
    """P0 now, P1 today, P2 this week, P3 when there is time."""
    area: Area
    title: str
    evidence: str
    cause: str
    remedy: str
    effort: str = "minutes"
    command: str = ""
    """A command to try; may be empty."""


@dataclass(frozen=True)
class Explanation:
    """What a kind of detection means; title, cause and command may have placeholders."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    severity: Severity
    title: str
    cause: str
    remedy: str
    area: Area = Area.DATABASE
    effort: str = "minutes"
    command: str = ""


def explain(detections: Sequence[Detection], explanations: Mapping[str, Explanation]) -> tuple[Finding, ...]:
    """Findings by severity, one for each key. Raises KeyError for a kind that is not declared."""
    found = {}
    for one in detections:
        of_kind, labels = explanations[one.kind], {"subject": one.subject, **one.labels}
        title, cause, command = (text.format(**labels) for text in (of_kind.title, of_kind.cause, of_kind.command))
        texts = (title, one.evidence, cause, of_kind.remedy, of_kind.effort, command)
        found[one.key] = Finding(one.key, of_kind.severity, of_kind.area, *texts)
    return tuple(sorted(found.values(), key=lambda one: (one.severity, one.key)))


def missed_targets(judgements: Sequence[Judgement], measurements: Sequence[Measurement]) -> list[Detection]:
    """A detection for each missed target, of the kind `target TITLE`."""
    symbols = {one.key: one.labels.get("symbol", "SYMBOL") for one in measurements}
    found = []
    for judgement in judgements:
        target, value, key = judgement.target, judgement.value, judgement.key or ""
        if judgement.state is State.MISSED and value is not None:
            evidence = f"{formatted(value, target.unit)}, wanted {target.bound_text} ({key})"
            labels = {"symbol": symbols.get(key, "SYMBOL")}
            found.append(Detection(f"target {target.title}", "", evidence, labels))
    return found


#: Points that a finding subtracts from the hundred of its area.
PENALTIES = {Severity.P0: 100.0, Severity.P1: 40.0, Severity.P2: 15.0, Severity.P3: 5.0}
#: Weights of the areas in the grade; answers are the purpose of the system.
WEIGHTS = {Area.ANSWERS: 0.4, Area.DATABASE: 0.25, Area.MAINTENANCE: 0.2, Area.RESOURCES: 0.15}
GRADES = ((95.0, "A"), (85.0, "B"), (70.0, "C"), (50.0, "D"), (0.0, "E"))


@dataclass(frozen=True)
class Scorecard:
    """Points of each area, 0 to 100, None where nothing was measured; their weighted mean; a grade."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}
    areas: Mapping[Area, float | None]
    """Points by area; null where nothing was measured."""
    points: float | None
    """Weighted mean over the areas that have points."""
    grade: str
    """A to E; - without points."""


def score(findings: Sequence[Finding], judgements: Sequence[Judgement]) -> Scorecard:
    """A hundred points for each area minus the penalties of its findings, at least 0.

    An area without findings, none of whose targets was measured, has no points.
    """
    areas: dict[Area, float | None] = {}
    for area in Area:
        penalties = [PENALTIES[one.severity] for one in findings if one.area is area]
        measured = any(one.target.area is area and one.state is not State.NOT_MEASURED for one in judgements)
        areas[area] = max(0.0, 100.0 - sum(penalties)) if penalties or measured else None
    known = {area: points for area, points in areas.items() if points is not None}
    if not known:
        return Scorecard(areas, None, "-")
    points = sum(WEIGHTS[area] * points for area, points in known.items()) / sum(WEIGHTS[area] for area in known)
    return Scorecard(areas, points, next(letter for least, letter in GRADES if points >= least))
