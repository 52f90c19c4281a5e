"""Gauges of schedules, sensors and daemons for Prometheus: whether they are on, tick, and are on time."""

from collections.abc import Callable, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from pipelines.errors import DatabaseError
from pipelines.monitoring.ticking import overdue_since, permitted_silence
from pipelines.storage.live.health_queries import with_timeouts
from pipelines.storage.monitoring.dagster_state import SCHEDULE, TickState, read_ticks
from pipelines.storage.postgres.connection import Database, DriverError
from pipelines.web.shared_reads import SingleFlightCache

TIMEOUT_SECONDS = 1.5
PREFIX = "strikecast_tick_"
KIND_AND_NAME = ["kind", "name"]


class TickMetrics:
    """The gauges; `database`: Dagster's, `clock`: the time, aware UTC."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = with_timeouts(database)
        self._clock = clock
        self._states = SingleFlightCache(self._read, fresh_seconds=1.0)

    async def metrics(self) -> bytes:
        """Gauges in Prometheus' text format; nothing where Dagster's database cannot be read."""
        try:
            return tick_metrics(await self._states.get(TIMEOUT_SECONDS), self._clock())
        except (DatabaseError, DriverError):
            return b""

    def _read(self) -> Sequence[TickState]:
        with self._database.connect("serve", None, autocommit=True) as connection:
            return read_ticks(connection)


def tick_metrics(states: Sequence[TickState], now: datetime) -> bytes:
    """Gauges of what Dagster recorded, at `now` (aware UTC); nothing without states."""
    if not states:
        return b""
    registry = CollectorRegistry(auto_describe=False)

    def gauge(name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, documentation, [*KIND_AND_NAME, *labels], registry=registry)

    on = gauge("on", "1 on, 0 switched off; daemons are always on")
    age = gauge("age_seconds", "time since it last ticked, was looked at (schedules), or sent its heartbeat (daemons)")
    limit = gauge("age_limit_seconds", "age from which on it counts as stopped")
    status = gauge("status", "1 for the status of its newest tick", "status")
    late = gauge("late_seconds", "time since a schedule was due, if it has not ticked for that time; otherwise 0")
    for one in states:
        labels = (one.kind, one.name)
        on.labels(*labels).set(one.is_on)
        limit.labels(*labels).set(permitted_silence(one).total_seconds())
        if one.active_at is not None:
            age.labels(*labels).set((now - one.active_at).total_seconds())
        if one.status is not None:
            status.labels(*labels, one.status).set(1)
        if one.kind == SCHEDULE:
            due_at = overdue_since(one, now)
            late.labels(*labels).set(0.0 if due_at is None else (now - due_at).total_seconds())
    return generate_latest(registry)
