"""An audit for machines: JSON whose schema is `docs/audit.schema.json`, printed by `strikecast audit schema`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from pipelines.domain.monitoring.audit.measurements import Statistic, Unit
from pipelines.domain.monitoring.audit.report import Audit, Kind
from pipelines.domain.monitoring.audit.targets import Area, Severity, State


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True, frozen=True)


class PublishedFigure(_Part):
    """One measured number."""

    key: str = Field(description="name, statistic and labels: the same in every audit")
    name: str
    labels: Mapping[str, str] = Field(description="of which table, process, symbol, ...")
    unit: Unit = Field(description="what it counts; empty for a number of things")
    statistic: Statistic = Field(description="how the value follows from the samples")
    value: float
    samples: tuple[float, ...] = Field(min_length=1, description="what the value follows from")
    note: str = Field(description="what is told with it, such as the shape of a plan")


class PublishedGap(_Part):
    """What could not be measured."""

    name: str
    why: str


class PublishedTarget(_Part):
    """A target of service, as it was declared then."""

    title: str
    name: str = Field(description="name of the figures that it is about")
    statistic: Statistic
    labels: Mapping[str, str] = Field(description="which of them; empty: all")
    unit: Unit
    bound: float
    upper: bool = Field(description="the figure is to be below the bound, rather than at least that")
    severity: Severity
    area: Area


class PublishedJudgement(_Part):
    """What became of a target."""

    target: PublishedTarget
    state: State
    value: float | None = Field(description="the figure that decided, the one furthest off; null when not measured")
    key: str | None = Field(description="its key")


class PublishedFinding(_Part):
    """What somebody should look at."""

    key: str = Field(description="the same in every audit that finds it")
    severity: Severity = Field(description="P0 now, P1 today, P2 this week, P3 when there is time")
    area: Area
    title: str
    evidence: str
    cause: str
    remedy: str
    effort: str
    command: str = Field(description="a command to try; empty without one")


class PublishedScorecard(_Part):
    """Points of a hundred: by area, null where nothing is known, and weighted."""

    areas: Mapping[Area, float | None]
    points: float | None
    grade: str = Field(description="A to E; - without points")


class PublishedAudit(_Part):
    """An audit of a strikecast system by itself. Times are UTC."""

    audit_id: int | None = Field(description="its number; null when it was not stored")
    kind: Kind
    started_at: datetime
    finished_at: datetime
    code_version: str
    server_version: str = Field(description="as PostgreSQL numbers it; empty without a server")
    machine: Mapping[str, Any]
    cpu_seconds: float = Field(description="processor time that the audit itself took, without the server's")
    figures: tuple[PublishedFigure, ...]
    gaps: tuple[PublishedGap, ...]
    judgements: tuple[PublishedJudgement, ...]
    findings: tuple[PublishedFinding, ...]
    scorecard: PublishedScorecard

    @classmethod
    def of(cls, audit: Audit) -> Self:
        """All of an audit."""
        return cls.model_validate(audit)


def plain(audit: Audit) -> dict[str, Any]:
    """For machines: everything, in types that JSON has."""
    return PublishedAudit.of(audit).model_dump(mode="json")


def schema() -> dict[str, Any]:
    """JSON schema of `plain`."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | PublishedAudit.model_json_schema(mode="serialization")
