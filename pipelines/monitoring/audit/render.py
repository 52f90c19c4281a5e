"""A document as a terminal, Markdown or a browser shows it."""

import base64
from importlib import resources

import jinja2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.domain.monitoring.audit.document import Document
from pipelines.domain.monitoring.audit.sections import Multiples, Section
from pipelines.monitoring.audit.charts import png, svg

#: A column of words is not made narrower than its longest word, up to so many letters.
LONGEST_WORD = 32
LEAST_WORDS = 12
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
            name,
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=not text,
            min_width=_longest_word(section, number) if text else longest,
        )
    for row in section.rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table


def _longest_word(section: Section, column: int) -> int:
    words = [len(word) for row in section.rows for word in row[column].split()]
    # What numbers need comes first, and several columns of words share the rest.
    numbers = len(section.header) - section.text_columns
    room = max(LEAST_WORDS, LONGEST_WORD - 4 * numbers)
    return min(max(words, default=0), room // max(1, section.text_columns - 1))


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


def picture(document: Document) -> str:
    """The course of figures over the weeks for Markdown that shows pictures; empty without any."""
    drawn = [section.chart for section in document.sections if isinstance(section.chart, Multiples)]
    return "".join(
        f"\n![over the weeks](data:image/png;base64,{base64.b64encode(png(one)).decode()})\n" for one in drawn
    )


def html(document: Document) -> str:
    """One page that needs nothing else."""
    source = resources.files("pipelines.monitoring.audit").joinpath("page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True).from_string(source).render(document=document, svg=svg)
