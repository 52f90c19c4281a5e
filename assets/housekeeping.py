"""What keeps the database small and quick: days made beforehand, old rows removed, tables vacuumed."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import dagster as dg

from assets.describe import OWNERS
from pipelines.domain.monitoring.alerts import FRESH_FOR
from pipelines.maintenance import archive as archive_job
from pipelines.maintenance import log_rotation as logs_job
from pipelines.maintenance import retention as retention_job
from pipelines.maintenance import vacuum as vacuum_job
from pipelines.resources import Strikecast
from pipelines.storage.live.ticks import create_day_partitions, upcoming_days
from pipelines.storage.postgres.connection import Role

GROUP = "ops"
SCHEDULED_TIME = "dagster/scheduled_execution_time"


def fresh(asset: str) -> dg.FreshnessPolicy:
    """Stale when its job is late."""
    return dg.FreshnessPolicy.time_window(fail_window=FRESH_FOR[asset])


def planning_time(context: dg.AssetExecutionContext) -> datetime:
    """What a plan takes for now, aware UTC: the time of the schedule that asked for it, which is never to come."""
    now = datetime.now(UTC)
    scheduled = context.run.tags.get(SCHEDULED_TIME)
    return now if scheduled is None else min(now, datetime.fromisoformat(scheduled).astimezone(UTC))


def table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> dg.MarkdownMetadataValue:
    """A table of metadata, or that there is nothing."""
    lines = [" | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) for row in rows]
    if not lines:
        return dg.MetadataValue.md("nothing")
    return dg.MetadataValue.md("\n".join([" | ".join(header), "|".join("---" for _ in header), *lines]))


def row_table(rows: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Rows by table."""
    return table(("table", "rows"), [(name, count) for name, count in rows.items() if count])


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    pool="day_partitions",
    freshness_policy=fresh("day_partitions"),
)
def day_partitions(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """The partitions of today and the next seven days, of ticks and answers: made before anybody writes into them."""
    with strikecast.database().connect("partitions", Role.PIPELINE, autocommit=True) as connection:
        names = create_day_partitions(connection, upcoming_days(planning_time(context)))
    return dg.MaterializeResult(metadata={"partitions": len(names), "newest": max(names)})


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    pool="retention",
    freshness_policy=fresh("retention"),
)
def retention(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """What is old is removed: snapshots per session, days of ticks and answers, generations, Dagster's own history."""
    report = retention_job.run(
        strikecast.settings(), strikecast.database(), planning_time(context), context.log.info, context.run.run_id
    )
    return dg.MaterializeResult(
        metadata={
            "rows": sum(report.rows.values()),
            "removed": row_table(report.rows),
            "plan": table(("what", "which", "why"), report.plan.lines()),
            "left_for_the_next_run": table(("why",), [(why,) for why in report.left]),
        }
    )


class VacuumConfig(dg.Config):
    """Which tables, and whether indexes too."""

    urgent_only: bool = False
    reindex: bool = False


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    pool="vacuum",
    freshness_policy=fresh("vacuum"),
)
def vacuum(context: dg.AssetExecutionContext, config: VacuumConfig, strikecast: Strikecast) -> dg.MaterializeResult:
    """Dead rows are cleared away, statistics renewed, old transaction numbers frozen, where the plan finds need."""
    report = vacuum_job.run(
        strikecast.settings(),
        strikecast.database(),
        planning_time(context),
        context.log.info,
        context.run.run_id,
        urgent_only=config.urgent_only,
        reindex=config.reindex,
    )
    changes = report.changes
    return dg.MaterializeResult(
        metadata={
            "tables": len(changes),
            "dead_rows_removed": sum(max(0, one.dead_rows_before - one.dead_rows_after) for one in changes),
            "bytes_freed": sum(one.bytes_before - one.bytes_after for one in changes),
            "changes": table(
                ("table", "why", "dead rows before", "after", "bytes before", "after"),
                [
                    (one.name, one.why, one.dead_rows_before, one.dead_rows_after, one.bytes_before, one.bytes_after)
                    for one in changes
                ],
            ),
            "autovacuum_settings_applied": report.settings_applied,
            "left_for_the_next_run": table(("why",), [(why,) for why in report.left]),
            "held_back_by": table(("who",), [(who,) for who in report.held_back_by]),
        }
    )


@dg.asset_check(
    asset=vacuum,
    description="Every table has the autovacuum settings that `ops.autovacuum_setting` declares for it.",
)
def autovacuum_as_declared(strikecast: Strikecast) -> dg.AssetCheckResult:
    """Tables that drifted; the next vacuum gives them theirs again."""
    drifted = vacuum_job.drift(strikecast.database())
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "drifted": table(
                ("table", "has", "declared"),
                [(one.table_name, ", ".join(one.options), ", ".join(one.declared)) for one in drifted],
            )
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    code_version="1",
    pool="archive",
    deps=["price_history"],
    freshness_policy=fresh("price_archive"),
)
def price_archive(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """Months of bars that are old enough, as Parquet files: read back, compared, and only then gone from the table."""
    settings = strikecast.settings()
    report = archive_job.run(
        settings, strikecast.database(), planning_time(context), context.log.info, context.run.run_id
    )
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(settings.archive_dir)),
            "months": len(report.months),
            "bars": sum(one.rows for one in report.months),
            "files": table(
                ("symbol", "month", "bars", "bytes", "SHA-256"),
                [(one.symbol, f"{one.month:%Y-%m}", one.rows, one.bytes, one.sha256) for one in report.months],
            ),
            "waiting": table(("why",), [(why,) for why in report.plan.kept]),
        }
    )


@dg.asset(
    group_name=GROUP, owners=OWNERS, kinds={"file"}, code_version="1", pool="logs", freshness_policy=fresh("log_files")
)
def log_files(context: dg.AssetExecutionContext, strikecast: Strikecast) -> dg.MaterializeResult:
    """Logs of all processes and of the embedded server: rotated, compressed once nobody writes to them, kept a month.

    Renamed, never cut: no line is lost.
    """
    report = logs_job.run(
        strikecast.settings(), strikecast.database(), planning_time(context), context.log.info, context.run.run_id
    )
    families = sorted({*report.before, *report.after})
    sizes = [(name, report.before.get(name, 0), report.after.get(name, 0)) for name in families]
    return dg.MaterializeResult(
        metadata={
            "bytes_before": sum(report.before.values()),
            "bytes_after": sum(report.after.values()),
            "sizes": table(("log", "bytes before", "after"), sizes),
            "plan": table(("what", "which", "why"), report.plan.lines()),
        }
    )
