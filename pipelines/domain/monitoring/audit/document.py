"""Reports as sections of tables and sentences, the same in a terminal, in Markdown and in a browser."""

from dataclasses import dataclass

from pipelines.domain.monitoring.audit.comparison import Change, Comparison, Outcome
from pipelines.domain.monitoring.audit.findings import PENALTIES, WEIGHTS
from pipelines.domain.monitoring.audit.history import MIN_READINGS
from pipelines.domain.monitoring.audit.measurements import Unit, formatted
from pipelines.domain.monitoring.audit.report import Audit
from pipelines.domain.monitoring.audit.sections import Section, table_sections
from pipelines.domain.monitoring.audit.targets import State


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
    parts += [f"PostgreSQL {int(audit.server_version) // 10_000}"] if audit.server_version else []
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
    header = ("", "finding", "evidence", "cause and remedy", "command")
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
    """Report on the differences of two audits, those beyond noise first."""
    changed = [one for one in comparison.changes if one.outcome is Outcome.CHANGED]
    unknown = [one for one in comparison.changes if one.outcome is Outcome.NOT_JUDGED and one.difference]
    same = len(comparison.changes) - len(changed) - len(unknown)
    lead = (
        f"{len(changed)} of {len(comparison.changes)} measurements changed beyond noise; {same} show no difference; "
        f"{len(unknown)} differ, but fewer than {MIN_READINGS} audits of the kind show how they vary."
    )
    if before.kind is not after.kind:
        lead += f" One audit is {before.kind}, the other {after.kind}: their numbers of samples differ."
    header = ("measurement", "before", "after", "change", "relative", "noise")
    sections = (
        Section("Changed", header, tuple(map(_change, changed))),
        Section("Different, not judged", header, tuple(map(_change, unknown))),
        Section("Only before", ("measurement",), tuple((key,) for key in comparison.only_before)),
        Section("Only after", ("measurement",), tuple((key,) for key in comparison.only_after)),
    )
    title = " and ".join(f"audit {one.audit_id} ({one.started_at:%F %H:%M})" for one in (before, after))
    return Document(title, lead, tuple(one for one in sections if one.rows))


def _change(change: Change) -> tuple[str, ...]:
    def shown(value: float) -> str:
        return formatted(value, change.unit).removesuffix(" of a core").removesuffix(" per core")

    def signed(value: float) -> str:
        if change.difference_unit == "points":
            return f"{value:+,.2f} points"
        return ("+" if value >= 0 else "-") + shown(abs(value))

    relative = "-" if change.relative is None else f"{change.relative:+,.1f} %"
    noise = "-" if change.noise is None else signed(change.noise).replace("+", "±")
    return change.key, shown(change.before), shown(change.after), signed(change.difference), relative, noise
