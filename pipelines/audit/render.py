"""A document as a terminal, Markdown or a browser shows it."""

from dataclasses import asdict
from importlib import resources
from typing import Any

import jinja2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.domain.audit.document import Document, Section
from pipelines.domain.audit.report import Audit

LEAST_WORDS = 14
STYLES = {
    "P0": "bold white on red",
    "P1": "bold red",
    "P2": "yellow",
    "P3": "dim",
    "missed": "bold red",
    "met": "green",
}


def terminal(document: Document) -> RenderableType:
    """For rich."""
    parts: list[RenderableType] = [Text(document.title, style="bold"), Text(document.lead, style="dim")]
    for section in document.sections:
        parts += [Text(), Text(section.title, style="bold cyan")]
        if section.lead:
            parts.append(Text(section.lead))
        if section.rows:
            parts.append(_table(section))
    return Group(*parts)


def _table(section: Section) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for number, name in enumerate(section.header):
        text = number < section.text_columns
        longest = max(len(row[number]) for row in section.rows)
        # What is narrower than it likes to be loses words to the next line, and never a digit.
        table.add_column(
            name, justify="left" if text else "right", overflow="fold", no_wrap=not text,
            min_width=min(longest, LEAST_WORDS) if text else longest,
        )  # fmt: skip
    for row in section.rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table


def markdown(document: Document) -> str:
    """For a file, or an asset's metadata."""
    lines = [f"# {document.title}", "", document.lead]
    for section in document.sections:
        lines += ["", f"## {section.title}", ""]
        if section.lead:
            lines += [section.lead, ""]
        if section.rows:
            rule = ["---" if number < section.text_columns else "---:" for number in range(len(section.header))]
            lines += [_line(section.header), _line(rule), *(_line(row) for row in section.rows)]
    return "\n".join(lines) + "\n"


def _line(cells: "tuple[str, ...] | list[str]") -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def html(document: Document) -> str:
    """One page that needs nothing else."""
    source = resources.files("pipelines.audit").joinpath("page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True).from_string(source).render(document=document)


def plain(audit: Audit) -> dict[str, Any]:
    """For machines: everything, each figure with its key and value beside its samples."""
    card = audit.scorecard
    return asdict(audit) | {
        "figures": [asdict(one) | {"key": one.key, "value": one.value} for one in audit.figures],
        "scorecard": {
            "areas": {str(area): points for area, points in card.areas.items()},
            "points": card.points,
            "grade": card.grade,
        },
    }
