"""What live sessions saved of themselves: latency by stage, refreshes that came late, how long a start takes."""

from datetime import datetime, timedelta

from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, one
from pipelines.storage.monitoring.server_statistics import read_live_measures
from pipelines.storage.postgres.connection import Connection

#: A session saves itself each minute and lasts an hour.
WITHIN = timedelta(hours=1)


def measure(connection: Connection, now: datetime) -> Measured:
    """Of the newest session that refreshed within an hour before `now` (aware UTC); percentiles since its start."""
    found = read_live_measures(connection, now - WITHIN)
    if found is None:
        return Measured((), (Gap("live latency", "no live session saved any within an hour"),))
    figures: list[Figure] = [
        one("live_latency", Unit.MILLISECONDS, value, stage=stage, percentile=percentile)
        for stage, values in found.latencies_ms.items()
        for percentile, value in values.items()
    ]
    gaps = []
    if found.counts is None:
        gaps.append(Gap("cycles missed", f"{found.session_id} is of an older version, which did not save them"))
    else:
        figures += [
            one("live_cycles", Unit.COUNT, found.counts["cycles"]),
            one("live_cycles_late", Unit.COUNT, found.counts["overruns"], note="a second or more after the one before"),
            one("live_ticks", Unit.COUNT, found.counts["ticks"]),
            one("live_stale", Unit.SECONDS, found.counts["seconds_stale"]),
        ]
    if found.longest_gap_seconds is not None:
        figures.append(one("live_longest_gap", Unit.SECONDS, found.longest_gap_seconds))
    if found.start_seconds is not None:
        figures.append(one("live_start", Unit.SECONDS, found.start_seconds, note="process to ready"))
    return Measured(tuple(figures), tuple(gaps))
