"""Reports in a terminal, in Markdown and as a page."""

from collections.abc import Sequence
from importlib import resources

import jinja2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.domain.monitoring.audit.document import Document
from pipelines.domain.monitoring.audit.sections import Section

#: A text column is at least as wide as its longest word, up to so many letters.
LONGEST_WORD = 32
MIN_TEXT_WIDTH = 12
STYLES = {
    "P0": "bold white on red",
    "P1": "bold red",
    "P2": "yellow",
    "P3": "dim",
    "missed": "bold red",
    "met": "green",
}


def terminal(document: Document) -> RenderableType:
    """A report for rich."""
    parts: list[RenderableType] = [Text(document.title, style="bold"), Text(document.lead, style="dim")]
    for section in document.sections:
        parts += [Text(), Text(section.title, style="bold cyan")]
        if section.lead:
            parts.append(Text(section.lead))
        if section.rows:
            parts.append(_table(section))
    return Group(*parts)


def _table(section: Section) -> Table:
    """Numbers are never wrapped; text wraps between words."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    numbers = len(section.header) - section.text_columns
    widest = max(MIN_TEXT_WIDTH, LONGEST_WORD - 4 * numbers) // max(1, section.text_columns - 1)
    for column, name in enumerate(section.header):
        cells = [row[column] for row in section.rows]
        if column < section.text_columns:
            longest = max((len(word) for cell in cells for word in cell.split()), default=0)
            table.add_column(name, overflow="fold", min_width=min(longest, widest))
        else:
            width = max(len(cell) for cell in cells)
            table.add_column(name, justify="right", overflow="fold", no_wrap=True, min_width=width)
    for row in section.rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table


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
