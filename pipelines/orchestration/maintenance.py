"""Maintenance that produces no data, as op jobs: partitions, retention, vacuum, log rotation.

Each op executes the plan of its job and reports the counts as metadata of its output.
"""

import dagster as dg

from pipelines.maintenance import log_rotation as log_rotation_job
from pipelines.maintenance import retention as retention_job
from pipelines.maintenance import vacuum as vacuum_job
from pipelines.resources import DatabaseResource, SettingsResource, markdown_table, planning_time
from pipelines.storage.live.day_partitions import create_day_partitions, upcoming_days
from pipelines.storage.postgres.connection import Role


class VacuumConfig(dg.Config):
    """Which tables to vacuum, and whether to rebuild bloated indexes."""

    urgent_only: bool = False
    reindex: bool = False


def _left(steps: tuple[str, ...]) -> dg.MarkdownMetadataValue:
    return markdown_table(("why",), [(why,) for why in steps])


#: A reader of the whole table, such as pg_dump, makes the creation give up after a second.
RETRY = dg.RetryPolicy(max_retries=5, delay=30, jitter=dg.Jitter.PLUS_MINUS)


@dg.op(pool="day_partitions", retry_policy=RETRY)
def create_partitions(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Create the partitions of today and the next seven days for ticks, answers and quotes of markets."""
    days = upcoming_days(planning_time(context.run))
    with database.database.connect("partitions", Role.PIPELINE, autocommit=True) as connection:
        names = create_day_partitions(connection, days)
    context.add_output_metadata({"partitions": len(names), "newest": max(names)})


@dg.op(pool="retention")
def prune(context: dg.OpExecutionContext, settings: SettingsResource, database: DatabaseResource) -> None:
    """Delete old snapshots, ticks, answers, archived quotes and markets, generations, audits and Dagster's history."""
    report = retention_job.run(
        settings.values, database.database, planning_time(context.run), context.log.info, context.run.run_id
    )
    metadata = {
        "rows": sum(report.rows.values()),
        "removed": markdown_table(("table", "rows"), [(name, rows) for name, rows in report.rows.items() if rows]),
        "archived": markdown_table(("file", "rows"), [(one.file, one.rows) for one in report.archived]),
        "plan": markdown_table(("action", "target", "why"), report.plan.lines()),
        "left_for_the_next_run": _left(report.skipped),
    }
    context.add_output_metadata(metadata)


@dg.op(name="vacuum", pool="vacuum")
def vacuum_tables(
    context: dg.OpExecutionContext, config: VacuumConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    """Remove dead rows, update statistics, freeze old transaction ids where the plan finds the need."""
    report = vacuum_job.run(
        settings.values,
        database.database,
        planning_time(context.run),
        context.log.info,
        context.run.run_id,
        urgent_only=config.urgent_only,
        reindex=config.reindex,
    )
    header = ("table", "why", "dead rows before", "after", "bytes before", "after")
    rows = [
        (one.name, one.reason, one.dead_rows_before, one.dead_rows_after, one.bytes_before, one.bytes_after)
        for one in report.changes
    ]
    metadata = {
        "tables": len(rows),
        "dead_rows_removed": sum(max(0, one.dead_rows_before - one.dead_rows_after) for one in report.changes),
        "bytes_freed": sum(one.bytes_before - one.bytes_after for one in report.changes),
        "changes": markdown_table(header, rows),
        "autovacuum_settings_applied": report.settings_applied,
        "left_for_the_next_run": _left(report.skipped),
        "held_back_by": markdown_table(("transaction",), [(one,) for one in report.held_back_by]),
    }
    context.add_output_metadata(metadata)


@dg.op(pool="logs")
def rotate_log_files(context: dg.OpExecutionContext, settings: SettingsResource, database: DatabaseResource) -> None:
    """Rotate, compress and delete the logs of all processes and of the embedded server; no line is lost."""
    report = log_rotation_job.run(
        settings.values, database.database, planning_time(context.run), context.log.info, context.run.run_id
    )
    families = sorted({*report.before, *report.after})
    sizes = [(name, report.before.get(name, 0), report.after.get(name, 0)) for name in families]
    metadata = {
        "bytes_before": sum(report.before.values()),
        "bytes_after": sum(report.after.values()),
        "sizes": markdown_table(("log", "bytes before", "after"), sizes),
        "plan": markdown_table(("action", "file", "why"), report.plan.lines()),
    }
    context.add_output_metadata(metadata)


def _job(name: str, op: dg.OpDefinition, description: str) -> dg.JobDefinition:
    return dg.GraphDefinition(name=name, node_defs=[op]).to_job(description=description)


make_partitions = _job("make_partitions", create_partitions, "Create the day partitions of the next seven days.")
retention = _job("retention", prune, "Delete what the retention policies no longer keep, in small steps.")
vacuum_database = _job("vacuum_database", vacuum_tables, "Vacuum the tables that need it, the most urgent first.")
rotate_logs = _job("rotate_logs", rotate_log_files, "Rotate, compress and delete logs.")
