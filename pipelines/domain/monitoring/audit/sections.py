"""Sections of a report: tables of measurements."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.domain.monitoring.audit.measurements import PERCENTILES, Measurement, formatted


@dataclass(frozen=True)
class Section:
    """A heading, a lead sentence and a table; the first `text_columns` hold text, the rest numbers."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lead: str = ""
    text_columns: int = 1


#: Rows of a table that are shown; JSON has all.
MAX_ROWS = 16
PERCENTILE_COLUMNS = tuple(str(statistic) for statistic in PERCENTILES)


@dataclass(frozen=True)
class Layout:
    """Layout of a table: a row for each combination of the labels `rows`; columns are names without `prefix`.

    `column` is a label, or "statistic", where columns are its values instead. Measurements of one cell, such as the
    parts of a table, are added. `note` heads a column of notes; rows are in descending order of the column `ranked`.
    """

    title: str
    prefix: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    column: str = ""
    note: str = ""
    ranked: str = ""
    lead: str = ""

    def section(self, measurements: Sequence[Measurement]) -> Section:
        """The table of the measurements that belong to it."""
        cells: dict[tuple[str, ...], dict[str, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
        notes: dict[tuple[str, ...], str] = {}
        for one in measurements:
            if one.name.startswith(self.prefix) and (column := self._column(one)) in self.columns:
                row = tuple(one.labels.get(label, "") for label in self.rows)
                cells[row][column].append(one)
                notes[row] = notes.get(row) or one.note
        rows = tuple(
            (*row, *([notes[row]] if self.note else []), *(_cell(cells[row][column]) for column in self.columns))
            for row in sorted(cells, key=lambda row: -sum(one.value for one in cells[row][self.ranked]))
        )
        hidden = f" {len(rows) - MAX_ROWS} more are in the JSON." if len(rows) > MAX_ROWS else ""
        text = (*self.rows, *([self.note] if self.note else []))
        header = (*text, *(column.replace("_", " ") for column in self.columns))
        return Section(self.title, header, rows[:MAX_ROWS], self.lead + hidden if rows else "", len(text))

    def _column(self, measurement: Measurement) -> str:
        if self.column == "statistic":
            return str(measurement.statistic)
        return measurement.labels[self.column] if self.column else measurement.name.removeprefix(self.prefix)


def _cell(measurements: Sequence[Measurement]) -> str:
    return formatted(sum(one.value for one in measurements), measurements[0].unit) if measurements else "-"


LAYOUTS = (
    Layout("Live session by stage", "live_latency", ("stage",), (*PERCENTILE_COLUMNS, "max"), "percentile"),
    Layout("Hot queries", "query", ("query", "symbol"), PERCENTILE_COLUMNS, "statistic", note="plan"),
    Layout("Database operations", "operation", ("operation",), PERCENTILE_COLUMNS, "statistic"),
    Layout(
        "Processes",
        "process_",
        ("process",),
        ("count", "cpu", "uss", "rss", "threads", "age"),
        note="class",
        ranked="cpu",
        lead="Idle is below 1 % of a core, high above 20 %. RSS counts shared memory in each process; USS adds up.",
    ),
    Layout(
        "Tables",
        "table_",
        ("table",),
        ("size", "growth", "rows", "dead_rows", "bloat", "index_use"),
        ranked="size",
        lead="Size includes TOAST and indexes; bloat is estimated from the planner's statistics.",
    ),
    Layout("Builds", "build_", ("symbol", "model"), ("bars", "lookup_rows", "seconds", "age")),
    Layout(
        "Statements by pg_stat_statements", "statement_", ("statement",), ("share", "mean", "calls"), ranked="share"
    ),
)


def table_sections(measurements: Sequence[Measurement]) -> list[Section]:
    """A section for each layout, and one for the rest."""
    prefixes = tuple(layout.prefix for layout in LAYOUTS)
    rest = tuple(
        (one.key.replace("_", " ").replace("{", "(").replace("}", ")"), _cell([one]))
        for one in measurements
        if not one.name.startswith(prefixes)
    )
    sections = [layout.section(measurements) for layout in LAYOUTS]
    return [*sections, Section("Machine, server, files and maintenance", ("measurement", "value"), rest)]
