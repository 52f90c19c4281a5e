"""Results of operations: backups, the price archive, audits. Jobs without data are in `orchestration`."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from pipelines.domain.monitoring.audit.document import audit_document
from pipelines.domain.monitoring.audit.findings import Kind
from pipelines.domain.monitoring.audit.measurements import formatted
from pipelines.domain.monitoring.audit.targets import Judgement, Severity, State
from pipelines.errors import BackupError, DatabaseError, StrikecastError
from pipelines.maintenance import archive
from pipelines.maintenance.backup import create_backup, find_backup, list_backups, rotate_backups, rotate_copies
from pipelines.maintenance.restore import run_drill
from pipelines.maintenance.vacuum import autovacuum_drift
from pipelines.monitoring.audit.declarations import targets
from pipelines.monitoring.audit.reports import markdown, report_paths
from pipelines.monitoring.audit.run import run as run_audit
from pipelines.protection.redaction import redact
from pipelines.resources import DatabaseResource, SettingsResource, markdown_table, planning_time

SHOWN_TABLES = 10


@dg.asset(kinds={"postgres", "shell"}, code_version="1", pool="backup")
def backup(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> Iterator[dg.MaterializeResult]:
    """Dumps of the database and of Dagster's with a manifest, verified by reading them back; older ones are rotated.

    Fails, after the backup is recorded, when the copy in the second place could not be made.
    """
    folder, policy, now = settings.values.backups_dir, settings.values.backup, datetime.now(UTC)
    made = create_backup(
        database.database,
        folder,
        policy,
        context.log.info,
        settings.values.dagster_database,
        settings.values.signing_key,
    )
    plan = rotate_backups(folder, policy, now, context.log.info)
    manifest = made.manifest
    largest = sorted(manifest.tables, key=lambda one: one.rows, reverse=True)[:SHOWN_TABLES]
    rotation = [(name, "kept", why) for name, why in plan.keep]
    rotation += [(name, "deleted", why) for name, why in plan.delete]
    yield dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(made.folder)),
            "snapshot_at": dg.MetadataValue.timestamp(manifest.snapshot_at),
            "bytes": manifest.bytes,
            "database_bytes": manifest.server_size_bytes,
            "rows": manifest.rows,
            "dagster_tables": len(manifest.dagster_tables or ()),
            "seconds": manifest.seconds,
            "compression": manifest.compression,
            "encryption": manifest.encryption or "none",
            "copied_to": redact(policy.copy_to or "") or "no second place is configured",
            "tables": len(manifest.tables),
            "largest_tables": markdown_table(("table", "rows"), [(one.table, one.rows) for one in largest]),
            "rotation": markdown_table(("backup", "action", "why"), rotation),
            "backups": len(plan.keep),
        }
    )
    if made.copy_problem is not None:
        raise BackupError(made.copy_problem)
    if policy.copy_to is not None:
        rotate_copies(policy.copy_to, policy, now, context.log.info)


@dg.asset_check(
    asset=backup,
    description="The newest backup restores into a scratch database, where every table has the rows and the content "
    "that it had when the backup was made, and each published symbol answers a ladder.",
    pool="backup",
)
def restores(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.AssetCheckResult:
    """The restore drill."""
    folder, now = settings.values.backups_dir, datetime.now(UTC)
    try:
        report = run_drill(settings.values, database.database, find_backup(folder, None), now, context.log.info)
    except StrikecastError as error:
        return dg.AssetCheckResult(passed=False, metadata={"problem": str(error)})
    differences = "\n".join(f"- {one}" for one in report.differences)
    return dg.AssetCheckResult(
        passed=not report.differences,
        metadata={
            "backup": report.backup,
            "tables": report.tables,
            "rows": report.rows,
            "ladders_read": report.ladders,
            "missing": "; ".join(report.missing) or "nothing",
            "seconds": round(report.seconds, 1),
            "backups": len(list_backups(folder)),
            **({"differences": dg.MetadataValue.md(differences)} if differences else {}),
        },
    )


@dg.asset(kinds={"parquet"}, code_version="1", pool="archive", deps=["price_history"])
def price_archive(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """Months of bars that are old enough, as Parquet files: read back, compared, and only then deleted."""
    report = archive.run(
        settings.values, database.database, planning_time(context.run), context.log.info, context.run.run_id
    )
    files = [(one.symbol, f"{one.month:%Y-%m}", one.rows, one.bytes, one.sha256) for one in report.months]
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(settings.values.archive_dir)),
            "months": len(report.months),
            "bars": sum(one.rows for one in report.months),
            "files": markdown_table(("symbol", "month", "bars", "bytes", "SHA-256"), files),
            "waiting": markdown_table(("why",), [(why,) for why in report.plan.kept]),
        }
    )


#: A missed target of these severities fails its check; others warn.
FAILING = {Severity.P0, Severity.P1}


class AuditConfig(dg.Config):
    """Quick or full."""

    full: bool = False


@dg.multi_asset(
    name="audit",
    specs=[
        dg.AssetSpec(
            "audit",
            description="Measurements of processes, machine, database and answers; targets met or missed; findings; a "
            "grade. A check that is executed by itself makes a new audit, too.",
            kinds={"postgres", "html"},
            code_version="1",
            skippable=True,
        )
    ],
    can_subset=True,
    pool="audit",
    check_specs=[
        dg.AssetCheckSpec(target.check, asset="audit", description=f"{target.text} ({target.severity} if missed).")
        for target in targets()
    ],
)
def audit(
    context: dg.AssetExecutionContext, config: AuditConfig, settings: SettingsResource, database: DatabaseResource
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Measurements of processes, machine, database and answers; targets met or missed; findings; a grade.

    Measurements are stored with their samples in `ops.audit_figure`; page, JSON and metrics of the newest are files.
    """
    kind = Kind.FULL if config.full else Kind.QUICK
    result = run_audit(settings.values, database.database, kind, context.log.info, context.run.run_id)
    if result.audit_id is None:
        raise DatabaseError("the audit could not be stored: see the log of this run; its page has been written")
    page = report_paths(settings.values).page
    materialized: dg.MaterializeResult[None] = dg.MaterializeResult(
        metadata={
            "grade": result.scorecard.grade,
            **({} if result.scorecard.points is None else {"points": round(result.scorecard.points, 1)}),
            "page": dg.MetadataValue.path(str(page)),
            "report": dg.MetadataValue.md(markdown(audit_document(result))),
            "findings": len(result.findings),
            "measurements": len(result.measurements),
            "not_measured": len(result.gaps),
            "cpu_seconds": round(result.cpu_seconds, 2),
            "audit": result.audit_id,
        }
    )
    if context.selected_asset_keys:
        yield materialized
    selected = {key.name for key in context.selected_asset_check_keys}
    yield from (_check(one) for one in result.judgements if one.target.check in selected)


def _check(judgement: Judgement) -> dg.AssetCheckResult:
    """A target that was not measured warns, whatever its severity."""
    target, value = judgement.target, judgement.value
    fails = target.severity in FAILING and judgement.state is State.MISSED
    return dg.AssetCheckResult(
        check_name=target.check,
        passed=judgement.state is State.MET,
        severity=dg.AssetCheckSeverity.ERROR if fails else dg.AssetCheckSeverity.WARN,
        description=f"{judgement.state}: {'-' if value is None else formatted(value, target.unit)}",
        metadata={
            "target": target.text,
            "severity": str(target.severity),
            "measurement": judgement.key or "none",
            **({} if value is None else {"value": value}),
        },
    )


@dg.asset_check(
    asset=audit,
    description="Every table has the autovacuum settings that `ops.autovacuum_setting` declares for it.",
)
def autovacuum_as_declared(database: DatabaseResource) -> dg.AssetCheckResult:
    """Tables whose settings differ; the next vacuum job applies the declared ones."""
    drifted = autovacuum_drift(database.database)
    rows = [(one.table_name, ", ".join(one.options), ", ".join(one.declared)) for one in drifted]
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"drifted": markdown_table(("table", "has", "declared"), rows)},
    )
