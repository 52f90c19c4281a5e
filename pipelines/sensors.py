"""Sensors: they look, request at most one run, and write down transitions."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.errors import DatabaseError
from pipelines.jobs import IN_PROGRESS, LIVE_JOB, START_GRACE, live_refresh
from pipelines.resources import Strikecast
from pipelines.storage.database import Role
from pipelines.storage.live import LockState, champion_generations, lock_state

CHECK_SECONDS = 5
#: Before the hour: a run takes ten seconds or so to start, and a first one may fail.
SUCCESSOR_EARLY = timedelta(seconds=60)
#: A session says that it lives each second; this sensor looks each five.
SILENT_SECONDS = 10.0
#: Before everything else that waits for a place.
PRIORITY = "10"


@dg.sensor(
    job=live_refresh,
    minimum_interval_seconds=CHECK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sees to it that there is a live session, and a minute before the hour its successor. A session is "
    "alive while it holds its lock in the database, which a killed process loses at once, and while its heart beats.",
)
def live_supervisor(context: dg.SensorEvaluationContext, strikecast: Strikecast) -> dg.RunRequest | dg.SkipReason:
    """Request a run of the live job when one is missing, unless one is starting or waiting already."""
    settings = strikecast.settings()
    now = datetime.now(UTC)
    try:
        with strikecast.database().connect("live supervisor", Role.PIPELINE) as connection:
            state = lock_state(connection)
            published = champion_generations(connection, list(settings.symbols))
    except DatabaseError as error:
        return dg.SkipReason(str(error))
    if not published:
        return dg.SkipReason("no symbol has a published generation yet: run `strikecast build`")
    wanted = wanted_because(state, now, hot_standby=settings.hot_standby)
    if wanted is None:
        return dg.SkipReason(f"live session {state.session} is running")
    records = context.instance.get_run_records(dg.RunsFilter(job_name=LIVE_JOB, statuses=IN_PROGRESS))
    starting = [
        record.dagster_run.run_id
        for record in records
        if record.dagster_run.run_id != state.run_id and _may_be_starting(record, now)
    ]
    if starting:
        return dg.SkipReason(f"{wanted}; run {starting[0]} is starting")
    return dg.RunRequest(run_key=None, tags={"strikecast/wanted_because": wanted, "dagster/priority": PRIORITY})


def _may_be_starting(record: dg.RunRecord, now: datetime) -> bool:
    """Whether a run may still become a session: it waits for a place, or got one lately."""
    if record.dagster_run.status is dg.DagsterRunStatus.QUEUED:
        return True
    return now - record.update_timestamp <= START_GRACE


def wanted_because(state: LockState, now: datetime, *, hot_standby: bool) -> str | None:
    """Why another run is wanted, None when none is; `now` is aware UTC."""
    if state.holder_pid is None and not state.waiting:
        return "no live session is running"
    if state.waiting:
        return None
    if state.heartbeat_age_seconds is None or state.heartbeat_age_seconds > SILENT_SECONDS:
        return f"the live session has been silent for more than {SILENT_SECONDS:g} s"
    if hot_standby:
        return "a hot standby is missing"
    if state.hands_over_at is not None and state.hands_over_at - now <= SUCCESSOR_EARLY:
        return f"the market closes at {state.hands_over_at:%H:%M} UTC"
    return None
