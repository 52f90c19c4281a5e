"""Audits that are kept."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipelines.domain.monitoring.audit.findings import Finding
from pipelines.domain.monitoring.audit.history import History, Reading
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Statistic, Unit
from pipelines.domain.monitoring.audit.report import Audit, Kind
from pipelines.domain.monitoring.audit.targets import Area, Judged, Judgement, Severity, State, Target
from pipelines.errors import NoDataError
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


def store_audit(connection: Connection, audit: Audit, run_id: str | None) -> int:
    """Store an audit with all that belongs to it, in the transaction of `connection`; its number."""
    card = audit.scorecard
    row = connection.execute(
        SQL["insert_audit"],
        {
            "kind": audit.kind,
            "run_id": run_id,
            "started_at": audit.started_at,
            "finished_at": audit.finished_at,
            "code_version": audit.code_version,
            "server_version": audit.server_version,
            "machine": Jsonb(dict(audit.machine)),
            "cpu_seconds": audit.cpu_seconds,
            "points": card.points,
            "grade": card.grade,
        },
    ).fetchone()
    assert row is not None
    number = {"audit_id": int(row[0])}
    figures = [
        number
        | {
            "key": one.key,
            "name": one.name,
            "labels": Jsonb(dict(one.labels)),
            "unit": one.unit,
            "statistic": one.statistic,
            "value": one.value,
            "samples": list(one.samples),
            "note": one.note,
        }
        for one in audit.figures
    ]
    judgements = [
        number
        | {
            "title": one.target.title,
            "figure": one.target.name,
            "statistic": one.target.statistic,
            "unit": one.target.unit,
            "bound": one.target.bound,
            "upper": one.target.upper,
            "severity": one.target.severity,
            "area": one.target.area,
            "state": one.state,
            "value": one.value,
            "key": one.key,
            "labels": Jsonb(dict(one.target.labels)),
        }
        for one in audit.judgements
    ]
    with connection.cursor() as cursor:
        cursor.executemany(SQL["insert_audit_figure"], figures)
        cursor.executemany(SQL["insert_audit_gap"], [number | asdict(one) for one in audit.gaps])
        cursor.executemany(SQL["insert_audit_finding"], [number | asdict(one) for one in audit.findings])
        cursor.executemany(SQL["insert_audit_judgement"], judgements)
    return number["audit_id"]


def read_audit(connection: Connection, audit_id: int) -> Audit:
    """An audit as it was stored. Raises NoDataError when there is none of that number."""
    with connection.cursor(row_factory=dict_row) as cursor:
        head = cursor.execute(SQL["audit"], [audit_id]).fetchone()
        if head is None:
            raise NoDataError(f"there is no audit {audit_id}: see `strikecast audit show`")

        def rows(name: str) -> list[dict[str, Any]]:
            return cursor.execute(SQL[name], [audit_id]).fetchall()

        return Audit(
            **head
            | {
                "kind": Kind(head["kind"]),
                "figures": tuple(_figure(row) for row in rows("audit_figures")),
                "gaps": tuple(Gap(**row) for row in rows("audit_gaps")),
                "findings": tuple(_finding(row) for row in rows("audit_findings")),
                "judgements": tuple(_judgement(row) for row in rows("audit_judgements")),
            }
        )


def read_history(connection: Connection, names: Sequence[str], since: datetime, before: datetime) -> History:
    """Values of the figures so named in audits between two times (aware UTC), oldest first."""
    found: dict[str, list[Reading]] = defaultdict(list)
    for key, at, value in connection.execute(SQL["audit_history"], [since, before, list(names)]):
        found[key].append(Reading(at.astimezone(UTC), float(value)))
    return found


def counts_before(connection: Connection, name: str, since: datetime) -> dict[str, Reading]:
    """Of each table a count of it, such as its rows, in the oldest audit since then (aware UTC) that has any."""
    rows = connection.execute(SQL["counts_before"], {"name": name, "since": since}).fetchall()
    return {table: Reading(at.astimezone(UTC), float(value)) for table, at, value in rows}


def read_repeats(connection: Connection, audit: Audit, most: int = 30) -> Mapping[str, Sequence[float]]:
    """By key, the values of the newest audits of the same kind before one that is stored, oldest first."""
    found: dict[str, list[float]] = defaultdict(list)
    for key, value in connection.execute(SQL["audit_repeats"], [audit.kind, audit.audit_id, most]):
        found[key].append(float(value))
    return found


def judged_since(connection: Connection, since: datetime) -> list[Judged]:
    """What became of the targets in the audits since then (aware UTC), the newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["judged_since"], [since]).fetchall()
    by_audit: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_audit[row["audit_id"]].append(row)
    return [Judged(of[0]["started_at"].astimezone(UTC), [_judgement(row) for row in of]) for of in by_audit.values()]


def newest_audit(connection: Connection) -> int:
    """Number of the newest audit. Raises NoDataError when there is none."""
    row = connection.execute(SQL["newest_audit"]).fetchone()
    if row is None or row[0] is None:
        raise NoDataError("there is no audit yet: run `strikecast audit run`")
    return int(row[0])


def baseline(connection: Connection, name: str) -> int:
    """Number of the audit that has a name. Raises NoDataError when none has."""
    row = connection.execute(SQL["baseline_audit"], [name]).fetchone()
    if row is None:
        raise NoDataError(f"there is no baseline {name!r}: run `strikecast audit baseline {name}`")
    return int(row[0])


def name_baseline(connection: Connection, name: str, audit_id: int) -> None:
    """Give an audit a name, which another may have had."""
    connection.execute(SQL["name_baseline"], [name, audit_id])


def _figure(row: dict[str, Any]) -> Figure:
    return Figure(
        row["name"], Unit(row["unit"]), Statistic(row["statistic"]), tuple(row["samples"]), row["labels"], row["note"]
    )


def _finding(row: dict[str, Any]) -> Finding:
    return Finding(**row | {"severity": Severity(row["severity"]), "area": Area(row["area"])})


def _judgement(row: dict[str, Any]) -> Judgement:
    target = Target(
        row["title"],
        row["figure"],
        Statistic(row["statistic"]),
        Unit(row["unit"]),
        row["bound"],
        row["upper"],
        Severity(row["severity"]),
        Area(row["area"]),
        row["labels"],
    )
    return Judgement(target, State(row["state"]), row["value"], row["key"])
