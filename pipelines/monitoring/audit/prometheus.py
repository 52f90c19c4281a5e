"""An audit in Prometheus' text format: each figure in base units, what became of each target, the grade."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipelines.domain.monitoring.audit.measurements import Figure, Statistic, Unit
from pipelines.domain.monitoring.audit.report import Audit
from pipelines.domain.monitoring.audit.targets import Severity, State

PREFIX = "strikecast_"
#: What a unit is called at the end of a name, and what one of it is in Prometheus' base unit.
BASE_UNITS = {
    Unit.SECONDS: ("_seconds", 1.0),
    Unit.MILLISECONDS: ("_seconds", 1e-3),
    Unit.BYTES: ("_bytes", 1.0),
    Unit.BYTES_PER_SECOND: ("_bytes_per_second", 1.0),
    Unit.BYTES_PER_DAY: ("_bytes_per_day", 1.0),
    Unit.PER_SECOND: ("_per_second", 1.0),
    Unit.PERCENT: ("_ratio", 1e-2),
    Unit.PERCENT_OF_A_CORE: ("_cores", 1e-2),
    Unit.POINTS: ("_ratio", 1e-2),
    Unit.PER_CORE: ("_per_core", 1.0),
    Unit.COUNT: ("", 1.0),
}


def metric_name(name: str, unit: Unit) -> str:
    """A figure's name there: `strikecast_query_seconds`."""
    ending = BASE_UNITS[unit][0]
    return PREFIX + name.removesuffix(ending) + ending


def text(audit: Audit) -> bytes:
    """The whole page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Audited(audit))
    return generate_latest(registry)


class _Audited(Collector):
    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every family of metrics, by name."""
        by_name: dict[str, list[Figure]] = defaultdict(list)
        for figure in self._audit.figures:
            by_name[metric_name(figure.name, figure.unit)].append(figure)
        for name, figures in sorted(by_name.items()):
            yield _family(name, figures)
        audit = self._audit
        yield _gauge(
            "audit_timestamp_seconds", "when the audit ended", {"kind": audit.kind}, audit.finished_at.timestamp()
        )
        if audit.scorecard.points is not None:
            yield _gauge("audit_points", "of a hundred", {"grade": audit.scorecard.grade}, audit.scorecard.points)
        yield _gauge("audit_gaps", "what could not be measured", {}, len(audit.gaps))
        findings = GaugeMetricFamily(f"{PREFIX}audit_findings", "what to look at", labels=["severity"])
        for severity in Severity:
            findings.add_metric([severity], sum(one.severity is severity for one in audit.findings))
        yield findings
        met = GaugeMetricFamily(f"{PREFIX}target_met", "1 met, 0 missed", labels=["target", "severity", "area"])
        for one in audit.judgements:
            if one.state is not State.NOT_MEASURED:
                labels = [one.target.check, one.target.severity, one.target.area]
                met.add_metric(labels, float(one.state is State.MET))
        yield met


def _gauge(name: str, documentation: str, labels: dict[str, str], value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, documentation, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _family(name: str, figures: list[Figure]) -> GaugeMetricFamily:
    """Figures of one name and unit; a label that only some have is empty with the others."""
    labels = sorted({label for figure in figures for label in figure.labels})
    several = any(figure.statistic is not Statistic.LAST for figure in figures)
    what = figures[0].name.replace("_", " ")
    family = GaugeMetricFamily(
        name, f"{what}, by the newest audit", labels=[*labels, *(["statistic"] if several else [])]
    )
    for figure in figures:
        values = [figure.labels.get(label, "") for label in labels]
        family.add_metric(
            [*values, *([figure.statistic] if several else [])], figure.value * BASE_UNITS[figure.unit][1]
        )
    return family
