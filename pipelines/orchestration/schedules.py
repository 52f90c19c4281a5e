"""Schedules, all in UTC, all on by default."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from pipelines.configuration.sections import FeedKind
from pipelines.domain.markets.board import MarketSource
from pipelines.orchestration import jobs, maintenance
from pipelines.orchestration.symbol_updates import UPDATE_JOB, registered_symbols, update_requests
from pipelines.resources import SettingsResource


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
    tick = context.scheduled_execution_time.isoformat()
    for symbol in registered_symbols(context.instance, context.resources.settings):
        yield dg.RunRequest(run_key=f"{tick} {symbol}", partition_key=symbol)


#: Origin of finished minutes by the live session's feed. A replay has no new minutes.
_ORIGINS = {FeedKind.EXCHANGE: "exchange", FeedKind.EXTERNAL: "ticks"}


@dg.schedule(
    job_name=UPDATE_JOB,
    cron_schedule="20 */6 * * *",  # an exchange may reach back no further than twelve hours
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Store the finished minutes that are missing, from the exchange or from other producers' ticks, and "
    "rebuild what depends on them, for each symbol: 00:20, 06:20, 12:20, 18:20 UTC. Skipped with the replay feed.",
)
def backfill(
    context: dg.ScheduleEvaluationContext, settings: SettingsResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request runs of many symbols each, unless prices are replayed."""
    feed = settings.values.feed
    if feed not in _ORIGINS:
        yield dg.SkipReason(f"the feed is {feed}: there are no new minutes")
        return
    symbols = registered_symbols(context.instance, settings)
    yield from update_requests(symbols, _ORIGINS[feed], context.scheduled_execution_time.isoformat())


@dg.schedule(
    job=jobs.backfill_markets,
    cron_schedule="50 0 * * *",  # before retention and the backup; the exchange's weekly maintenance is at 08:00 UTC
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Fetch results, fee terms and candles of closed markets, for each symbol. Skipped without a source of "
    "markets.",
)
def daily_market_backfill(
    context: dg.ScheduleEvaluationContext, settings: SettingsResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request one run per symbol, where a source of markets is configured."""
    if settings.values.markets.source is MarketSource.NONE:
        yield dg.SkipReason("no source of markets: markets.source is none")
        return
    yield from _request_each_symbol(context)


def _request_desk(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request one run, where the paper desk is enabled."""
    if context.resources.settings.values.desk_is_enabled:
        yield dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())
    else:
        yield dg.SkipReason("the paper desk is off: desk.enabled is false, or no source of markets is configured")


ALL = [
    backfill,
    daily_market_backfill,
    _schedule(
        "hourly_desk_report",
        "5 * * * *",  # markets are settled within minutes of the hour
        jobs.report_desk,
        "Report the paper desk's account, check its book and its positions. Skipped while the desk is off.",
        execution_fn=_request_desk,
        required_resource_keys={"settings"},
    ),
    _schedule(
        "nightly_desk_replay",
        "35 0 * * *",
        jobs.replay_desk,
        "Replay the paper desk's journal of the last day. Skipped while the desk is off.",
        execution_fn=_request_desk,
        required_resource_keys={"settings"},
    ),
    _schedule(
        "weekly_calibration",
        "0 4 * * 0",
        jobs.calibrate,
        "Score every model on data that it had not seen, for each symbol.",
        execution_fn=_request_each_symbol,
        required_resource_keys={"settings"},
    ),
    _schedule(
        "weekly_edge",
        "30 4 * * 0",
        jobs.score_edge,
        "Score the model against the quotes of settled markets, and decide about the pool, for each symbol.",
        execution_fn=_request_each_symbol,
        required_resource_keys={"settings"},
    ),
    _schedule(
        "weekly_desk_backtest",
        "45 4 * * 0",
        jobs.backtest_desk,
        "Run the paper desk on the newest recorded quotes of settled markets, for each symbol.",
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
