"""Measurements from the server's statistics and from records of builds, maintenance and live sessions."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from psycopg import sql
from psycopg.abc import Params

from pipelines.domain.monitoring.audit import detections
from pipelines.domain.monitoring.audit.measurements import Detection, Gap, Measurements, Unit, key_of
from pipelines.storage.monitoring.audits import first_readings
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)
#: First version with `pg_stat_checkpointer`.
CHECKPOINTER_VERSION = 170_000
#: Growth and scans are computed since the oldest audit of so many days.
GROWTH_DAYS = 7
#: Reason why the server's processes and memory are not measured.
NOT_LOCAL = "the server's processes are not visible from this machine"


def read_measurements(
    connection: Connection,
    statement: LiteralString | sql.Composed,
    parameters: Mapping[str, Any] | None = None,
    if_empty: Gap | None = None,
) -> Measurements:
    """Measurements of a statement that returns name, unit, value and labels; a value that is NULL is a gap.

    `if_empty`: the gap when it returns no rows.
    """
    found, rows = Measurements(), connection.execute(statement, parameters or {}).fetchall()
    for name, unit, value, labels in rows:
        if value is None:
            found.add_gap(key_of(name, labels), "not known, or insufficient privilege")
        else:
            found.add(name, Unit(unit), float(value), **labels)
    if not rows and if_empty is not None:
        found.gaps.append(if_empty)
    return found


def measure_tables(connection: Connection, now: datetime) -> Measurements:
    """Sizes, rows, dead rows, bloat and growth of tables; indexes that are not needed. `now` is aware UTC."""
    tables = read_rows(connection, detections.TableFacts, SQL["audit_tables"])
    indexes = read_rows(connection, detections.IndexFacts, SQL["audit_indexes"])
    counts = ("table_rows", "table_sequential_scans", "table_rows_read_sequentially")
    before = first_readings(connection, counts, now - timedelta(days=GROWTH_DAYS))
    statistics_age = read_measurements(connection, SQL["server"]).values().get("statistics_age", 0.0)
    found = detections.measure_tables(tables)
    found.extend(detections.measure_growth(tables, before, now))
    found.detections += detections.detect_scans(tables, before, now)
    found.detections += detections.detect_indexes(indexes, statistics_age)
    return found


def measure_server(connection: Connection, memory_bytes: float | None) -> Measurements:
    """The server as a whole, its checkpoints, standbys and settings; `memory_bytes` None: the server is elsewhere."""
    has_checkpointer = connection.info.server_version >= CHECKPOINTER_VERSION
    found = read_measurements(connection, SQL["server"])
    found.extend(read_measurements(connection, SQL["checkpoints" if has_checkpointer else "checkpoints_before_17"]))
    standbys = measure_standbys(connection)
    values, [settings] = found.values(), read_rows(connection, detections.SettingsFacts, SQL["audit_settings"])
    found.detections += detections.detect_server(values)
    found.detections += detections.detect_lag(standbys.items)
    found.detections += detections.detect_settings(settings, values["database_size"], memory_bytes)
    found.detections += [Detection("collation version", *one) for one in collation_mismatches(connection).items()]
    if memory_bytes is None:
        found.add_gap("settings compared with the server's memory", NOT_LOCAL)
    found.extend(standbys)
    return found


def collation_mismatches(connection: Connection) -> dict[str, str]:
    """Collations in use whose version differs from that of their indexes; a description by name."""
    return {
        name: f"its indexes are sorted by version {recorded}, the system has {actual or 'no version'}"
        for name, recorded, actual in connection.execute(SQL["collation_mismatches"]).fetchall()
    }


def measure_standbys(connection: Connection) -> Measurements:
    """Replication lag of each standby."""
    return read_measurements(connection, SQL["standbys"], if_empty=Gap("replication lag", "the server has no standby"))


def measure_statements(connection: Connection) -> Measurements:
    """The ten statements of this database with the most execution time, where the server has pg_stat_statements."""
    [extension] = read_rows(connection, detections.ExtensionFacts, SQL["statements_extension"])
    if extension.loaded and extension.schema is not None:
        view = sql.Identifier(extension.schema, "pg_stat_statements")
        statement = sql.SQL(SQL["top_statements"]).format(view=view)
        hidden = Gap("pg_stat_statements", "insufficient privilege to see statements")
        return read_measurements(connection, statement, if_empty=hidden)
    found = Measurements(detections=detections.detect_extension(extension))
    why = "the extension is not in use" if extension.available else "the server does not have the extension"
    found.add_gap("pg_stat_statements", f"{why}: the audit times the hot queries itself")
    return found


def measure_records(connection: Connection, now: datetime) -> Measurements:
    """Newest builds, newest finished maintenance runs, and availability of live sessions in the day before `now`."""
    found = read_measurements(connection, SQL["builds"], {"now": now})
    found.extend(read_measurements(connection, SQL["maintenance"]))
    day = {"since": now - timedelta(days=1), "now": now}
    no_session = Gap("availability", "no live session has run yet")
    found.extend(read_measurements(connection, SQL["availability"], day, no_session))
    return found


def measure_live_session(connection: Connection, now: datetime) -> Measurements:
    """Latency by stage and counts of the newest live session with a snapshot in the hour before `now`."""
    no_snapshot = Gap("live latency", "no live session saved a snapshot within the last hour")
    return read_measurements(connection, SQL["live_session"], {"hour_ago": now - timedelta(hours=1)}, no_snapshot)


def measure_desk(connection: Connection, now: datetime) -> Measurements:
    """Trades of each campaign of the paper desk, its stranded trades and unbalanced events, and the age of its state.

    The age is that of a desk whose session has not ended it. Nothing without a campaign; `now` is aware UTC.
    """
    return read_measurements(connection, SQL["desk"], {"now": now})


def refreshed_since(connection: Connection) -> datetime | None:
    """Start of the running session, or end of the last one (UTC); None without any."""
    row = connection.execute(SQL["refreshed_since"]).fetchone()
    return None if row is None else row[0].astimezone(UTC)


def read_processes(connection: Connection) -> list[tuple[int, str]] | None:
    """Process ids and names of the server's other processes; None when some are hidden from this role."""
    rows = connection.execute(SQL["server_processes"]).fetchall()
    return None if any(name is None for _, name in rows) else [(int(pid), str(name)) for pid, name in rows]


def explain(connection: Connection, statement: str, parameters: Params) -> dict[str, Any]:
    """Execute a query and return its plan: EXPLAIN (ANALYZE, BUFFERS)."""
    row = connection.execute(f"{SQL['explain']} {statement}", parameters).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan
