"""An audit as people read it: sections of tables and sentences, alike in a terminal, in Markdown and in a browser."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.domain.audit.comparison import Change, Comparison, Verdict
from pipelines.domain.audit.figures import Figure, Statistic, Unit, told
from pipelines.domain.audit.findings import PENALTIES, WEIGHTS
from pipelines.domain.audit.report import Audit
from pipelines.domain.audit.slo import State


@dataclass(frozen=True)
class Section:
    """A heading, a sentence where one is needed, and a table; the first `text_columns` are words, the rest numbers."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lead: str = ""
    text_columns: int = 1


@dataclass(frozen=True)
class Document:
    """A title, a sentence, sections."""

    title: str
    lead: str
    sections: tuple[Section, ...]


#: Of tables and processes so many are shown; JSON has all.
MOST_ROWS = 20


def document_of(audit: Audit) -> Document:
    """All of an audit."""
    points = audit.scorecard.points
    known = f"grade {audit.scorecard.grade}, {points or 0:.0f} of 100 points"
    grade = "nothing could be measured" if points is None else known
    took = (audit.finished_at - audit.started_at).total_seconds()
    number = "" if audit.audit_id is None else f" {audit.audit_id}"
    return Document(
        f"Audit{number}: {grade}",
        f"A {audit.kind} audit of {audit.started_at:%Y-%m-%d %H:%M:%S} UTC by strikecast {audit.code_version}; it took "
        f"{took:.1f} s, and {audit.cpu_seconds:.1f} s of processor time itself.",
        tuple(
            section
            for section in (
                _findings(audit), _targets(audit), _scorecard(audit), _processes(audit.figures), _host(audit.figures),
                _tables(audit.figures), _queries(audit.figures), _rest(audit.figures), _gaps(audit),
            )
            if section.rows or section.lead
        ),
    )  # fmt: skip


def _findings(audit: Audit) -> Section:
    rows = tuple(
        (one.severity, one.title, one.evidence, f"{one.cause}. {one.remedy} ({one.effort})", one.command)
        for one in audit.findings
    )
    lead = "" if rows else "Nothing needs attention."
    return Section("What to look at", ("", "what", "evidence", "cause and remedy", "try"), rows, lead, 5)


def _targets(audit: Audit) -> Section:
    rows = tuple(
        (
            one.target.told, one.state, "-" if one.value is None else told(one.value, one.target.unit),
            one.target.severity,
        )
        for one in audit.judgements
    )  # fmt: skip
    met = sum(one.state is State.MET for one in audit.judgements)
    lead = f"{met} of {len(rows)} met." if rows else ""
    return Section("Targets of service", ("target", "state", "measured", "if missed"), rows, lead, 2)


def _scorecard(audit: Audit) -> Section:
    rows = tuple(
        (area, "not known" if points is None else f"{points:.0f}", f"{WEIGHTS[area]:.0%}")
        for area, points in audit.scorecard.areas.items()
    )
    costs = ", ".join(f"{severity} {points:.0f}" for severity, points in PENALTIES.items())
    return Section("Scorecard", ("area", "points of 100", "weight"), rows, f"A finding costs its area: {costs}.")


def _pivot(figures: Sequence[Figure], row: str, columns: Mapping[str, str]) -> dict[str, dict[str, Figure]]:
    """Figures by the value of a label, then by the column that their name stands for."""
    found: dict[str, dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name in columns and row in figure.labels:
            found[figure.labels[row]][columns[figure.name]] = figure
    return found


def _processes(figures: Sequence[Figure]) -> Section:
    columns = {
        "process_count": "number", "process_cpu": "processor", "process_uss": "USS", "process_rss": "RSS",
        "process_threads": "threads", "process_age": "age",
    }  # fmt: skip
    found = _pivot(figures, "process", columns)
    ranked = sorted(found, key=lambda name: -(found[name]["processor"].value if "processor" in found[name] else 0.0))
    rows = tuple(
        (name, *(_cell(found[name].get(column)) for column in columns.values())) for name in ranked[:MOST_ROWS]
    )
    return Section("Processes", ("process", *columns.values()), rows)


def _host(figures: Sequence[Figure]) -> Section:
    rows = tuple((_named(one), _cell(one)) for one in figures if one.name.startswith(("host_", "all_processes")))
    return Section("The machine", ("what", "measured"), rows)


def _tables(figures: Sequence[Figure]) -> Section:
    parts: dict[str, dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name == "table_size":
            parts[figure.labels["table"]][figure.labels["part"]] = figure
    counts = _pivot(figures, "table", {"table_rows": "rows", "table_dead_rows": "dead"})
    total = {table: sum(part.value for part in of.values()) for table, of in parts.items()}
    rows = tuple(
        (
            table, *(_cell(parts[table].get(part)) for part in ("rows", "toast", "indexes")),
            told(total[table], Unit.BYTES), *(_cell(counts[table].get(count)) for count in ("rows", "dead")),
        )
        for table in sorted(total, key=lambda name: -total[name])[:MOST_ROWS]
    )  # fmt: skip
    header = ("table", "rows' bytes", "TOAST", "indexes", "total", "rows", "dead rows")
    return Section("Tables, the largest first", header, rows)


def _queries(figures: Sequence[Figure]) -> Section:
    found: dict[tuple[str, str], dict[Statistic, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.name == "query":
            found[figure.labels["query"], figure.labels["symbol"]][figure.statistic] = figure
    wanted = (Statistic.P50, Statistic.P95, Statistic.P99)
    rows = tuple(
        (name, symbol, next(iter(of.values())).note, *(_cell(of.get(statistic)) for statistic in wanted))
        for (name, symbol), of in sorted(found.items())
    )
    return Section("Hot queries", ("query", "symbol", "plan", "p50", "p95", "p99"), rows, text_columns=3)


SHOWN_ABOVE = ("process_", "all_processes", "host_", "table_", "query")


def _rest(figures: Sequence[Figure]) -> Section:
    rows = tuple((_named(one), _cell(one)) for one in figures if not one.name.startswith(SHOWN_ABOVE))
    return Section("The server, builds, files and maintenance", ("what", "measured"), rows)


def _gaps(audit: Audit) -> Section:
    rows = tuple((one.name, one.why) for one in audit.gaps)
    return Section("Not measured", ("what", "why"), rows, text_columns=2)


def _named(figure: Figure) -> str:
    return figure.key.replace("_", " ").replace("{", "(").replace("}", ")")


def _cell(figure: Figure | None) -> str:
    return "-" if figure is None else told(figure.value, figure.unit)


def comparison_document(title: str, comparison: Comparison) -> Document:
    """What differs between two audits: first what noise does not explain, most of all first."""
    changed = [one for one in comparison.changes if one.verdict is Verdict.CHANGED]
    unjudged = [one for one in comparison.changes if one.verdict is Verdict.UNJUDGED and one.difference]
    same = len(comparison.changes) - len(changed) - len(unjudged)
    header = ("figure", "before", "after", "change", "relative", "95 % interval")

    def rows(changes: Sequence[Change]) -> tuple[tuple[str, ...], ...]:
        return tuple(_change(one) for one in changes)

    return Document(
        title,
        f"{len(changed)} of {len(comparison.changes)} figures changed beyond noise; {same} show no difference; "
        f"{len(unjudged)} differ, but are single readings without a spread.",
        tuple(
            section
            for section in (
                Section("Changed", header, rows(changed)),
                Section("Single readings that differ", header, rows(unjudged)),
                Section("Only before", ("figure",), tuple((key,) for key in comparison.only_before)),
                Section("Only after", ("figure",), tuple((key,) for key in comparison.only_after)),
            )
            if section.rows
        ),
    )


def _change(change: Change) -> tuple[str, ...]:
    def signed(value: float) -> str:
        if change.difference_unit == "points":
            return f"{value:+,.2f} points"
        return ("+" if value >= 0 else "-") + told(abs(value), change.unit)

    interval = "-"
    if change.low is not None and change.high is not None:
        interval = f"{signed(change.low)} .. {signed(change.high)}"
    relative = "-" if change.relative is None else f"{change.relative:+,.1f} %"
    return (
        change.key, told(change.before, change.unit), told(change.after, change.unit), signed(change.difference),
        relative, interval,
    )  # fmt: skip
