"""The database: tables, indexes, the server and its statements, from the server's own statistics."""

from datetime import datetime, timedelta

from pipelines.domain.monitoring.audit import database, server
from pipelines.domain.monitoring.audit.measurements import Measurements
from pipelines.monitoring.audit.host import memory_total
from pipelines.monitoring.audit.processes import NOT_LOCAL, is_local
from pipelines.storage.monitoring import server_statistics as statistics
from pipelines.storage.monitoring.audits import counts_before
from pipelines.storage.postgres.connection import Connection

#: Growth and scans are computed since the oldest audit of so many days.
GROWTH_DAYS = 7


def measure_tables(connection: Connection, now: datetime) -> Measurements:
    """Sizes, rows, dead rows, bloat and growth of tables; indexes that are not needed."""
    statistics_age = statistics.measure_server(connection).values().get("statistics_age", 0.0)
    tables, since = statistics.read_tables(connection), now - timedelta(days=GROWTH_DAYS)
    rows, scans, rows_read = (
        counts_before(connection, name, since)
        for name in ("table_rows", "table_sequential_scans", "table_rows_read_sequentially")
    )
    found = database.measure_tables(tables)
    found.extend(database.measure_growth(tables, rows, now))
    found.detections += database.detect_scans(tables, scans, rows_read, now)
    found.detections += database.detect_indexes(statistics.read_indexes(connection), statistics_age)
    return found


def measure_server(connection: Connection) -> Measurements:
    """The server as a whole, its checkpoints, standbys and settings."""
    found, standbys = statistics.measure_server(connection), statistics.measure_standbys(connection)
    values, memory = found.values(), memory_total() if is_local(connection) else None
    found.detections += server.detect_server(values)
    found.detections += server.detect_lag(standbys.items)
    settings = statistics.read_settings(connection)
    found.detections += server.detect_settings(settings, values["database_size"], memory)
    if memory is None:
        found.add_gap("settings compared with the server's memory", NOT_LOCAL)
    if not standbys.items and not standbys.gaps:
        found.add_gap("replication lag", "the server has no standby")
    found.extend(standbys)
    return found


def measure_statements(connection: Connection) -> Measurements:
    """Statements with the largest share of execution time, where the server has pg_stat_statements."""
    extension, found = statistics.read_extension(connection), Measurements()
    if extension.loaded and extension.schema is not None:
        found = statistics.measure_statements(connection, extension.schema)
        if not found.items:
            found.add_gap("pg_stat_statements", "insufficient privilege to see statements")
        return found
    found.detections += server.detect_extension(extension)
    why = "the extension is not in use" if extension.available else "the server does not have the extension"
    found.add_gap("pg_stat_statements", f"{why}: the audit times the hot queries itself")
    return found
