"""Looks at everything that may go wrong while nobody does: jobs, drills, files, disks, the database."""

import shutil
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from pipelines.domain.monitoring.alerts import FRESH_FOR, DiskFacts, Facts, FileFacts, JobFacts
from pipelines.domain.monitoring.audit.targets import LOOKED_BACK, Breach, lasting_breaches
from pipelines.errors import DatabaseError
from pipelines.live.file_reader import read_view
from pipelines.monitoring.alert_delivery import read_state
from pipelines.settings import Settings
from pipelines.storage.live.ticks import count_days_ahead
from pipelines.storage.maintenance.runs import left_twice
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.monitoring.audits import judged_since
from pipelines.storage.postgres.connection import Database, Role

#: What each job of maintenance makes.
MADE_BY = {
    "make_partitions": "day_partitions",
    "vacuum_database": "vacuum",
    "compress_logs": "log_files",
    "remove_what_is_old": "retention",
    "archive_prices": "price_archive",
    "backup_database": "backup",
    "audit_system": "audit",
}
DRILL_JOB = "restore_drill"
DRILL = dg.AssetCheckKey(dg.AssetKey("backup"), "restores")
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def look(settings: Settings, database: Database, instance: dg.DagsterInstance, now: datetime) -> Facts:
    """What there is to see at `now` (aware UTC)."""
    error, published, ahead, left = None, {}, None, {}
    breaches: tuple[Breach, ...] = ()
    try:
        with database.connect("watchdog", Role.PIPELINE) as connection:
            published = champion_generations(connection, list(settings.symbols))
            ahead = count_days_ahead(connection)
            left = left_twice(connection)
            breaches = lasting_breaches(judged_since(connection, now - LOOKED_BACK), now)
    except DatabaseError as trouble:
        error = str(trouble)
    drill, drill_problem = _drill(instance)
    return Facts(
        read_state(settings, now).watching_since,
        error,
        [*(_job(instance, job, asset) for job, asset in MADE_BY.items()), drill],
        drill_problem,
        [_file(settings, symbol, now) for symbol in published],
        _disks(settings),
        ahead,
        left,
        breaches,
    )


def _job(instance: dg.DagsterInstance, job: str, asset: str) -> JobFacts:
    made = instance.get_latest_materialization_event(dg.AssetKey(asset))
    succeeded_at = None if made is None else datetime.fromtimestamp(made.timestamp, UTC)
    return JobFacts(job, succeeded_at, FRESH_FOR[asset], _failed_run(instance, job, succeeded_at))


def _failed_run(instance: dg.DagsterInstance, job: str, succeeded_at: datetime | None) -> str | None:
    """A job's newest run if that failed, and nothing has made the same since, such as the asset's own button."""
    newest = next(iter(instance.get_run_records(dg.RunsFilter(job_name=job, statuses=ENDED), limit=1)), None)
    if newest is None or newest.dagster_run.status is not dg.DagsterRunStatus.FAILURE:
        return None
    ended_at = newest.end_time or newest.update_timestamp.timestamp()
    return None if succeeded_at is not None and succeeded_at.timestamp() > ended_at else newest.dagster_run.run_id


def _drill(instance: dg.DagsterInstance) -> tuple[JobFacts, str | None]:
    """The job of the drill, and why the newest drill that is over failed."""
    evaluated_at = problem = None
    for record in instance.event_log_storage.get_asset_check_execution_history(DRILL, limit=5):
        if record.status is not AssetCheckExecutionRecordStatus.PLANNED and record.evaluation is not None:
            evaluated_at = datetime.fromtimestamp(record.create_timestamp, UTC)
            if not record.evaluation.passed and problem is None:
                metadata = record.evaluation.metadata
                told = [str(metadata[name].value) for name in ("problem", "differences") if name in metadata]
                problem = "; ".join(told) or "see the check"
            break
        run = instance.get_run_by_id(record.run_id)
        if problem is None and (run is None or run.is_finished):
            problem = "it ended without a result"
    job = JobFacts(DRILL_JOB, evaluated_at, FRESH_FOR["restores"], _failed_run(instance, DRILL_JOB, evaluated_at))
    return job, problem


def _file(settings: Settings, symbol: str, now: datetime) -> FileFacts:
    view = read_view(settings.output_dir, symbol, now)
    return FileFacts(symbol, view.file_age_seconds, view.reasons)


def _disks(settings: Settings) -> list[DiskFacts]:
    """The disks of the home folder and of the backups, each once."""
    places = {"the home folder": settings.home, "the backups": settings.backups_dir}
    there = {what: path for what, path in places.items() if path.exists()}
    devices = {path.stat().st_dev: what for what, path in reversed(there.items())}
    usages = {what: shutil.disk_usage(there[what]) for what in devices.values()}
    return [DiskFacts(what, usage.free, usage.total) for what, usage in usages.items()]
