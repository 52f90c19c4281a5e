"""Reports of the newest audit as files: a page, JSON for machines, and metrics for Prometheus.

The schema of the JSON is `docs/audit.schema.json`, printed by `strikecast audit schema`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from pipelines.atomic_files import atomic_write
from pipelines.domain.monitoring.audit.document import audit_document
from pipelines.domain.monitoring.audit.findings import Finding, Scorecard
from pipelines.domain.monitoring.audit.measurements import Gap, Statistic, Unit
from pipelines.domain.monitoring.audit.report import Audit, Kind
from pipelines.domain.monitoring.audit.targets import Judgement
from pipelines.monitoring.audit import prometheus
from pipelines.monitoring.audit.render import html
from pipelines.settings import Settings


class _Published(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True, frozen=True, use_attribute_docstrings=True)


class PublishedMeasurement(_Published):
    """A measured value."""

    key: str
    """Name, statistic and labels: the same in every audit."""
    name: str
    labels: Mapping[str, str]
    """Object of the measurement: its table, process, symbol, ..."""
    unit: Unit
    """Unit of the value; empty for a count."""
    statistic: Statistic
    """How the value is computed from the samples."""
    value: float
    samples: tuple[float, ...] = Field(min_length=1)
    note: str
    """Further information, such as the shape of a query's plan."""


class PublishedAudit(_Published):
    """An audit of a strikecast system by itself. Times are UTC."""

    audit_id: int | None
    """Its number; null when it was not stored."""
    kind: Kind
    started_at: datetime
    finished_at: datetime
    code_version: str
    server_version: str
    """As PostgreSQL numbers it; empty without a server."""
    machine: Mapping[str, Any]
    cpu_seconds: float
    """CPU time of the audit's own process."""
    figures: tuple[PublishedMeasurement, ...] = Field(validation_alias="measurements")
    gaps: tuple[Gap, ...]
    judgements: tuple[Judgement, ...]
    findings: tuple[Finding, ...]
    scorecard: Scorecard


def json_document(audit: Audit) -> dict[str, Any]:
    """An audit in JSON's types."""
    return PublishedAudit.model_validate(audit).model_dump(mode="json")


def json_schema() -> dict[str, Any]:
    """JSON schema of `json_document`."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | PublishedAudit.model_json_schema(mode="serialization")


@dataclass(frozen=True)
class Reports:
    """Paths of the reports."""

    page: Path
    json: Path
    metrics: Path


def report_paths(settings: Settings) -> Reports:
    """Paths of the newest audit's reports."""
    folder = settings.reports_dir
    return Reports(folder / "audit.html", folder / "audit.json", folder / "strikecast.prom")


def write_reports(settings: Settings, audit: Audit) -> None:
    """Replace each report atomically."""
    paths = report_paths(settings)
    settings.reports_dir.mkdir(parents=True, exist_ok=True)
    for path, content in (
        (paths.page, html(audit_document(audit)).encode()),
        (paths.json, orjson.dumps(json_document(audit), option=orjson.OPT_INDENT_2)),
        (paths.metrics, prometheus.metrics(audit)),
    ):
        with atomic_write(path) as partial:
            partial.write_bytes(content)
