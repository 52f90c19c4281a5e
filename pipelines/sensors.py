"""Sensors: they look, request at most one run, and write down transitions."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.errors import DatabaseError
from pipelines.jobs import IN_PROGRESS, LIVE_JOB, live_refresh
from pipelines.resources import Strikecast
from pipelines.storage.database import Role
from pipelines.storage.live import champion_generations, session_is_alive

CHECK_SECONDS = 5
#: A requested run takes this long to load code and take the lock; until then it is not missing.
START_GRACE = timedelta(seconds=60)


@dg.sensor(
    job=live_refresh,
    minimum_interval_seconds=CHECK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the live session whenever none is alive and something is published. Alive means: it holds its "
    "lock in the database, which a killed process loses at once.",
)
def live_supervisor(context: dg.SensorEvaluationContext, strikecast: Strikecast) -> dg.RunRequest | dg.SkipReason:
    """Request a run of the live job unless a session is alive or one is starting."""
    settings = strikecast.settings()
    try:
        with strikecast.database().connect("live supervisor", Role.PIPELINE) as connection:
            alive = session_is_alive(connection)
            published = champion_generations(connection, list(settings.symbols))
    except DatabaseError as error:
        return dg.SkipReason(str(error))
    if alive:
        return dg.SkipReason("a live session is running")
    if not published:
        return dg.SkipReason("no symbol has a published generation yet: run `strikecast build`")
    records = context.instance.get_run_records(
        dg.RunsFilter(job_name=LIVE_JOB, statuses=IN_PROGRESS, created_after=datetime.now(UTC) - START_GRACE), limit=1
    )
    if records:
        return dg.SkipReason(f"run {records[0].dagster_run.run_id} is starting")
    return dg.RunRequest(run_key=None)
