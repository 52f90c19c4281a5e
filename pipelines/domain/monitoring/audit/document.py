"""Reports as sections of tables and sentences, the same in a terminal, in Markdown and in a browser."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.domain.monitoring.audit.comparison import MIN_READINGS, MIN_SHARE, Change, Comparison, Outcome
from pipelines.domain.monitoring.audit.findings import PENALTIES, WEIGHTS, Audit
from pipelines.domain.monitoring.audit.measurements import PERCENTILES, Measurement, Unit, formatted
from pipelines.domain.monitoring.audit.targets import State


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
LARGE_PCT = 100 * MIN_SHARE
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
            (
                *row,
                *([notes[row]] if self.note else []),
                *(_cell(cells[row][column]).removesuffix(" of a core") for column in self.columns),
            )
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


@dataclass(frozen=True)
class Document:
    """A title, a lead sentence, sections."""

    title: str
    lead: str
    sections: tuple[Section, ...]


def audit_document(audit: Audit) -> Document:
    """Report on an audit."""
    card = audit.scorecard
    grade = "nothing was measured" if card.points is None else f"grade {card.grade}, {card.points:.0f} of 100 points"
    seconds = (audit.finished_at - audit.started_at).total_seconds()
    number = "" if audit.audit_id is None else f" {audit.audit_id}"
    lead = (
        f"{audit.kind.capitalize()} audit of {audit.started_at:%Y-%m-%d %H:%M:%S} UTC by strikecast "
        f"{audit.code_version}{_environment(audit)}. It took {seconds:.1f} s, {audit.cpu_seconds:.1f} s of CPU."
    )
    if number:
        lead += f" `strikecast audit show{number}` shows it again."
    sections = (
        _findings(audit),
        _targets(audit),
        _scorecard(audit),
        *table_sections(audit.measurements),
        Section("Not measured", ("what", "why"), tuple((one.name, one.why) for one in audit.gaps), text_columns=2),
    )
    return Document(f"Audit{number}: {grade}", lead, tuple(one for one in sections if one.rows or one.lead))


def _environment(audit: Audit) -> str:
    """The machine and the server, as far as they are known."""
    machine = audit.machine
    parts = [str(machine[name]) for name in ("system", "architecture") if name in machine]
    parts += [f"{machine['cores']} cores"] if "cores" in machine else []
    parts += [formatted(machine["memory_bytes"], Unit.BYTES)] if "memory_bytes" in machine else []
    parts += [f"PostgreSQL {server_release(int(audit.server_version))}"] if audit.server_version else []
    return f" on {', '.join(parts)}" if parts else ""


def _findings(audit: Audit) -> Section:
    rows = tuple(
        (
            one.severity,
            one.title,
            one.evidence,
            f"{_sentence(one.cause)} {_sentence(one.remedy)} Takes {one.effort}.",
            one.command,
        )
        for one in audit.findings
    )
    header = ("severity", "finding", "evidence", "cause and remedy", "command")
    return Section("Findings", header, rows, "" if rows else "Nothing needs attention.", 5)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _targets(audit: Audit) -> Section:
    rows = []
    for one in audit.judgements:
        value = "-" if one.value is None else formatted(one.value, one.target.unit)
        rows.append((one.target.text, one.state, value, one.target.severity))
    met = sum(one.state is State.MET for one in audit.judgements)
    unknown = sum(one.state is State.NOT_MEASURED for one in audit.judgements)
    lead = f"{met} of {len(rows)} met{f', {unknown} not measured' if unknown else ''}." if rows else ""
    return Section("Service targets", ("target", "state", "measured", "if missed"), tuple(rows), lead, 2)


def _scorecard(audit: Audit) -> Section:
    rows = tuple(
        (area, "not known" if points is None else f"{points:.0f}", f"{WEIGHTS[area]:.0%}")
        for area, points in audit.scorecard.areas.items()
    )
    costs = ", ".join(f"{severity} {points:.0f}" for severity, points in PENALTIES.items())
    lead = f"A finding subtracts from the points of its area: {costs}."
    return Section("Scorecard", ("area", "points of 100", "weight"), rows, lead)


def comparison_document(before: Audit, after: Audit, comparison: Comparison) -> Document:
    """Report on what changed between two audits, then how many measurements did not."""
    by_outcome: dict[Outcome, list[Change]] = defaultdict(list)
    for one in comparison.changes:
        by_outcome[one.outcome].append(one)
    not_judged = by_outcome[Outcome.NOT_JUDGED]
    large = [one for one in not_judged if abs(one.difference) > MIN_SHARE * abs(one.before)]
    large.sort(key=lambda one: -abs(one.relative_pct or 0.0))
    few = f"fewer than {MIN_READINGS} audits of the kind show what is usual"
    same, unknown = len(by_outcome[Outcome.NOISE]), len(not_judged) - len(large)
    little = f"differ by at most {LARGE_PCT:.0f} %, and {few}"
    kinds = (
        f" One audit is {before.kind}, the other {after.kind}: their numbers of samples differ."
        if before.kind is not after.kind
        else ""
    )
    lead = (
        f"{len(by_outcome[Outcome.CHANGED])} measurements changed beyond noise; {len(large)} differ by more than "
        f"{LARGE_PCT:.0f} %, but {few}.{kinds}"
    )
    header = ("measurement", "before", "after", "change", "relative", "noise")
    sections = (
        Section("Changed beyond noise", header, tuple(map(_change, by_outcome[Outcome.CHANGED]))),
        _shortened(f"Differ by more than {LARGE_PCT:.0f} %", header[:-1], [_change(one)[:-1] for one in large]),
        _shortened("Only before", ("measurement",), [(key,) for key in comparison.only_before]),
        _shortened("Only after", ("measurement",), [(key,) for key in comparison.only_after]),
        Section("Not changed", lead=f"{same + unknown} measurements: {same} within noise; {unknown} {little}."),
    )
    title = " and ".join(f"audit {one.audit_id} ({one.started_at:%F %H:%M})" for one in (before, after))
    return Document(title, lead, tuple(one for one in sections if one.rows or one.lead))


def _shortened(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Section:
    hidden = f"{len(rows) - MAX_ROWS} more are in the JSON." if len(rows) > MAX_ROWS else ""
    return Section(title, header, tuple(rows[:MAX_ROWS]), hidden)


def _change(change: Change) -> tuple[str, ...]:
    def shown(value: float) -> str:
        return formatted(value, change.unit).removesuffix(" of a core").removesuffix(" per core")

    def signed(value: float) -> str:
        if change.difference_unit == "points":
            return f"{value:+,.2f} points"
        return ("+" if value >= 0 else "-") + shown(abs(value))

    relative = "-" if change.relative_pct is None else f"{change.relative_pct:+,.1f} %"
    noise = "-" if change.noise is None else signed(change.noise).replace("+", "±")
    return change.key, shown(change.before), shown(change.after), signed(change.difference), relative, noise


def server_release(number: int) -> str:
    """PostgreSQL's release from its version number.

    >>> server_release(180_001)
    '18.1'
    """
    return f"{number // 10_000}.{number % 10_000}"
