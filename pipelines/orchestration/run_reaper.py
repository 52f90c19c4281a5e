"""Runs whose process was killed: Dagster takes them for running for ever, and their pool stays taken."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import is_run_lock_held

#: A requested run takes so long to load code and say that it lives; until then it is not missing.
START_GRACE = timedelta(seconds=60)
#: As above, for a run that Dagster says has started.
STARTED_GRACE = timedelta(seconds=10)
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def runs_without_process(
    instance: dg.DagsterInstance, database: Database, now: datetime, job: str | None = None
) -> Sequence[dg.DagsterRun]:
    """Runs, of one job or of all, that ought to hold the lock of a living process by now, and do not.

    One that ends this very moment looks the same: ask twice. Raises DatabaseError.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=IN_PROGRESS))
    due = [record.dagster_run for record in records if _should_hold_its_lock(record, now)]
    if not due:
        return []
    with database.connect("dead runs", Role.PIPELINE) as connection:
        return [run for run in due if not is_run_lock_held(connection, run.run_id)]


def _should_hold_its_lock(record: dg.RunRecord, now: datetime) -> bool:
    """Whether a run has had the time to tell the database that it is there; not so in the queue."""
    if record.start_time is not None:
        return now.timestamp() - record.start_time > STARTED_GRACE.total_seconds()
    queued = record.dagster_run.status is dg.DagsterRunStatus.QUEUED
    return not queued and now - record.update_timestamp > START_GRACE


def fail(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Record that a run is over, which frees its pool."""
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run)
    else:
        instance.report_run_failed(run, why)
