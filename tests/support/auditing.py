"""An audit with something of everything, for what shows audits."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.domain.monitoring.audit.findings import Finding, missed_targets
from pipelines.domain.monitoring.audit.history import Reading
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Statistic, Unit, one, percentiles
from pipelines.domain.monitoring.audit.report import Audit, Kind
from pipelines.domain.monitoring.audit.targets import Area, Severity, judge
from pipelines.monitoring.audit.run import advice, targets

AT = datetime(2026, 3, 4, 3, 40, 0, 123456, tzinfo=UTC)
MEBIBYTE = 2.0**20


def dashboard() -> dict[str, Any]:
    """The dashboard for Grafana."""
    path = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def metrics_of(target: dict[str, Any]) -> set[str]:
    """Names of metrics that a panel's target asks for."""
    return set(re.findall(r"strikecast_\w+", target["expr"]))


def figures() -> tuple[Figure, ...]:
    """Something of every section."""
    return (
        *percentiles(
            "query",
            Unit.MILLISECONDS,
            [0.4, 0.5, 0.9],
            "Index Scan on lookup_1_pkey",
            query="lookup_rows",
            symbol="BTC",
        ),
        *percentiles("operation", Unit.MILLISECONDS, [1.0, 30.0], operation="single_insert"),
        *(
            one("live_latency", Unit.MILLISECONDS, value, stage=stage, percentile=percentile)
            for stage in ("write", "total")
            for percentile, value in (("p50", 2.0), ("p95", 5.0), ("p99", 9.5), ("max", 20.0))
        ),
        one("live_cycles", Unit.COUNT, 7_200),
        one("live_cycles_late", Unit.COUNT, 1),
        one("live_longest_gap", Unit.SECONDS, 1.25),
        one("session_availability", Unit.PERCENT, 99.95),
        one("process_cpu", Unit.PERCENT_OF_A_CORE, 1.5, "normal", process="live session"),
        one("process_uss", Unit.BYTES, 130 * MEBIBYTE, process="live session"),
        one("process_rss", Unit.BYTES, 180 * MEBIBYTE, process="live session"),
        one("all_processes_uss", Unit.BYTES, 700 * MEBIBYTE),
        one("host_load", Unit.PER_CORE, 0.4, minutes="15"),
        *percentiles("disk_sync", Unit.MILLISECONDS, [0.3, 0.5], of="home"),
        *(
            one("table_size", Unit.BYTES, size, table="analytics.lookup", part=part)
            for part, size in (("rows", 9e7), ("toast", 8_192.0), ("indexes", 2e6))
        ),
        one("table_rows", Unit.COUNT, 90_868, table="analytics.lookup"),
        one("table_growth", Unit.BYTES_PER_DAY, -1e5, table="analytics.lookup"),
        one("statement_share", Unit.PERCENT, 61.0, statement="SELECT * FROM x | y"),
        one("statement_mean", Unit.MILLISECONDS, 0.2, statement="SELECT * FROM x | y"),
        one("build_seconds", Unit.SECONDS, 14.0, symbol="BTC", model="momentum"),
        Figure("lookup_difference", Unit.POINTS, Statistic.LARGEST, (0.004, 0.01), {"symbol": "BTC"}),
        one("table_dead_rows", Unit.COUNT, 12, table="analytics.lookup"),
        one("host_disk", Unit.BYTES, 7e10, of="home", state="free"),
        one("file_size", Unit.BYTES, 7_700, symbol="BTC"),
        one("file_age", Unit.SECONDS, 0.4, symbol="ETH"),
        one("database_size", Unit.BYTES, 1.5e9),
        one("without_backup", Unit.SECONDS, 2_400.0),
    )


def audit() -> Audit:
    """A stored audit with a missed target, a finding and a gap."""
    found = figures()
    judgements = judge(targets(), found)
    made = Finding(
        "dead rows x",
        Severity.P2,
        Area.DATABASE,
        "<x> is full of dead rows",
        "50,000 dead rows & more",
        "autovacuum has not come to it",
        "vacuum it",
        command='strikecast psql -c "SELECT 1"',
    )
    return Audit(
        Kind.FULL,
        AT,
        AT + timedelta(seconds=14.5),
        "0.1.0",
        "180000",
        {"cores": 2},
        2.25,
        found,
        (Gap("replication lag", "nobody follows this server"),),
        judgements,
        (made, *missed_targets(judgements, advice(), found)),
        17,
    )


def value_of(found: Audit, key: str) -> float:
    """A figure's value."""
    [figure] = [one for one in found.figures if one.key == key]
    return figure.value


def history() -> dict[str, list[Reading]]:
    """Two audits before."""
    return {
        figure.key: [Reading(AT - timedelta(days=days), figure.value * (1 + days / 10)) for days in (2, 1)]
        for figure in figures()
    }
