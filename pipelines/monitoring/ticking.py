"""Schedules, sensors and daemons that are off or do not tick. `strikecast up` alerts about them: they cannot."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.domain.monitoring.alerts import AlertSeverity, Problem, RunbookHeading
from pipelines.monitoring.alert_delivery import OFF_PROBLEM, TICKS_PROBLEM

#: A sensor ticks every minute at most, and a daemon sends its heartbeat every half minute.
MAX_SILENCE = timedelta(minutes=3)
#: Dagster records that it looked at a schedule at each of its ticks, and otherwise once in up to 70 minutes.
MAX_SCHEDULE_SILENCE = timedelta(minutes=90)
#: The daemons whose loops run the schedules, the sensors and the queue, and fail runs whose process has ended.
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING")


@dataclass(frozen=True)
class Ticking:
    """A running schedule or sensor, or a daemon; `ticked_at`: when it last did (aware UTC), None for never."""

    name: str
    ticked_at: datetime | None
    at_least_every: timedelta


def read_ticking(instance: dg.DagsterInstance) -> list[Ticking]:
    """What has to tick: three queries, however many schedules and sensors there are."""
    heartbeats = instance.get_daemon_heartbeats()
    found = [
        Ticking(f"daemon {name}", _at(heartbeats[name].timestamp if name in heartbeats else None), MAX_SILENCE)
        for name in DAEMONS
    ]
    for state in instance.all_instigator_state():
        if not state.is_running or state.instigator_data is None:
            continue
        data = state.instigator_data._asdict()
        if "cron_schedule" in data:
            ticked_at, limit = _at(data["last_iteration_timestamp"]), MAX_SCHEDULE_SILENCE
        else:
            started_at = max(data["last_tick_start_timestamp"] or 0.0, data["last_tick_timestamp"] or 0.0)
            ticked_at, limit = _at(started_at), MAX_SILENCE + timedelta(seconds=data["min_interval"] or 0)
        found.append(Ticking(f"{state.instigator_type.value.lower()} {state.instigator_name}", ticked_at, limit))
    return found


def tick_problems(found: Sequence[Ticking], since: datetime, now: datetime) -> list[Problem]:
    """One problem that names all that are late at `now`; `since`: when `strikecast up` started. Both are aware UTC."""
    late = [one for one in found if now - max(one.ticked_at or since, since) > one.at_least_every]
    if not late:
        return []
    first = min(late, key=lambda one: one.ticked_at or since)
    last = "never" if first.ticked_at is None else f"last at {first.ticked_at:%Y-%m-%d %H:%M:%S} UTC"
    message = f"{len(late)} of {len(found)} do not tick: {', '.join(one.name for one in late)} ({first.name}: {last})"
    heading, severity = RunbookHeading.WATCHDOG, AlertSeverity.CRITICAL
    return [Problem(TICKS_PROBLEM, message, heading, severity=severity, level=len(late))]


def read_switched_off(instance: dg.DagsterInstance) -> list[str]:
    """Names of the schedules and sensors that somebody switched off, such as `sensor watchdog`.

    Dagster keeps it over restarts, also for those that do not exist any more.
    """
    stopped = [state for state in instance.all_instigator_state() if not state.is_running]
    return sorted({f"{state.instigator_type.value.lower()} {state.instigator_name}" for state in stopped})


def switched_off_problems(found: Sequence[str], on_purpose: Collection[str]) -> list[Problem]:
    """One problem that names all that are switched off, besides the names that are so `on_purpose`.

    It is critical with a sensor among them: those request the live session, look for problems, and fail dead runs.
    """
    off = [one for one in found if one.split()[1] not in on_purpose]
    if not off:
        return []
    message = f"switched off: {', '.join(off)}; switch on in the UI, or list in off_on_purpose of [alerts]"
    sensors = sum(one.startswith("sensor ") for one in off)
    severity = AlertSeverity.CRITICAL if sensors else AlertSeverity.WARNING
    return [Problem(OFF_PROBLEM, message, RunbookHeading.OFF, severity=severity, level=len(off) + 1_000 * sensors)]


def _at(timestamp: float | None) -> datetime | None:
    return datetime.fromtimestamp(timestamp, UTC) if timestamp else None
