"""Reports of audits in a terminal."""

from rich.console import Group, RenderableType
from rich.text import Text

from pipelines.cli.tables import WholeTable
from pipelines.domain.monitoring.audit.document import Document

STYLES = {
    "P0": "bold white on red",
    "P1": "bold red",
    "P2": "yellow",
    "P3": "dim",
    "missed": "bold red",
    "met": "green",
}
#: Columns that are not wrapped.
COPIED = {"command"}


def audit_report(document: Document) -> RenderableType:
    """The sections of a report with their tables."""
    parts: list[RenderableType] = [Text(document.title, style="bold"), Text(document.lead, style="dim")]
    for section in document.sections:
        parts += [Text(), Text(section.title, style="bold cyan")]
        if section.lead:
            parts.append(Text(section.lead))
        if section.rows:
            rows = [[Text(cell, style=STYLES.get(cell, "")) for cell in row] for row in section.rows]
            text, numbers = section.header[: section.text_columns], section.header[section.text_columns :]
            parts.append(WholeTable(section.header, rows, numbers=numbers, prose={*text} - COPIED))
    return Group(*parts)
