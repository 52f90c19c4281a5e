"""What a session counts of itself."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psutil
from hdrh.histogram import HdrHistogram

#: feed: the tick's own time to its arrival; read: arrival to the refresher's hands, through the database; compute and
#: write: the answers and the file; total: arrival to the renamed file.
STAGES = ("feed", "read", "compute", "write", "total")
PERCENTILES = (50.0, 95.0, 99.0)
LARGEST_US = 600_000_000
SIGNIFICANT_DIGITS = 2
MINUTES_KEPT = 120
COUNTERS = ("ticks", "cycles", "overruns", "cache_hits", "cache_misses", "refused_quotes", "source_failures")


@dataclass(frozen=True)
class MinuteLatency:
    """Latency from arrival to file within one minute (its start, UTC), in milliseconds."""

    minute: datetime
    p50_ms: float
    p99_ms: float
    max_ms: float


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, LARGEST_US, SIGNIFICANT_DIGITS)


@dataclass
class SessionMetrics:
    """Counts and latencies of one session; `overruns`: refreshes more than a second after the one before."""

    ticks: int = 0
    cycles: int = 0
    overruns: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    refused_quotes: int = 0
    source_failures: int = 0
    seconds_stale: float = 0.0
    longest_gap_seconds: float = 0.0
    #: From the start of the process until the session was ready to write; None before.
    start_seconds: float | None = None
    stages: Mapping[str, HdrHistogram] = field(default_factory=lambda: {stage: _histogram() for stage in STAGES})
    minutes: "deque[MinuteLatency]" = field(default_factory=lambda: deque(maxlen=MINUTES_KEPT))
    _minute: HdrHistogram = field(default_factory=_histogram)

    def record(self, stage: str, seconds: float) -> None:
        """Count one duration."""
        value = min(max(int(seconds * 1e6), 1), LARGEST_US)
        self.stages[stage].record_value(value)
        if stage == "total":
            self._minute.record_value(value)

    def ready(self) -> None:
        """The session is ready to write, or to wait for its turn."""
        self.start_seconds = time.time() - psutil.Process().create_time()

    def close_minute(self, minute: datetime) -> None:
        """Write down the latencies since the last call under a minute's start, and begin anew."""
        latencies = self._minute
        if latencies.get_total_count():
            p50, p99 = (latencies.get_value_at_percentile(p) / 1000 for p in (50.0, 99.0))
            self.minutes.append(MinuteLatency(minute, p50, p99, latencies.get_max_value() / 1000))
            latencies.reset()

    @property
    def hit_rate(self) -> float | None:
        """Share of lookup rows that needed no read; None before the first."""
        asked = self.cache_hits + self.cache_misses
        return self.cache_hits / asked if asked else None

    def latencies_ms(self) -> dict[str, dict[str, float]]:
        """Percentiles and maximum of each stage that was measured, milliseconds."""
        return {
            stage: {f"p{p:g}": histogram.get_value_at_percentile(p) / 1000 for p in PERCENTILES}
            | {"max": histogram.get_max_value() / 1000}
            for stage, histogram in self.stages.items()
            if histogram.get_total_count()
        }

    def curve_ms(self, stage: str) -> list[tuple[float, float]]:
        """(percentile, milliseconds) of a stage, for a plot."""
        histogram = self.stages[stage]
        asked = [0, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.99, 100]
        return [(p, histogram.get_value_at_percentile(p) / 1000) for p in asked] if histogram.get_total_count() else []

    def as_saved(self) -> dict[str, Any]:
        """What an audit wants to know of a session."""
        return {
            "latencies_ms": self.latencies_ms(),
            "counts": self.counters(),
            "longest_gap_seconds": round(self.longest_gap_seconds, 3),
            "start_seconds": self.start_seconds,
        }

    def counters(self) -> dict[str, float]:
        """The counts, by name; those that a successor goes on from."""
        return {name: getattr(self, name) for name in COUNTERS} | {"seconds_stale": round(self.seconds_stale, 3)}


def added(counters: Mapping[str, float], before: Mapping[str, Any]) -> dict[str, float]:
    """Counts on top of those of the sessions before; a name that they did not have counts from zero."""
    return {name: value + before.get(name, 0) for name, value in counters.items()}
