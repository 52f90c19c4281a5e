"""Audit of the system, each hour and at night."""

from collections.abc import Iterator

import dagster as dg

from pipelines.domain.monitoring.audit.document import audit_document
from pipelines.domain.monitoring.audit.measurements import formatted
from pipelines.domain.monitoring.audit.report import Kind
from pipelines.domain.monitoring.audit.targets import Judgement, Severity, State
from pipelines.errors import DatabaseError
from pipelines.monitoring.audit.declarations import targets
from pipelines.monitoring.audit.render import markdown
from pipelines.monitoring.audit.reports import report_paths
from pipelines.monitoring.audit.run import run
from pipelines.resources import DatabaseResource, SettingsResource

#: A missed target of these severities fails its check; others warn.
FAILING = {Severity.P0, Severity.P1}


class AuditConfig(dg.Config):
    """Quick or full."""

    full: bool = False


@dg.asset(
    kinds={"postgres", "html"},
    code_version="1",
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
    result = run(settings.values, database.database, kind, context.log.info, context.run.run_id)
    if result.audit_id is None:
        raise DatabaseError("the audit could not be stored: see the log of this run; its page has been written")
    yield dg.MaterializeResult(
        metadata={
            "grade": result.scorecard.grade,
            **({} if result.scorecard.points is None else {"points": round(result.scorecard.points, 1)}),
            "page": dg.MetadataValue.path(str(report_paths(settings.values).page)),
            "report": dg.MetadataValue.md(markdown(audit_document(result))),
            "findings": len(result.findings),
            "measurements": len(result.measurements),
            "not_measured": len(result.gaps),
            "cpu_seconds": round(result.cpu_seconds, 2),
            "audit": result.audit_id,
        }
    )
    yield from (_check(judgement) for judgement in result.judgements)


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
