"""The system's audit of itself, each hour and at night."""

from collections.abc import Iterator

import dagster as dg

from pipelines.domain.monitoring.audit.document import summary
from pipelines.domain.monitoring.audit.measurements import told
from pipelines.domain.monitoring.audit.report import Kind
from pipelines.domain.monitoring.audit.targets import Judgement, Severity, State
from pipelines.errors import DatabaseError
from pipelines.monitoring.audit.render import markdown
from pipelines.monitoring.audit.report_files import paths
from pipelines.monitoring.audit.run import run, targets
from pipelines.resources import DatabaseResource, SettingsResource

#: A target that should be looked at today fails its check; one that can wait warns.
FAILS = {Severity.P0, Severity.P1}


class AuditConfig(dg.Config):
    """How much is measured."""

    full: bool = False


@dg.asset(
    kinds={"postgres", "html"},
    code_version="1",
    pool="audit",
    check_specs=[
        dg.AssetCheckSpec(target.check, asset="audit", description=f"{target.told} ({target.severity} if missed).")
        for target in targets()
    ],
)
def audit(
    context: dg.AssetExecutionContext, config: AuditConfig, settings: SettingsResource, database: DatabaseResource
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """What the system measured of itself: processes, machine, database, answers; targets met or missed, and findings.

    Each figure is stored with its samples in `ops.audit_figure`; the newest audit's page, JSON and metrics are files.
    """
    kind = Kind.FULL if config.full else Kind.QUICK
    made = run(settings.values, database.database, kind, context.log.info, context.run.run_id)
    done, read = made.audit, made.document
    if done.audit_id is None:
        raise DatabaseError("the audit could not be stored: see the log of this run; its page has been written")
    yield dg.MaterializeResult(
        metadata={
            "grade": done.scorecard.grade,
            **({} if done.scorecard.points is None else {"points": round(done.scorecard.points, 1)}),
            "page": dg.MetadataValue.path(str(paths(settings.values).page)),
            "report": dg.MetadataValue.md(markdown(summary(read))),
            "everything": dg.MetadataValue.md(markdown(read)),
            "findings": len(done.findings),
            "figures": len(done.figures),
            "not_measured": len(done.gaps),
            "cpu_seconds": round(done.cpu_seconds, 2),
            "audit": done.audit_id,
        }
    )
    yield from (_check(judgement) for judgement in done.judgements)


def _check(judgement: Judgement) -> dg.AssetCheckResult:
    """What was not measured is not met: it warns, whatever its severity."""
    target, value = judgement.target, judgement.value
    fails = target.severity in FAILS and judgement.state is State.MISSED
    return dg.AssetCheckResult(
        check_name=target.check,
        passed=judgement.state is State.MET,
        severity=dg.AssetCheckSeverity.ERROR if fails else dg.AssetCheckSeverity.WARN,
        description=f"{judgement.state}: {'-' if value is None else told(value, target.unit)}",
        metadata={
            "target": target.told,
            "severity": str(target.severity),
            "figure": judgement.key or "none",
            **({} if value is None else {"value": value}),
        },
    )
