"""Reports of an audit: as Markdown, as a page, as JSON for machines, and as metrics for Prometheus.

The schema of the JSON is `docs/audit.schema.json`, printed by `strikecast audit schema`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import orjson
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from pipelines.atomic_files import atomic_write
from pipelines.domain.monitoring.audit.document import Document, audit_document
from pipelines.domain.monitoring.audit.findings import Audit, Finding, Kind, Scorecard
from pipelines.domain.monitoring.audit.measurements import Gap, Measurement, Statistic, Unit
from pipelines.domain.monitoring.audit.targets import Judgement, Severity, State
from pipelines.settings import Settings

PREFIX = "strikecast_"
#: Suffix of a metric's name, and the factor to its base unit.
BASE_UNITS = {
    Unit.SECONDS: ("_seconds", 1.0),
    Unit.MILLISECONDS: ("_seconds", 1e-3),
    Unit.BYTES: ("_bytes", 1.0),
    Unit.BYTES_PER_SECOND: ("_bytes_per_second", 1.0),
    Unit.BYTES_PER_DAY: ("_bytes_per_day", 1.0),
    Unit.PER_SECOND: ("_per_second", 1.0),
    Unit.PERCENT: ("_ratio", 1e-2),
    Unit.PERCENT_OF_A_CORE: ("_cores", 1e-2),
    Unit.POINTS: ("_ratio", 1e-2),
    Unit.PER_CORE: ("_per_core", 1.0),
    Unit.COUNT: ("", 1.0),
}


def markdown(document: Document) -> str:
    """A report for a file, or an asset's metadata."""
    lines = [f"# {document.title}", "", document.lead]
    for section in document.sections:
        lines += ["", f"## {section.title}", ""]
        if section.lead:
            lines += [section.lead, ""]
        if section.rows:
            rule = ["---" if column < section.text_columns else "---:" for column in range(len(section.header))]
            lines += [_line(section.header), _line(rule), *(_line(row) for row in section.rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def html(document: Document) -> str:
    """A report as a page without external resources."""
    source = resources.files("pipelines.monitoring.audit").joinpath("page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True).from_string(source).render(document=document)


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


def metrics(audit: Audit) -> bytes:
    """Measurements by name, then findings, targets and grade."""
    registry = CollectorRegistry(auto_describe=False)

    def gauge(name: str, documentation: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """A label that only some of the samples have is empty for the others."""
        names = sorted({label for labels, _ in samples for label in labels})
        metric = Gauge(PREFIX + name, documentation, names, registry=registry)
        for labels, value in samples:
            (metric.labels(*(labels.get(label, "") for label in names)) if names else metric).set(value)

    by_name: dict[str, list[Measurement]] = defaultdict(list)
    for one in audit.measurements:
        suffix = BASE_UNITS[one.unit][0]
        by_name[one.name.removesuffix(suffix) + suffix].append(one)
    for name, measurements in sorted(by_name.items()):
        several = any(one.statistic is not Statistic.LAST for one in measurements)
        samples = [
            ({**one.labels, **({"statistic": one.statistic} if several else {})}, one.value * BASE_UNITS[one.unit][1])
            for one in measurements
        ]
        gauge(name, f"{measurements[0].name.replace('_', ' ')}, by the newest audit", samples)
    gauge("audit_timestamp_seconds", "time the audit ended", [({"kind": audit.kind}, audit.finished_at.timestamp())])
    if audit.scorecard.points is not None:
        gauge("audit_points", "points of 100", [({"grade": audit.scorecard.grade}, audit.scorecard.points)])
    gauge("audit_gaps", "number of things not measured", [({}, len(audit.gaps))])
    counts = Counter(one.severity for one in audit.findings)
    gauge("audit_findings", "number of findings", [({"severity": one}, counts[one]) for one in Severity])
    judged = [(one.target, one.state) for one in audit.judgements if one.state is not State.NOT_MEASURED]
    labels = [{"target": target.check, "severity": target.severity, "area": target.area} for target, _ in judged]
    states = [float(state is State.MET) for _, state in judged]
    gauge("target_met", "1 met, 0 missed", list(zip(labels, states, strict=True)))
    return generate_latest(registry)


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
        (paths.metrics, metrics(audit)),
    ):
        with atomic_write(path) as partial:
            partial.write_bytes(content)
