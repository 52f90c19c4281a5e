"""A live session as metadata for the Dagster UI."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import orjson

from pipelines.atomic_files import atomic_write
from pipelines.live.session import SessionReport

PLOT_TIMEOUT_SECONDS = 20


def session_metadata(report: SessionReport, reports_dir: Path) -> Mapping[str, Any]:
    """Counts, latencies by stage as a table, and the path of their chart."""
    metrics = report.metrics
    latencies = metrics.latencies_ms()
    rows = [
        f"| {stage} | {values['p50']:.2f} | {values['p95']:.2f} | {values['p99']:.2f} | {values['max']:.2f} |"
        for stage, values in latencies.items()
    ]
    table = "\n".join(["| stage, ms | p50 | p95 | p99 | max |", "|---|---:|---:|---:|---:|", *rows])
    counts = metrics.counters()
    return {
        "session": report.session,
        "feed": report.feed,
        "started": dg.MetadataValue.timestamp(report.started_at),
        **{name: counts[name] for name in ("ticks", "cycles", "overruns", "seconds_stale")},
        "longest_gap_seconds": round(metrics.longest_gap_seconds, 3),
        **({} if metrics.hit_rate is None else {"cache_hit_rate_pct": round(100 * metrics.hit_rate, 2)}),
        "refused_quotes": counts["refused_quotes"],
        "source_failures": counts["source_failures"],
        "latency": dg.MetadataValue.md(table),
        "with_sessions_before": dg.MetadataValue.json(dict(report.totals)),
        **({"latency_chart": _chart_metadata(report, reports_dir)} if latencies else {}),
    }


def _chart_metadata(report: SessionReport, reports_dir: Path) -> dg.PathMetadataValue:
    return dg.MetadataValue.path(str(save_latency_chart(report, reports_dir)))


def save_latency_chart(report: SessionReport, reports_dir: Path) -> Path:
    """Write latency by percentile for each stage, and over the session's minutes, as a PNG file.

    Drawn by another process: the session's own would keep the 30 MB that matplotlib takes.
    """
    metrics = report.metrics
    data = {
        "curves": {stage: metrics.curve_ms(stage) for stage in metrics.latencies_ms()},
        "minutes": [
            (minute.minute.timestamp(), minute.p50_ms, minute.p99_ms, minute.max_ms) for minute in metrics.minutes
        ],
    }
    drawn = subprocess.run(
        [sys.executable, "-m", "pipelines.live.latency_chart"],
        input=orjson.dumps(data),
        capture_output=True,
        check=True,
        timeout=PLOT_TIMEOUT_SECONDS,
    )
    path = reports_dir / "charts" / "live_latency.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(drawn.stdout)
    return path
