"""Counters and latencies of a live session."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
from hdrh.histogram import HdrHistogram

#: feed: from the tick's own time to its arrival; read: from arrival to the refresher, through the database; compute and
#: write: the answers and the file; total: from arrival to the renamed file; table: from the arrival of quotes to the
#: renamed strike table; desk: the paper desk's decisions about the markets of one table.
STAGES = ("feed", "read", "compute", "write", "total", "table", "desk")
PERCENTILES = (50.0, 95.0, 99.0)
LARGEST_US = 600_000_000
SIGNIFICANT_DIGITS = 2
COUNTERS = ("ticks", "cycles", "overruns", "cache_hits", "cache_misses", "refused_quotes", "source_failures")


@dataclass
class SessionMetrics:
    """Counters and latencies of one session.

    `cycles`: refreshes of all symbols; `overruns`: refreshes more than a second after the previous one of the symbol;
    `start_seconds`: from the start of the process until the session was ready, None before.
    """

    ticks: int = 0
    cycles: int = 0
    overruns: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    refused_quotes: int = 0
    source_failures: int = 0
    seconds_stale: float = 0.0
    longest_gap_seconds: float = 0.0
    start_seconds: float | None = None
    histograms: Mapping[str, HdrHistogram] = field(
        default_factory=lambda: {stage: HdrHistogram(1, LARGEST_US, SIGNIFICANT_DIGITS) for stage in STAGES}
    )

    def record(self, stage: str, seconds: float) -> None:
        """Record the duration of a stage."""
        self.histograms[stage].record_value(min(max(int(seconds * 1e6), 1), LARGEST_US))

    def record_start(self) -> None:
        """Record that the session is ready to write, or to wait for the leadership."""
        self.start_seconds = time.time() - psutil.Process().create_time()

    @property
    def cache_hit_rate(self) -> float | None:
        """Share of lookup rows found in the cache; None before the first."""
        total = self.cache_hits + self.cache_misses
        return self.cache_hits / total if total else None

    def latencies_ms(self) -> dict[str, dict[str, float]]:
        """Percentiles and maximum, in milliseconds, of each stage with a recorded duration."""
        return {
            stage: {f"p{p:g}": histogram.get_value_at_percentile(p) / 1000 for p in PERCENTILES}
            | {"max": histogram.get_max_value() / 1000}
            for stage, histogram in self.histograms.items()
            if histogram.get_total_count()
        }

    def counters(self) -> dict[str, float]:
        """The counters by name, which a successor adds its own to."""
        return {name: getattr(self, name) for name in COUNTERS} | {"seconds_stale": round(self.seconds_stale, 3)}

    def snapshot(self) -> dict[str, Any]:
        """The metrics as a session's snapshots store them for audits."""
        return {
            "latencies_ms": self.latencies_ms(),
            "counts": self.counters(),
            "longest_gap_seconds": round(self.longest_gap_seconds, 3),
            "start_seconds": self.start_seconds,
        }
