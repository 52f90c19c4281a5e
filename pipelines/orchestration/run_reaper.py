"""Detect what Dagster misses of runs: that their process has exited, which keeps their pool slot, and retries."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from pipelines.domain.models.freshness import age_text
from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.processes.run_titles import QUEUE_TAG
from pipelines.resources import MAX_RETRIES_TAG, MESSAGE_TAG, UNSENT, WORKER_TAG
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import is_run_lock_held

#: Time for a requested run to load code and take its lock.
START_GRACE = timedelta(seconds=60)
#: As above, for a run that Dagster reports as started.
STARTED_GRACE = timedelta(seconds=10)
#: Time for a worker to take a run, while none of its queue is executed.
UNTAKEN_GRACE = timedelta(minutes=5)
#: Time for Dagster's daemon to retry a failed run.
RETRY_GRACE = timedelta(seconds=60)
WILL_RETRY_TAG, RETRY_TAG = "dagster/will_retry", "dagster/auto_retry_run_id"
#: Of a run whose failure was reported once more.
REPORTED_AGAIN_TAG = "strikecast/failure_reported_again"
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
    """Runs, of one job or of all, that should hold their process's lock by `now` (aware UTC) and do not.

    A run that is just ending looks the same, so check twice. Raises DatabaseError.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=IN_PROGRESS))
    due = [record.dagster_run for record in records if _should_hold_its_lock(record, now)]
    if not due:
        return []
    with database.connect("run reaper", Role.PIPELINE) as connection:
        return [run for run in due if not is_run_lock_held(connection, run.run_id)]


def _should_hold_its_lock(record: dg.RunRecord, now: datetime) -> bool:
    """Whether a run has had the time to take its lock; a queued run has none.

    One that was handed to workers may wait there, and once started, Dagster's run monitoring asks for its lock.
    """
    if WORKER_TAG in record.dagster_run.tags:
        return False
    if record.start_time is not None:
        return now.timestamp() - record.start_time > STARTED_GRACE.total_seconds()
    queued = record.dagster_run.status is dg.DagsterRunStatus.QUEUED
    return not queued and now - record.update_timestamp > START_GRACE


def fail_untaken_runs(instance: dg.DagsterInstance, now: datetime, timeout_seconds: float) -> list[str]:
    """Fail the runs that no worker has taken for so long, without a retry; returns their ids. `now` is aware UTC."""
    failed = []
    for run, seconds in _waiting(instance, now):
        if seconds < timeout_seconds:
            continue
        instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
        queue = run.tags.get(QUEUE_TAG)
        instance.report_run_failed(
            run,
            f"no worker took this run from the queue {queue} within {timeout_seconds:g} s "
            "(workers.queue_timeout_seconds): is one running with this code? See docs/workers.md",
        )
        failed.append(run.run_id)
    return failed


def _waiting(instance: dg.DagsterInstance, now: datetime) -> Iterator[tuple[dg.DagsterRun, float]]:
    """Runs that wait for a worker, with the seconds since they were handed over."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING], tags={WORKER_TAG: ""})):
        launched = instance.get_run_stats(run.run_id).launch_time
        if launched is not None:
            yield run, now.timestamp() - launched


def untaken_problems(instance: dg.DagsterInstance, now: datetime) -> list[Problem]:
    """Queues whose runs wait although no worker executes any of them; `now` is aware UTC."""
    late = [(run, seconds) for run, seconds in _waiting(instance, now) if seconds > UNTAKEN_GRACE.total_seconds()]
    if not late:
        return []
    started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]))
    busy, found = {run.tags.get(QUEUE_TAG) for run in started}, dict[str, tuple[float, bool]]()
    for run, seconds in sorted(late, key=lambda one: -one[1]):
        if run.tags[QUEUE_TAG] not in busy:
            found.setdefault(run.tags[QUEUE_TAG], (seconds, run.tags.get(MESSAGE_TAG) == UNSENT))
    return [
        Problem(
            f"queue {queue}",
            f"a run of the queue {queue} has waited for {age_text(seconds)}: "
            + ("the broker does not accept its message" if is_unsent else "no worker takes runs of this queue"),
            RunbookHeading.QUEUE,
        )
        for queue, (seconds, is_unsent) in found.items()
    ]


def report_missed_retries(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Report the failures again, once, of runs that Dagster decided to retry and did not; returns their ids.

    An event of a failure is stored before the run's status. Where Dagster's daemon reads them in between, it takes the
    run for one that goes on, and does not look at it again without another event. `now` is aware UTC.
    """
    decided = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={WILL_RETRY_TAG: "true"},
        updated_before=now - RETRY_GRACE,
        created_after=now - timedelta(days=1),
    )
    missed = [run for run in instance.get_runs(decided) if run.tags.keys().isdisjoint({RETRY_TAG, REPORTED_AGAIN_TAG})]
    for run in missed:
        instance.add_run_tags(run.run_id, {REPORTED_AGAIN_TAG: "true"})
        instance.report_run_failed(
            run, "this run was not retried as decided, and is reported to Dagster's daemon again"
        )
    return [run.run_id for run in missed]


def fail(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Record a run as failed (or canceled), which frees its pool slot."""
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run)
    else:
        instance.report_run_failed(run, why)
