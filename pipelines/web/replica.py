"""How old the answers of a replica are: response headers, a check of `/health`, and gauges for Prometheus."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from pipelines.domain.models.ladder import iso
from pipelines.errors import ServerUnavailableError
from pipelines.storage.live.health_queries import with_timeouts
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.reading import ReadDatabase, ReadReport, ReadState, inspect_reading, noting
from pipelines.web.shared_reads import SingleFlightCache

Result = TypeVar("Result")
PREFIX = "strikecast_read_"


@dataclass(frozen=True)
class Aged(Generic[Result]):
    """What was read, and the state of the server before; None of the database itself, which is never behind."""

    value: Result
    state: ReadState | None

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers with the age of the data; none without a state."""
        if self.state is None or self.state.as_of is None:
            return {}
        return {"x-data-as-of": iso(self.state.as_of), "x-data-lag-seconds": f"{self.state.lag_seconds:.3f}"}


def read_aged(database: Database, call: Callable[[Database], Result]) -> Aged[Result]:
    """Call with a database; the state is that of its first connection, so that what was read is at least as new."""
    states: list[ReadState] = []
    value = call(noting(database, states.append))
    return Aged(value, states[0] if states else None)


class ReplicaCheck:
    """The state of the database of `read_url`, read at most once a second; without that setting there is none."""

    def __init__(self, database: ReadDatabase | None) -> None:
        self._database = database
        self._report: SingleFlightCache[ReadReport] | None = None
        if database is not None:
            limited = with_timeouts(database)
            self._report = SingleFlightCache(lambda: inspect_reading(limited), fresh_seconds=1.0)

    async def report(self, timeout_seconds: float) -> ReadReport | None:
        """The state; None without a replica."""
        if self._database is None or self._report is None:
            return None
        try:
            return await self._report.get(timeout_seconds)
        except ServerUnavailableError as error:
            return ReadReport(self._database.describe(), None, str(error))

    async def metrics(self, timeout_seconds: float) -> bytes:
        """Gauges in Prometheus' text format; nothing without a replica."""
        report = await self.report(timeout_seconds)
        return b"" if report is None else read_metrics(report)


def read_metrics(report: ReadReport) -> bytes:
    """Gauges of a state; without one, only that there is none."""
    state, registry = report.state, CollectorRegistry(auto_describe=False)
    values: list[tuple[str, str, float | None]] = [
        ("usable", "1 reads succeed, 0 they are refused or fail", report.problem is None)
    ]
    if state is not None:
        values += [
            ("is_replica", "1 a replica, 0 a primary", state.is_replica),
            ("caught_up", "1 all that was received is replayed and a receiver is connected, 0 not", state.caught_up),
            ("lag_seconds", "time since the newest commit that was replayed", state.lag_seconds),
            (
                "as_of_timestamp_seconds",
                "time of that commit",
                None if state.as_of is None else state.as_of.timestamp(),
            ),
        ]
    for name, documentation, value in values:
        if value is not None:
            gauge = Gauge(PREFIX + name, f"database of read_url: {documentation}", ["database"], registry=registry)
            gauge.labels(report.database).set(float(value))
    return generate_latest(registry)
