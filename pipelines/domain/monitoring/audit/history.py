"""Earlier audits: the band that a measurement kept to, and its variation from audit to audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pipelines.domain.monitoring.audit.measurements import Detection, Measurement, Unit, formatted

#: Fewer audits have no band.
MIN_READINGS = 8
#: Half the width of a band: so many robust standard deviations, and at least this share of its median.
DEVIATIONS = 6.0
MIN_SHARE = 0.25
#: Makes the median absolute deviation of normal readings their standard deviation.
ROBUST = 1.4826
#: What has a band, and the growth that matters: the largest process of a name, which only a leak or more work can make
#: grow. Runs belong to different jobs and have no band.
BANDED = {"process_largest_uss": 32 * 2.0**20, "process_largest_threads": 8.0}
NOT_BANDED = {"run"}


@dataclass(frozen=True)
class Reading:
    """A measurement's value in an earlier audit; `at` is aware UTC."""

    at: datetime
    value: float


#: Readings by a measurement's key, oldest first.
History = Mapping[str, Sequence[Reading]]


@dataclass(frozen=True)
class Band:
    """The median of earlier values and the limits of what is usual."""

    low: float
    median: float
    high: float


def band_of(values: Sequence[float]) -> Band | None:
    """The band of earlier values by their median and its absolute deviation; None of too few."""
    if len(values) < MIN_READINGS:
        return None
    median = float(np.median(values))
    spread = ROBUST * float(np.median(np.abs(np.asarray(values) - median)))
    width = max(DEVIATIONS * spread, MIN_SHARE * abs(median))
    return Band(median - width, median, median + width)


def anomalies(measurements: Sequence[Measurement], history: History) -> list[Detection]:
    """Processes that grew beyond their band."""
    found = []
    for one in measurements:
        process, readings = one.labels.get("process", ""), history.get(one.key, ())
        band = band_of([reading.value for reading in readings])
        if band is None or one.name not in BANDED or process in NOT_BANDED:
            continue
        if one.value > max(band.high, band.median + BANDED[one.name]):
            evidence = (
                f"{formatted(one.value, one.unit)}; the median of {len(readings)} audits is "
                f"{formatted(band.median, one.unit)}, up to {formatted(band.high, one.unit)} is usual"
            )
            quantity = "memory" if one.unit is Unit.BYTES else "number of threads"
            found.append(Detection("outside its band", one.key, evidence, {"quantity": quantity, "process": process}))
    return found


def usual_difference(values: Sequence[float]) -> float | None:
    """Largest difference of two successive audits in nineteen of twenty cases without a change; None of too few.

    The median step is subtracted, as a trend is not noise, and readings outside the band are ignored.
    """
    band = band_of(values)
    if band is None:
        return None
    readings = np.asarray(values, dtype=np.float64)
    usual = (readings >= band.low) & (readings <= band.high)
    steps = np.diff(readings)[usual[:-1] & usual[1:]]
    if steps.size < MIN_READINGS // 2:
        return None
    return float(np.percentile(np.abs(steps - np.median(steps)), 95.0))
