"""Stored audits: measurements with their samples, gaps, judgements, findings, and named baselines."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from psycopg.rows import dict_row
from psycopg.types.json import JsonbDumper
from pydantic import TypeAdapter

from pipelines.domain.monitoring.audit.comparison import History
from pipelines.domain.monitoring.audit.findings import Audit
from pipelines.domain.monitoring.audit.measurements import Reading
from pipelines.domain.monitoring.audit.targets import JudgedAudit
from pipelines.errors import NoDataError
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


def store_audit(connection: Connection, audit: Audit, run_id: str | None) -> int:
    """Store an audit with its parts in the transaction of `connection`; return its number."""
    card = audit.scorecard
    with connection.cursor() as cursor:
        cursor.adapters.register_dumper(dict, JsonbDumper)
        head = vars(audit) | {"run_id": run_id, "points": card.points, "grade": card.grade}
        row = cursor.execute(SQL["insert_audit"], head).fetchone()
        assert row is not None
        audit_id = int(row[0])
        measurements = [
            vars(one) | {"key": one.key, "value": one.value, "samples": list(one.samples)} for one in audit.measurements
        ]
        for statement, rows in (
            ("insert_audit_figure", measurements),
            ("insert_audit_gap", [asdict(one) for one in audit.gaps]),
            ("insert_audit_finding", [asdict(one) for one in audit.findings]),
            ("insert_audit_judgement", [asdict(one) | asdict(one.target) for one in audit.judgements]),
        ):
            cursor.executemany(SQL[statement], [row | {"audit_id": audit_id} for row in rows])
    return audit_id


def read_audit(connection: Connection, audit_id: int) -> Audit:
    """An audit as it was stored. Raises NoDataError when there is none of that number."""
    with connection.cursor(row_factory=dict_row) as cursor:
        head = cursor.execute(SQL["audit"], [audit_id]).fetchone()
        if head is None:
            raise NoDataError(f"there is no audit {audit_id}: see `strikecast audit show`")
        for statement in ("audit_measurements", "audit_gaps", "audit_findings", "audit_judgements"):
            head[statement.removeprefix("audit_")] = cursor.execute(SQL[statement], [audit_id]).fetchall()
    return TypeAdapter(Audit).validate_python(head)


def first_readings(connection: Connection, names: Sequence[str], since: datetime) -> dict[str, Reading]:
    """By key, the measurements with these names in the oldest audit since then (aware UTC) that has them."""
    rows = connection.execute(SQL["first_readings"], [list(names), since])
    return {key: Reading(at.astimezone(UTC), value) for key, at, value in rows}


def read_history(connection: Connection, names: Sequence[str], since: datetime, before: datetime) -> History:
    """Values of the measurements with these names in audits between two times (aware UTC), oldest first."""
    return dict(connection.execute(SQL["audit_history"], [since, before, list(names)]).fetchall())


def read_earlier_values(connection: Connection, audit: Audit, limit: int = 30) -> History:
    """Values of the newest audits of the same kind before a stored one, oldest first."""
    return dict(connection.execute(SQL["audit_earlier_values"], [audit.kind, audit.audit_id, limit]).fetchall())


def read_judgements(connection: Connection, since: datetime) -> list[JudgedAudit]:
    """Judgements of the audits since then (aware UTC), the newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["judged_audits"], [since]).fetchall()
    return TypeAdapter(list[JudgedAudit]).validate_python(rows)


def find_audit(connection: Connection, reference: str | None = None) -> int:
    """Number of an audit by its number or baseline; by default the newest. Raises NoDataError when there is none."""
    if reference is not None and reference.isdigit():
        return int(reference)
    statement = "newest_audit" if reference is None else "baseline_audit"
    row = connection.execute(SQL[statement], {"name": reference}).fetchone()
    if row is not None:
        return int(row[0])
    if reference is None:
        raise NoDataError("there is no audit yet: run `strikecast audit run`")
    raise NoDataError(f"there is no baseline {reference!r}: run `strikecast audit baseline {reference}`")


def name_baseline(connection: Connection, name: str, audit_id: int) -> None:
    """Name an audit; a name in use moves to it."""
    connection.execute(SQL["name_baseline"], [name, audit_id])
