"""Schedules, all in UTC, all on by default."""

from collections.abc import Iterator

import dagster as dg

from assets.partitions import SYMBOLS
from pipelines.jobs import calibrate, score_live_answers


def _each_symbol(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    assert SYMBOLS.name is not None
    when = context.scheduled_execution_time.date().isoformat()
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
