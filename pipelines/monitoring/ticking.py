"""Schedules, sensors and daemons that are off or do not tick. `strikecast up` alerts about them: they cannot."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from croniter import croniter

from pipelines.domain.monitoring.alerts import AlertSeverity, Problem, RunbookHeading
from pipelines.monitoring.alert_delivery import OFF_PROBLEM, TICKS_PROBLEM
from pipelines.storage.monitoring.dagster_state import DAEMON, SCHEDULE, TickState

#: A sensor ticks every minute at most, and a daemon sends its heartbeat every half minute.
MAX_SILENCE = timedelta(minutes=3)
#: Dagster records that it looked at a schedule at each of its ticks, and otherwise once in up to 70 minutes.
MAX_SCHEDULE_SILENCE = timedelta(minutes=90)
#: A schedule ticks within seconds of the time that it is due.
MAX_LATE = timedelta(minutes=10)
#: The daemons whose loops run the schedules, the sensors and the queue, and fail runs whose process has ended.
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING")


@dataclass(frozen=True)
class Ticking:
    """A running schedule or sensor, or a daemon; `ticked_at`: when it last did (aware UTC), None for never.

    `overdue_since`: when a schedule was due last, if it has not ticked for that time.
    """

    name: str
    ticked_at: datetime | None
    at_least_every: timedelta
    overdue_since: datetime | None = None


def ticking(states: Sequence[TickState], now: datetime) -> list[Ticking]:
    """What has to tick at `now` (aware UTC): the daemons that are needed, and what is on."""
    heartbeats = {one.name: one.active_at for one in states if one.kind == DAEMON}
    found = [Ticking(f"daemon {name}", heartbeats.get(name), MAX_SILENCE) for name in DAEMONS]
    others = [one for one in states if one.kind != DAEMON and one.is_on]
    return found + [
        Ticking(one.title, one.active_at, permitted_silence(one), overdue_since(one, now)) for one in others
    ]


def permitted_silence(state: TickState) -> timedelta:
    """How long nothing may be recorded of a schedule, sensor or daemon."""
    if state.kind == SCHEDULE:
        return MAX_SCHEDULE_SILENCE
    return MAX_SILENCE + timedelta(seconds=state.interval_seconds or 0.0)


def overdue_since(state: TickState, now: datetime) -> datetime | None:
    """When a schedule was due last (aware UTC), if it has not ticked for that time; None for all others.

    All schedules are in UTC. One that was switched on later was not due.
    """
    if not state.crons or state.due_since is None or not state.is_on:
        return None
    due_at: datetime = max(croniter(cron, now).get_prev(datetime) for cron in state.crons)
    has_ticked = state.ticked_at is not None and state.ticked_at >= due_at
    return None if has_ticked or due_at <= state.due_since else due_at


def tick_problems(found: Sequence[Ticking], since: datetime, now: datetime) -> list[Problem]:
    """One problem that names all that are late at `now`; `since`: when `strikecast up` started. Both are aware UTC."""

    def is_late(one: Ticking) -> bool:
        overdue = timedelta(0) if one.overdue_since is None else now - max(one.overdue_since, since)
        return overdue > MAX_LATE or now - max(one.ticked_at or since, since) > one.at_least_every

    late = [one for one in found if is_late(one)]
    if not late:
        return []
    first = min(late, key=lambda one: one.ticked_at or since)
    last = "never" if first.ticked_at is None else f"last at {first.ticked_at:%Y-%m-%d %H:%M:%S} UTC"
    message = f"{len(late)} of {len(found)} do not tick: {', '.join(one.name for one in late)} ({first.name}: {last})"
    heading, severity = RunbookHeading.WATCHDOG, AlertSeverity.CRITICAL
    return [Problem(TICKS_PROBLEM, message, heading, severity=severity, level=len(late))]


def switched_off(states: Sequence[TickState]) -> list[str]:
    """Titles of the schedules and sensors that somebody switched off, such as `sensor watchdog`."""
    return sorted({one.title for one in states if not one.is_on})


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
