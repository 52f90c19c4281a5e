"""Records of builds, maintenance and live sessions, as an audit reads them."""

from datetime import UTC, datetime, timedelta

from pipelines.domain.monitoring.audit.measurements import Measurements
from pipelines.storage.monitoring.server_statistics import read_measurements
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


def measure_records(connection: Connection, now: datetime) -> Measurements:
    """Newest builds, newest finished maintenance runs, and availability of live sessions in the day before `now`."""
    found = read_measurements(connection, SQL["builds"], {"now": now})
    found.extend(read_measurements(connection, SQL["maintenance"]))
    availability = read_measurements(connection, SQL["availability"], {"since": now - timedelta(days=1), "now": now})
    if not availability.items:
        found.add_gap("availability", "no live session has run yet")
    found.extend(availability)
    return found


def measure_live_session(connection: Connection, now: datetime) -> Measurements:
    """Latency by stage and counts of the newest live session with a snapshot in the hour before `now`."""
    found = read_measurements(connection, SQL["live_session"], {"hour_ago": now - timedelta(hours=1)})
    if not found.items:
        found.add_gap("live latency", "no live session saved a snapshot within the last hour")
    return found


def refreshed_since(connection: Connection) -> datetime | None:
    """Start of the running session, or end of the last one (UTC); None without any."""
    row = connection.execute(SQL["refreshed_since"]).fetchone()
    return None if row is None or row[0] is None else row[0].astimezone(UTC)
