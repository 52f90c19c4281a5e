"""Schedules, all in UTC, all on by default."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from pipelines.configuration.sections import FeedKind
from pipelines.orchestration import jobs, maintenance
from pipelines.resources import SYMBOLS, SettingsResource


def _schedule(name: str, cron: str, job: Any, description: str, **options: Any) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        cron_schedule=cron,
        job=job,
        description=description,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        **options,
    )


def _request_each_symbol(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    assert SYMBOLS.name is not None
    tick = context.scheduled_execution_time.isoformat()
    configured = context.resources.settings.values.symbols
    for symbol in context.instance.get_dynamic_partitions(SYMBOLS.name):
        if symbol in configured:  # the partition of a removed symbol stays, with its history
            yield dg.RunRequest(run_key=f"{tick} {symbol}", partition_key=symbol)


#: Origin of finished minutes by the live session's feed. A replay has no new minutes.
_ORIGINS = {FeedKind.EXCHANGE: "EXCHANGE", FeedKind.EXTERNAL: "TICKS"}


@dg.schedule(
    job=jobs.ingest_prices,
    cron_schedule="20 */6 * * *",  # an exchange may reach back no further than twelve hours
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Store the finished minutes that are missing, from the exchange or from other producers' ticks, for "
    "each symbol: 00:20, 06:20, 12:20, 18:20 UTC. Skipped with the replay feed.",
)
def backfill(
    context: dg.ScheduleEvaluationContext, settings: SettingsResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request one run per symbol, unless prices are replayed."""
    feed = settings.values.feed
    if feed not in _ORIGINS:
        yield dg.SkipReason(f"the feed is {feed}: there are no new minutes")
        return
    config = {"ops": {"price_history": {"config": {"origin": _ORIGINS[feed]}}}}
    for request in _request_each_symbol(context):
        yield dg.RunRequest(run_key=request.run_key, partition_key=request.partition_key, run_config=config)


ALL = [
    backfill,
    _schedule(
        "weekly_calibration",
        "0 4 * * 0",
        jobs.calibrate,
        "Score every model on data that it had not seen, for each symbol.",
        execution_fn=_request_each_symbol,
        required_resource_keys={"settings"},
    ),
    _schedule(
        "daily_live_calibration",
        "10 0 * * *",
        jobs.score_live_answers,
        "Score the live answers of the days that are not scored yet, for each symbol.",
        execution_fn=_request_each_symbol,
        required_resource_keys={"settings"},
    ),
    _schedule("daily_partitions", "30 1 * * *", maintenance.make_partitions, "Create the partitions of the next days."),
    _schedule("weekly_vacuum", "0 1 * * 0", maintenance.vacuum_database, "Vacuum every table that needs it."),
    _schedule(
        "daily_urgent_vacuum",
        "0 1 * * 1-6",
        maintenance.vacuum_database,
        "Vacuum the tables that cannot wait for Sunday.",
        run_config={"ops": {"vacuum": {"config": {"urgent_only": True}}}},
    ),
    _schedule("daily_logs", "15 1 * * *", maintenance.rotate_logs, "Rotate and compress logs."),
    _schedule("daily_retention", "0 2 * * *", maintenance.retention, "Delete what the policies no longer keep."),
    _schedule("monthly_archive", "30 2 1 * *", jobs.archive_prices, "Move old months of bars into files."),
    _schedule("nightly_backup", "0 3 * * *", jobs.backup_database, "Dump the database, verify it, rotate old dumps."),
    _schedule("weekly_restore_drill", "0 5 * * 0", jobs.restore_drill, "Prove that the newest backup restores."),
    _schedule("hourly_audit", "40 0-2,4-23 * * *", jobs.audit_system, "Measure and judge the system."),
    _schedule(
        "nightly_audit",
        "40 3 * * *",
        jobs.audit_system,
        "Measure and judge the system at length, after the backup.",
        run_config={"ops": {"audit": {"config": {"full": True}}}},
    ),
]
