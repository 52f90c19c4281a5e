"""What the newest audit leaves for others to read: a page, its JSON, and metrics for Prometheus."""

from dataclasses import dataclass
from pathlib import Path

import orjson

from pipelines.atomic_files import atomic_write
from pipelines.domain.monitoring.audit.document import Document
from pipelines.domain.monitoring.audit.report import Audit
from pipelines.monitoring.audit import prometheus as metrics
from pipelines.monitoring.audit.json_document import plain
from pipelines.monitoring.audit.render import html
from pipelines.settings import Settings


@dataclass(frozen=True)
class Reports:
    """Where they are."""

    page: Path
    json: Path
    metrics: Path


def paths(settings: Settings) -> Reports:
    """Where the newest audit's are."""
    folder = settings.reports_dir
    return Reports(folder / "audit.html", folder / "audit.json", folder / "strikecast.prom")


def write(settings: Settings, audit: Audit, document: Document) -> None:
    """Write all three, each in one step."""
    found = paths(settings)
    settings.reports_dir.mkdir(parents=True, exist_ok=True)
    for path, content in (
        (found.page, html(document).encode()),
        (found.json, orjson.dumps(plain(audit), option=orjson.OPT_INDENT_2)),
        (found.metrics, metrics.text(audit)),
    ):
        with atomic_write(path) as partial:
            partial.write_bytes(content)
