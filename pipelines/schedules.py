"""Schedules, all in UTC, all on by default."""

from collections.abc import Iterator

import dagster as dg

from assets.partitions import SYMBOLS
from pipelines.jobs import backup_database, calibrate, ingest_prices, restore_drill, score_live_answers
from pipelines.resources import Strikecast
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


nightly_backup = dg.ScheduleDefinition(
    name="nightly_backup",
    job=backup_database,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Dump the whole database, read the dump back, rotate older ones: daily 03:00 UTC.",
)

weekly_restore_drill = dg.ScheduleDefinition(
    name="weekly_restore_drill",
    job=restore_drill,
    cron_schedule="0 5 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Prove that the newest backup restores: Sundays 05:00 UTC.",
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
