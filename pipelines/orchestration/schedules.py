"""Schedules, all in UTC, all on by default."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from pipelines.orchestration.jobs import (
    archive_prices,
    audit_system,
    backup_database,
    calibrate,
    compress_logs,
    ingest_prices,
    make_partitions,
    remove_what_is_old,
    restore_drill,
    score_live_answers,
    vacuum_database,
)
from pipelines.resources import SYMBOLS, Strikecast
from pipelines.settings import FeedKind


def _each_symbol(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    assert SYMBOLS.name is not None
    when = context.scheduled_execution_time.isoformat()
    for symbol in context.instance.get_dynamic_partitions(SYMBOLS.name):
        yield dg.RunRequest(run_key=f"{when} {symbol}", partition_key=symbol)


@dg.schedule(
    job=calibrate,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Score every model on what it had not seen, for each symbol: Sundays 04:00 UTC.",
)
def weekly_calibration(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """One run per symbol."""
    yield from _each_symbol(context)


@dg.schedule(
    job=score_live_answers,
    cron_schedule="10 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Score yesterday's live answers, for each symbol: daily 00:10 UTC.",
)
def daily_live_calibration(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """One run per symbol."""
    yield from _each_symbol(context)


def _at(name: str, cron: str, job: Any, description: str, config: Any = None) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        run_config=config,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )


#: The jobs that look after the database, none of which knows of symbols.
MAINTENANCE = (
    _at("daily_partitions", "30 1 * * *", make_partitions, "Make the partitions of the next days: daily 01:30 UTC."),
    _at("weekly_vacuum", "0 1 * * 0", vacuum_database, "Vacuum every table that needs it: Sundays 01:00 UTC."),
    _at(
        "daily_urgent_vacuum",
        "0 1 * * 1-6",
        vacuum_database,
        "Vacuum what cannot wait for Sunday: daily 01:00 UTC.",
        {"ops": {"vacuum": {"config": {"urgent_only": True}}}},
    ),
    _at("daily_logs", "15 1 * * *", compress_logs, "Rotate and compress logs: daily 01:15 UTC."),
    _at("monthly_archive", "30 2 1 * *", archive_prices, "Old months of bars become files: on the 1st, 02:30 UTC."),
    _at("daily_retention", "0 2 * * *", remove_what_is_old, "Remove what no policy keeps: daily 02:00 UTC."),
    _at(
        "nightly_backup",
        "0 3 * * *",
        backup_database,
        "Dump the whole database, read the dump back, rotate older ones: daily 03:00 UTC.",
    ),
    _at(
        "weekly_restore_drill",
        "0 5 * * 0",
        restore_drill,
        "Prove that the newest backup restores: Sundays 05:00 UTC.",
    ),
    _at("hourly_audit", "40 0-2,4-23 * * *", audit_system, "Measure and judge the system: each hour but 03:00 UTC."),
    _at(
        "nightly_audit",
        "40 3 * * *",
        audit_system,
        "Measure and judge the system at length, after the backup: daily 03:40 UTC.",
        {"ops": {"audit": {"config": {"full": True}}}},
    ),
)

#: Where the live session's prices come from says where its finished minutes are to be had. Replayed ones are no news.
_ORIGINS = {FeedKind.EXCHANGE: "EXCHANGE", FeedKind.EXTERNAL: "TICKS"}


@dg.schedule(
    job=ingest_prices,
    cron_schedule="20 */6 * * *",  # an exchange may reach back no further than twelve hours
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Store the finished minutes that are missing, from the exchange or from other producers' ticks, for "
    "each symbol: 00:20, 06:20, 12:20, 18:20 UTC. Skipped with the replay feed.",
)
def backfill(context: dg.ScheduleEvaluationContext, strikecast: Strikecast) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One run per symbol, unless prices are replayed."""
    feed = strikecast.settings().feed
    if feed not in _ORIGINS:
        yield dg.SkipReason(f"the feed is {feed}: there are no new minutes")
        return
    config = {"ops": {"price_history": {"config": {"origin": _ORIGINS[feed]}}}}
    for request in _each_symbol(context):
        yield dg.RunRequest(run_key=request.run_key, partition_key=request.partition_key, run_config=config)
