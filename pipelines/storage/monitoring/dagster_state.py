"""Runs in progress, ticks of schedules and sensors, and heartbeats of daemons, from Dagster's own tables.

Without loading Dagster, which takes 100 MB and two seconds; ticks by one statement, however many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)

SENSOR, SCHEDULE, DAEMON = "sensor", "schedule", "daemon"


@dataclass(frozen=True)
class TickState:
    """A schedule, a sensor or a daemon, as Dagster recorded it last. Times are aware UTC.

    `active_at`: when it last ticked, was looked at, or sent its heartbeat; None for never. `ticked_at`: of its newest
    tick, for a schedule the time that it was due; `status`: of that tick, such as `success`. `due_since`: from when on
    a schedule is due. `interval_seconds`: at least between ticks of a sensor. `crons`: of a schedule.
    """

    kind: str
    name: str
    is_on: bool
    active_at: datetime | None
    ticked_at: datetime | None
    status: str | None
    interval_seconds: float | None
    crons: Sequence[str] | None
    due_since: datetime | None

    @property
    def title(self) -> str:
        """Such as `sensor watchdog`."""
        return f"{self.kind} {self.name}"


def runs_in_progress(connection: Connection) -> set[str]:
    """Ids of the runs of this host that have not ended; needs a connection to Dagster's database."""
    return {row[0] for row in connection.execute(SQL["runs_in_progress"])}


def read_ticks(connection: Connection) -> list[TickState]:
    """All schedules, sensors and daemons that Dagster knows, by kind and name; needs a connection to its database.

    Dagster keeps the state of a schedule or sensor over restarts, also of one that does not exist any more.
    """
    return read_rows(connection, TickState, SQL["ticks"])
