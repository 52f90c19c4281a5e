"""An audit in Prometheus' text format: measurements in base units, states of targets, the grade."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from pipelines.domain.monitoring.audit.measurements import Measurement, Statistic, Unit
from pipelines.domain.monitoring.audit.report import Audit
from pipelines.domain.monitoring.audit.targets import Severity, State

PREFIX = "strikecast_"
#: Suffix of a metric's name, and the factor to its base unit.
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


def metrics(audit: Audit) -> bytes:
    """Measurements by name, then findings, targets and grade."""
    registry = CollectorRegistry(auto_describe=False)

    def gauge(name: str, documentation: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """A label that only some of the samples have is empty for the others."""
        names = sorted({label for labels, _ in samples for label in labels})
        metric = Gauge(PREFIX + name, documentation, names, registry=registry)
        for labels, value in samples:
            (metric.labels(*(labels.get(label, "") for label in names)) if names else metric).set(value)

    by_name: dict[str, list[Measurement]] = defaultdict(list)
    for one in audit.measurements:
        suffix = BASE_UNITS[one.unit][0]
        by_name[one.name.removesuffix(suffix) + suffix].append(one)
    for name, measurements in sorted(by_name.items()):
        several = any(one.statistic is not Statistic.LAST for one in measurements)
        samples = [
            ({**one.labels, **({"statistic": one.statistic} if several else {})}, one.value * BASE_UNITS[one.unit][1])
            for one in measurements
        ]
        gauge(name, f"{measurements[0].name.replace('_', ' ')}, by the newest audit", samples)
    gauge("audit_timestamp_seconds", "time the audit ended", [({"kind": audit.kind}, audit.finished_at.timestamp())])
    if audit.scorecard.points is not None:
        gauge("audit_points", "points of 100", [({"grade": audit.scorecard.grade}, audit.scorecard.points)])
    gauge("audit_gaps", "number of things not measured", [({}, len(audit.gaps))])
    counts = Counter(one.severity for one in audit.findings)
    gauge("audit_findings", "number of findings", [({"severity": one}, counts[one]) for one in Severity])
    judged = [(one.target, one.state) for one in audit.judgements if one.state is not State.NOT_MEASURED]
    labels = [{"target": target.check, "severity": target.severity, "area": target.area} for target, _ in judged]
    states = [float(state is State.MET) for _, state in judged]
    gauge("target_met", "1 met, 0 missed", list(zip(labels, states, strict=True)))
    return generate_latest(registry)
