"""An audit as a whole: findings with evidence, likely cause and remedy, and the grade that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

from pipelines.domain.monitoring.audit.measurements import Detection, Gap, Measurement, formatted
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


def explain(detections: Sequence[Detection], explanations: Mapping[str, Finding]) -> tuple[Finding, ...]:
    """Findings by severity, one for each key. Raises KeyError for a kind that is not declared.

    `explanations`: by kind, findings without evidence, whose title, cause and command may have placeholders.
    """
    found = {}
    for one in detections:
        of_kind, labels = explanations[one.kind], {"subject": one.subject, **one.labels}
        texts = {name: getattr(of_kind, name).format(**labels) for name in ("title", "cause", "command")}
        found[one.key] = replace(of_kind, key=one.key, evidence=one.evidence, **texts)
    return tuple(sorted(found.values(), key=lambda one: (one.severity, one.key)))


def missed_targets(judgements: Sequence[Judgement], measurements: Sequence[Measurement]) -> list[Detection]:
    """A detection for each missed target, of the kind `target TITLE`."""
    by_key = {one.key: one for one in measurements}
    found = []
    for judgement in judgements:
        if judgement.state is State.MISSED and judgement.key is not None:
            target, worst = judgement.target, by_key[judgement.key]
            evidence = f"{formatted(worst.value, target.unit)}, wanted {target.bound_text} ({worst.key})"
            labels = {"symbol": worst.labels.get("symbol", "SYMBOL")}
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


class Kind(StrEnum):
    """How much an audit measures."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True)
class Audit:
    """What was measured, and what follows; times in UTC; `cpu_seconds` of the audit's own process."""

    kind: Kind
    started_at: datetime
    finished_at: datetime
    code_version: str
    server_version: str
    machine: Mapping[str, Any]
    cpu_seconds: float
    measurements: tuple[Measurement, ...]
    gaps: tuple[Gap, ...]
    judgements: tuple[Judgement, ...]
    findings: tuple[Finding, ...]
    audit_id: int | None = None

    @cached_property
    def scorecard(self) -> Scorecard:
        """Points by area, from the findings."""
        return score(self.findings, self.judgements)
