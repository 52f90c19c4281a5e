"""Metadata of a live session for the Dagster UI."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipelines.live.session_recorder import SessionReport


def session_metadata(report: SessionReport) -> Mapping[str, Any]:
    """Counters and latencies of a session. Dagster plots the numbers over a symbol's observations."""
    metrics = report.metrics
    counters, latencies = metrics.counters(), metrics.latencies_ms()
    rows = [
        f"| {stage} | {values['p50']:.2f} | {values['p95']:.2f} | {values['p99']:.2f} | {values['max']:.2f} |"
        for stage, values in latencies.items()
    ]
    table = "\n".join(["| stage, ms | p50 | p95 | p99 | max |", "|---|---:|---:|---:|---:|", *rows])
    return {
        "session": report.session,
        "feed": report.feed,
        "started": dg.MetadataValue.timestamp(report.started_at),
        **{name: counters[name] for name in ("ticks", "cycles", "overruns", "seconds_stale")},
        "longest_gap_seconds": round(metrics.longest_gap_seconds, 3),
        **({} if metrics.cache_hit_rate is None else {"cache_hit_rate_pct": round(100 * metrics.cache_hit_rate, 2)}),
        "refused_quotes": counters["refused_quotes"],
        "source_failures": counters["source_failures"],
        **{f"latency_{name}_ms": value for name, value in latencies.get("total", {}).items()},
        "latency": dg.MetadataValue.md(table),
        "totals": dg.MetadataValue.json(dict(report.totals)),
    }
