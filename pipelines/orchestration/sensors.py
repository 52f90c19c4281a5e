"""Sensors: they look, request at most one run, and write down transitions."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.domain.monitoring.alerts import problems
from pipelines.errors import DatabaseError
from pipelines.monitoring.alert_delivery import alerts_lock, update_alerts
from pipelines.monitoring.conditions import collect_facts
from pipelines.orchestration.jobs import LIVE_JOB, live_refresh
from pipelines.orchestration.run_reaper import IN_PROGRESS, START_GRACE, fail, runs_without_process
from pipelines.resources import Strikecast
from pipelines.storage.live.sessions import LockState, read_lock_state
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.postgres.connection import Role

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
            state = read_lock_state(connection)
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


WATCH_SECONDS = 30


@dg.sensor(
    minimum_interval_seconds=WATCH_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process was killed, so that their pool is free: Dagster takes them for running for "
    "ever. A run says that its process lives by a lock in the database; it is dead if two looks do not find the lock.",
)
def run_reaper(context: dg.SensorEvaluationContext, strikecast: Strikecast) -> dg.SkipReason:
    """Fail the runs whose process was gone at the last look, too."""
    suspects = set((context.cursor or "").split())
    try:
        dead = runs_without_process(context.instance, strikecast.database(), datetime.now(UTC))
    except DatabaseError as error:
        return dg.SkipReason(str(error))
    gone = [run for run in dead if run.run_id in suspects]
    for run in gone:
        fail(context.instance, run, "the process of this run is gone: it was killed, or its machine was")
    context.update_cursor(" ".join(run.run_id for run in dead if run not in gone))
    return dg.SkipReason(f"failed {', '.join(run.run_id for run in gone)}" if gone else "every run has its process")


@dg.sensor(
    minimum_interval_seconds=WATCH_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks whether a job of maintenance failed or is late, a restore drill failed, a probability file is "
    "stale, a disk is low, days are missing; what begins and what ends is told once, to all whom the settings name.",
)
def watchdog(context: dg.SensorEvaluationContext, strikecast: Strikecast) -> dg.SkipReason:
    """Tell what began and what ended since the last look."""
    return dg.SkipReason(_watch(context, strikecast))


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=WATCH_SECONDS,
    description="When a run fails, the watchdog looks at once.",
)
def a_run_failed(context: dg.RunFailureSensorContext, strikecast: Strikecast) -> None:
    """As `watchdog`; a live session that failed is not news while another writes the files."""
    _watch(context, strikecast)


def _watch(context: dg.SensorEvaluationContext | dg.RunFailureSensorContext, strikecast: Strikecast) -> str:
    def log(text: str) -> None:
        context.log.warning(text)  # to ask for the log is to make a file, so not at each look

    settings = strikecast.settings()
    with alerts_lock(settings):
        now = datetime.now(UTC)
        facts = collect_facts(settings, strikecast.database(), context.instance, now)
        lasting = update_alerts(settings, problems(facts, settings.alerts, now), now, log)
    return "; ".join(one.message for one in lasting) or "all is well"
