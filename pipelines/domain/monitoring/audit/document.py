"""An audit as people read it: sections of tables and sentences, alike in a terminal, in Markdown and in a browser."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.domain.monitoring.audit.comparison import Change, Comparison, Verdict
from pipelines.domain.monitoring.audit.findings import PENALTIES, WEIGHTS
from pipelines.domain.monitoring.audit.history import LEAST_READINGS, History, trends
from pipelines.domain.monitoring.audit.measurements import Unit, told
from pipelines.domain.monitoring.audit.report import Audit
from pipelines.domain.monitoring.audit.sections import (
    Section,
    build_section,
    host_section,
    live_section,
    operation_section,
    original_section,
    process_section,
    query_section,
    rest_section,
    row_section,
    statement_section,
    table_section,
    trend_section,
)
from pipelines.domain.monitoring.audit.targets import State


@dataclass(frozen=True)
class Document:
    """A title, a sentence, sections."""

    title: str
    lead: str
    sections: tuple[Section, ...]


#: In this order.
OF_FIGURES = (
    live_section,
    query_section,
    operation_section,
    process_section,
    host_section,
    table_section,
    row_section,
    build_section,
    statement_section,
    rest_section,
)


def document_of(audit: Audit, history: History | None = None) -> Document:
    """All of an audit; with `history`, the readings of audits before it, how its figures went."""
    points = audit.scorecard.points
    known = f"grade {audit.scorecard.grade}, {points or 0:.0f} of 100 points"
    grade = "nothing could be measured" if points is None else known
    took = (audit.finished_at - audit.started_at).total_seconds()
    number = "" if audit.audit_id is None else f" {audit.audit_id}"
    figures = audit.figures
    return Document(
        f"Audit{number}: {grade}",
        f"A {audit.kind} audit of {audit.started_at:%Y-%m-%d %H:%M:%S} UTC by strikecast {audit.code_version}"
        f"{_where(audit)}. To measure took {took:.1f} s, and {audit.cpu_seconds:.1f} s of processor time itself."
        + ("" if audit.audit_id is None else f" `strikecast audit show {audit.audit_id}` shows it again."),
        tuple(
            section
            for section in (
                _findings(audit),
                _targets(audit),
                _scorecard(audit),
                trend_section(trends(figures, history or {}, audit.started_at)),
                *(section(figures) for section in OF_FIGURES),
                _gaps(audit),
                original_section(figures),
            )
            if section.rows or section.lead
        ),
    )


def _where(audit: Audit) -> str:
    """The machine and the server, as far as they are known."""
    machine = audit.machine
    parts = [f"{machine[name]}" for name in ("system", "architecture") if name in machine]
    if "cores" in machine:
        parts.append(f"{machine['cores']} cores")
    if "memory_bytes" in machine:
        parts.append(told(machine["memory_bytes"], Unit.BYTES))
    if audit.server_version:
        parts.append(f"PostgreSQL {int(audit.server_version) // 10_000}")
    return f" on {', '.join(parts)}" if parts else ""


#: What one wants to know first.
FIRST = ("What to look at", "Targets of service", "Scorecard", "Over the weeks")


def summary(document: Document) -> Document:
    """The first sections alone."""
    return replace(document, sections=tuple(one for one in document.sections if one.title in FIRST))


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
    lead = "" if rows else "Nothing needs attention."
    return Section("What to look at", ("", "what", "evidence", "cause and remedy", "try"), rows, lead, 5)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _targets(audit: Audit) -> Section:
    rows = tuple(
        (
            one.target.told,
            one.state,
            "-" if one.value is None else told(one.value, one.target.unit),
            one.target.severity,
        )
        for one in audit.judgements
    )
    met = sum(one.state is State.MET for one in audit.judgements)
    unknown = sum(one.state is State.NOT_MEASURED for one in audit.judgements)
    lead = f"{met} of {len(rows)} met{f', {unknown} not measured' if unknown else ''}." if rows else ""
    return Section("Targets of service", ("target", "state", "measured", "if missed"), rows, lead, 2)


def _scorecard(audit: Audit) -> Section:
    rows = tuple(
        (area, "not known" if points is None else f"{points:.0f}", f"{WEIGHTS[area]:.0%}")
        for area, points in audit.scorecard.areas.items()
    )
    costs = ", ".join(f"{severity} {points:.0f}" for severity, points in PENALTIES.items())
    return Section("Scorecard", ("area", "points of 100", "weight"), rows, f"A finding costs its area: {costs}.")


def _gaps(audit: Audit) -> Section:
    rows = tuple((one.name, one.why) for one in audit.gaps)
    return Section("Not measured", ("what", "why"), rows, text_columns=2)


def comparison_document(before: Audit, after: Audit, comparison: Comparison) -> Document:
    """What differs between two audits: first what noise does not explain."""
    changed = [one for one in comparison.changes if one.verdict is Verdict.CHANGED]
    unjudged = [one for one in comparison.changes if one.verdict is Verdict.UNJUDGED and one.difference]
    same = len(comparison.changes) - len(changed) - len(unjudged)
    header = ("figure", "before", "after", "change", "relative", "noise")

    def rows(changes: Sequence[Change]) -> tuple[tuple[str, ...], ...]:
        return tuple(_change(one) for one in changes)

    unlike = ""
    if before.kind is not after.kind:
        unlike = f" The one is {before.kind}, the other {after.kind}: they took different numbers of samples."
    return Document(
        " and ".join(f"audit {one.audit_id} ({one.started_at:%F %H:%M})" for one in (before, after)),
        f"{len(changed)} of {len(comparison.changes)} figures changed beyond noise; {same} show no difference; "
        f"{len(unjudged)} differ, but there are fewer than {LEAST_READINGS} audits of the kind to know how they "
        f"vary.{unlike}",
        tuple(
            section
            for section in (
                Section("Changed", header, rows(changed)),
                Section("Different, and not judged", header, rows(unjudged)),
                Section("Only before", ("figure",), tuple((key,) for key in comparison.only_before)),
                Section("Only after", ("figure",), tuple((key,) for key in comparison.only_after)),
            )
            if section.rows
        ),
    )


def _change(change: Change) -> tuple[str, ...]:
    def shown(value: float) -> str:
        return told(value, change.unit).removesuffix(" of a core").removesuffix(" per core")

    def signed(value: float) -> str:
        if change.difference_unit == "points":
            return f"{value:+,.2f} points"
        return ("+" if value >= 0 else "-") + shown(abs(value))

    relative = "-" if change.relative is None else f"{change.relative:+,.1f} %"
    noise = "-" if change.within is None else signed(change.within).replace("+", "±")
    return change.key, shown(change.before), shown(change.after), signed(change.difference), relative, noise
