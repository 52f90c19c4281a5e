"""What earlier audits say about this one: bands that a figure kept to, how it varies from audit to audit, trends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pipelines.domain.monitoring.audit.findings import Finding
from pipelines.domain.monitoring.audit.measurements import Figure, Statistic, Unit, told
from pipelines.domain.monitoring.audit.targets import Area, Severity

#: Fewer audits have no band.
LEAST_READINGS = 8
#: A band is this many robust standard deviations wide to each side, and at least this share of its middle.
DEVIATIONS = 6.0
LEAST_SHARE = 0.25
#: What has a band: the largest process of a name, which nothing makes grow but a leak or more work; and how much growth
#: matters. Runs are of different jobs, and have none.
BANDED = {"process_largest_uss": 32 * 2.0**20, "process_largest_threads": 8.0}
UNLIKE = {"run"}
#: Makes the median absolute deviation of normal readings their standard deviation.
ROBUST = 1.4826


@dataclass(frozen=True)
class Reading:
    """A figure's value in an earlier audit; `at` is aware UTC."""

    at: datetime
    value: float


#: Readings by a figure's key, oldest first.
History = Mapping[str, Sequence[Reading]]


@dataclass(frozen=True)
class Band:
    """Where a figure was before: the middle, and how far from it is still usual."""

    low: float
    middle: float
    high: float


def band_of(values: Sequence[float]) -> Band | None:
    """The band of earlier values by their median and its absolute deviation; None of too few."""
    if len(values) < LEAST_READINGS:
        return None
    middle = float(np.median(values))
    spread = ROBUST * float(np.median(np.abs(np.asarray(values) - middle)))
    width = max(DEVIATIONS * spread, LEAST_SHARE * abs(middle))
    return Band(middle - width, middle, middle + width)


def anomalies(figures: Sequence[Figure], history: History) -> tuple[Finding, ...]:
    """A finding for each process that grew beyond its band."""
    found = []
    for figure in figures:
        if figure.name not in BANDED or figure.labels.get("process") in UNLIKE:
            continue
        band = band_of([one.value for one in history.get(figure.key, ())])
        if band is None or figure.value <= max(band.high, band.middle + BANDED[figure.name]):
            continue
        what = "memory" if figure.unit is Unit.BYTES else "number of threads"
        found.append(
            Finding(
                f"beyond its band {figure.key}",
                Severity.P2,
                Area.RESOURCES,
                f"the {what} of {figure.labels.get('process', 'a process')} grew beyond its band",
                f"{told(figure.value, figure.unit)}; {told(band.middle, figure.unit)} in the middle of "
                f"{len(history[figure.key])} audits, up to {told(band.high, figure.unit)} would be usual",
                "a leak, or more work than before",
                "see whether it goes on growing; restart the process if it does",
                command="strikecast audit show --as html",
            )
        )
    return tuple(found)


def usual_difference(values: Sequence[float]) -> float | None:
    """What two successive audits differ by at most when nothing changed, nineteen times of twenty; None of too few.

    From the differences of successive values, without what they go up or down by all the time: a trend is no noise.
    Nor is a single wild reading, which is what audits are made to find.
    """
    band = band_of(values)
    if band is None:
        return None
    each = np.asarray(values, dtype=np.float64)
    usual = (each >= band.low) & (each <= band.high)
    steps = np.diff(each)[usual[:-1] & usual[1:]]
    if steps.size < LEAST_READINGS // 2:
        return None
    return float(np.percentile(np.abs(steps - np.median(steps)), 95.0))


#: What the report shows over weeks: what it is called there, and which figures it is of.
TRENDS: tuple[tuple[str, str, Statistic, Mapping[str, str]], ...] = (
    ("reading a ladder, p95", "query", Statistic.P95, {"query": "lookup_rows"}),
    ("tick to file, p99", "live_latency", Statistic.LAST, {"stage": "total", "percentile": "p99"}),
    ("longest time between refreshes", "live_longest_gap", Statistic.LAST, {}),
    ("memory of the live session", "process_uss", Statistic.LAST, {"process": "live session"}),
    ("memory of all processes", "all_processes_uss", Statistic.LAST, {}),
    ("processor, all processes", "all_processes_cpu", Statistic.LAST, {}),
    ("size of the database", "database_size", Statistic.LAST, {}),
    ("time without a backup", "without_backup", Statistic.LAST, {}),
    ("syncing the disk, p95", "disk_sync", Statistic.P95, {"of": "home"}),
    ("live sessions, share of a day", "session_availability", Statistic.LAST, {}),
)
#: The names of those figures.
TREND_NAMES = tuple(sorted({name for _, name, _, _ in TRENDS}))


@dataclass(frozen=True)
class Trend:
    """A figure over the audits that have it, this one last."""

    title: str
    unit: Unit
    readings: tuple[Reading, ...]


def trends(figures: Sequence[Figure], history: History, now: datetime) -> tuple[Trend, ...]:
    """Each figure of the list that earlier audits have, too; `now` (aware UTC) is the time of `figures`."""
    found = []
    for title, name, statistic, labels in TRENDS:
        for figure in figures:
            before = history.get(figure.key, ())
            if before and figure.is_of(name, statistic, labels):
                of = f", {figure.labels['symbol']}" if "symbol" in figure.labels else ""
                found.append(Trend(title + of, figure.unit, (*before, Reading(now, figure.value))))
    return tuple(found)
