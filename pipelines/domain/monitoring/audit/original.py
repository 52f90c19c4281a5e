"""The original's own audits beside ours: what they said, what their own numbers give, and what we measure.

Each of its figures is `recomputed` where its own numbers are enough to check it, else `unverifiable`; ours are
`measured`, each from the samples of the audit that shows them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pipelines.domain.monitoring.audit.comparison import relative_change
from pipelines.domain.monitoring.audit.measurements import Figure, Statistic, told

#: Nodes of one row of the lookup, one side.
NODES = 201


class Mark(StrEnum):
    """How far a figure can be trusted."""

    MEASURED = "measured"
    RECOMPUTED = "recomputed"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True)
class Ours:
    """Which of our figures stands beside: the sum of those of the labels, or the largest."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    statistic: Statistic = Statistic.LAST
    largest: bool = False

    def told(self, figures: Sequence[Figure]) -> str | None:
        """The figure as people read it; None when it was not measured."""
        found = [one for one in figures if one.is_of(self.name, self.statistic, self.labels)]
        if not found:
            return None
        values = [one.value for one in found]
        return told(max(values) if self.largest else sum(values), found[0].unit)


@dataclass(frozen=True)
class Claim:
    """One of its figures: before and after as it wrote them, what it made of them, what they give, and ours beside."""

    what: str
    before: str
    after: str
    said: str
    gives: str
    mark: Mark
    ours: Ours | None = None

    @property
    def change(self) -> str:
        """From the one to the other, or what there is of it."""
        return self.after if self.before == "-" else f"{self.before} -> {self.after}"


def _change(before: float, after: float) -> str:
    return f"{relative_change(before, after) or 0.0:+,.1f} %"


CPU_BEFORE, CPU_AFTER = (36.6, 0.5), (0.1, 0.5, 0.1, 0.3)
MEGABYTES_BEFORE, MEGABYTES_AFTER = (170.0, 50.0), (48.0, 50.0, 56.0, 55.0)
LOADS_BEFORE, LOADS_AFTER, CORES = (3.96, 4.48, 4.90), (8.90, 7.36, 7.03), 10
SCORES = (60, 65, 90, 55, 75, 40)
CELLS_WANTED = 721 * NODES * 61
REFRESHING = {"process": "live session"}


def claims() -> tuple[Claim, ...]:
    """All of them, the migration's first, then the clean-up's, then the second system's."""
    mean_before, mean_after = sum(LOADS_BEFORE) / 3, sum(LOADS_AFTER) / 3
    cpu_before, cpu_after = sum(CPU_BEFORE), sum(CPU_AFTER)
    memory_before, memory_after = sum(MEGABYTES_BEFORE), sum(MEGABYTES_AFTER)
    known, not_known = Mark.RECOMPUTED, Mark.UNVERIFIABLE
    return (
        Claim(
            "processor, what refreshes",
            "36.6 %",
            "0.1 %",
            "97 % less",
            f"{cpu_after - cpu_before:+.1f} points ({_change(cpu_before, cpu_after)}) of sums over two lists; the "
            "second lacks the process that did the work",
            not_known,
            Ours("process_cpu", REFRESHING),
        ),
        Claim(
            "memory, what refreshes (RSS)",
            "170 MB",
            "48 MB",
            "70 % less",
            f"{memory_before:.0f} MB in 2 processes, then {memory_after:.0f} MB in 4: "
            f"{_change(memory_before, memory_after)}",
            known,
            Ours("process_rss", REFRESHING),
        ),
        Claim(
            "fingerprints, stored",
            "1.7 MB",
            "11.46 MB",
            "6.7x increase",
            f"{11.46 / 1.7:.1f} times as much; with the lookup of 1.15 GB {(1150 + 11.46) / 1.7:.0f} times",
            known,
            Ours("table_size", {"table": "analytics.fingerprint"}),
        ),
        Claim(
            "lookup, stored",
            "-",
            "1.15 GB",
            "8,827,942 entries",
            f"{CELLS_WANTED - 8_827_942:,} of {CELLS_WANTED:,} are missing",
            known,
            Ours("table_size", {"table": "analytics.lookup"}),
        ),
        Claim(
            "reading the lookup, p95",
            "-",
            "-",
            "millisecond latency",
            "no figure",
            not_known,
            Ours("query", {"query": "lookup_rows"}, Statistic.P95, largest=True),
        ),
        Claim(
            "load of the machine, per core",
            f"{mean_before / CORES:.2f}",
            f"{mean_after / CORES:.2f}",
            "7.4 on average, moderate",
            f"the mean of {LOADS_AFTER} is {mean_after:.2f}; {_change(mean_before, mean_after)}",
            known,
            Ours("host_load", {"minutes": "15"}),
        ),
        Claim(
            "longest time between refreshes",
            "-",
            "under 1 s",
            "maintained",
            "no figure",
            not_known,
            Ours("live_longest_gap"),
        ),
        Claim(
            "size of a probability file",
            "5.6 KB",
            "5.6 KB",
            "-",
            "242 lines each",
            known,
            Ours("file_size", largest=True),
        ),
        Claim("availability", "-", "99.9 %", "maintained", "no record of it", not_known, Ours("session_availability")),
        Claim("computation", "-", "-", "99 % less", "no figure", not_known),
        Claim("logs", "2.5 GB", "479 MB", "81 % less", _change(2500, 479), known, Ours("log_size")),
        Claim(
            "the whole system on disk", "3.8 GB", "2.1 GB", "45 % less", _change(3.8, 2.1), known, Ours("database_size")
        ),
        Claim(
            "processor, the top process",
            "86.7 %",
            "82.2 %",
            "5 % improvement",
            f"{82.2 - 86.7:+.1f} points ({_change(86.7, 82.2)}); no process of its list has 82.2 %",
            not_known,
        ),
        Claim(
            "processor, account sync",
            "27.4 %",
            "45.9 %",
            "normal",
            f"{45.9 - 27.4:+.1f} points ({_change(27.4, 45.9)})",
            known,
        ),
        Claim("queries with indexes", "-", "-", "20-40 % faster", "no figure", not_known),
        *(
            Claim(what, "-", stated, "target met", "one sample each, by a clock that drops minutes", not_known, ours)
            for what, stated, ours in (
                ("a snapshot inserted", "3.52 ms", Ours("operation", {"operation": "single_insert"}, Statistic.P50)),
                ("sessions read", "3.99 ms", Ours("query", {"query": "latest_totals"}, Statistic.P50)),
                ("JSONB read", "1.27 ms", Ours("query", {"query": "latest_totals"}, Statistic.P50)),
            )
        ),
        Claim(
            "signal latency",
            "-",
            "200-500 ms",
            "estimated",
            "no samples",
            not_known,
            Ours("live_latency", {"stage": "total", "percentile": "p99"}),
        ),
        Claim("start", "-", "3-4 s", "excellent", "no samples", not_known, Ours("live_start")),
        Claim("memory, everything", "-", "2-3 GB", "excellent", "no samples", not_known, Ours("all_processes_uss")),
        *(
            Claim(
                f"{what}, p50",
                "-",
                stated,
                verdict,
                "no samples; SQLite",
                not_known,
                Ours("operation", {"operation": operation}, Statistic.P50),
            )
            for what, operation, stated, verdict in (
                ("a row inserted", "single_insert", "0.5 ms", "good"),
                ("100 rows inserted", "batch_insert_100", "15 ms", "good"),
                ("a row read by its key", "indexed_select", "0.3 ms", "excellent"),
                ("a row read without an index", "unindexed_select", "45 ms", "needs index"),
                ("a row changed", "update", "1 ms", "good"),
            )
        ),
        Claim(
            "score",
            "-",
            "70 of 100",
            "B-",
            f"the mean of its six areas is {sum(SCORES) / len(SCORES):.1f}; weights are not given",
            known,
        ),
    )
