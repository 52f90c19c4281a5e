"""An audit with measurements of every section, for tests of reports."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.domain.monitoring.audit.findings import Audit, Kind, explain, missed_targets
from pipelines.domain.monitoring.audit.measurements import (
    Detection,
    Gap,
    Measurement,
    Statistic,
    Unit,
    percentiles,
    single,
)
from pipelines.domain.monitoring.audit.targets import judge
from pipelines.monitoring.audit.declarations import explanations, targets
from pipelines.storage.monitoring.dagster_state import TickState

AT = datetime(2026, 3, 4, 3, 40, 0, 123456, tzinfo=UTC)
MEBIBYTE = 2.0**20


def dashboard() -> dict[str, Any]:
    """The Grafana dashboard."""
    path = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def tick_states(now: datetime) -> list[TickState]:
    """A sensor that ticks, one that is off and never ticked, a schedule that is overdue for an hour, and a daemon."""
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    due_at = now - hour
    cron, off = f"{due_at.minute} {due_at.hour} * * *", TickState("sensor", "off", False, *[None] * 6)
    return [
        TickState("sensor", "watchdog", True, now - minute, now - minute, "skipped", 30.0, None, None),
        off,
        TickState("schedule", "late", True, now - minute, now - 25 * hour, "success", None, [cron], now - 100 * hour),
        TickState("daemon", "SENSOR", True, now - minute, None, None, None, None, None),
    ]


def metrics_of(target: dict[str, Any]) -> set[str]:
    """Names of the metrics in a panel's query."""
    return set(re.findall(r"strikecast_\w+", target["expr"]))


def measurements() -> tuple[Measurement, ...]:
    """Measurements of every section."""
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
            single("live_latency", Unit.MILLISECONDS, value, stage=stage, percentile=percentile)
            for stage in ("write", "total")
            for percentile, value in (("p50", 2.0), ("p95", 5.0), ("p99", 9.5), ("max", 20.0))
        ),
        single("live_cycles", Unit.COUNT, 7_200),
        single("live_cycles_late", Unit.COUNT, 1),
        single("live_longest_gap", Unit.SECONDS, 1.25),
        single("session_availability", Unit.PERCENT, 99.95),
        single("process_cpu", Unit.PERCENT_OF_A_CORE, 1.5, "normal", process="live session"),
        single("process_uss", Unit.BYTES, 130 * MEBIBYTE, process="live session"),
        single("process_rss", Unit.BYTES, 180 * MEBIBYTE, process="live session"),
        single("all_processes_uss", Unit.BYTES, 700 * MEBIBYTE),
        single("host_load", Unit.PER_CORE, 0.4, minutes="15"),
        *percentiles("disk_sync", Unit.MILLISECONDS, [0.3, 0.5], of="home"),
        *(
            single("table_size", Unit.BYTES, size, table="analytics.lookup", part=part)
            for part, size in (("rows", 9e7), ("toast", 8_192.0), ("indexes", 2e6))
        ),
        single("table_rows", Unit.COUNT, 90_868, table="analytics.lookup"),
        single("table_growth", Unit.BYTES_PER_DAY, -1e5, table="analytics.lookup"),
        single("statement_share", Unit.PERCENT, 61.0, statement="SELECT * FROM x | y"),
        single("statement_mean", Unit.MILLISECONDS, 0.2, statement="SELECT * FROM x | y"),
        single("build_seconds", Unit.SECONDS, 14.0, symbol="BTC", model="momentum"),
        Measurement("lookup_difference", Unit.POINTS, Statistic.MAX, (0.004, 0.01), {"symbol": "BTC"}),
        single("table_dead_rows", Unit.COUNT, 12, table="analytics.lookup"),
        single("host_disk", Unit.BYTES, 7e10, of="home", state="free"),
        single("file_size", Unit.BYTES, 7_700, symbol="BTC"),
        single("answer_age", Unit.SECONDS, 0.4, symbol="ETH"),
        single("database_size", Unit.BYTES, 1.5e9),
        single("without_backup", Unit.SECONDS, 2_400.0),
    )


def audit() -> Audit:
    """A stored audit with a missed target, another finding and a gap."""
    measured = measurements()
    judgements = judge(targets(), measured)
    dead_rows = Detection("dead rows", "<x>", "50,000 dead rows & more")
    return Audit(
        Kind.FULL,
        AT,
        AT + timedelta(seconds=14.5),
        "0.1.0",
        "180000",
        {"cores": 2},
        2.25,
        measured,
        (Gap("replication lag", "the server has no standby"),),
        judgements,
        explain([dead_rows, *missed_targets(judgements, measured)], explanations()),
        17,
    )


def value_of(found: Audit, key: str) -> float:
    """Value of a measurement."""
    [measurement] = [one for one in found.measurements if one.key == key]
    return measurement.value
