"""Measurements: their values, keys and samples."""

import pytest

from pipelines.domain.monitoring.audit.measurements import (
    Measurement,
    Statistic,
    Unit,
    percentiles,
)


def test_a_value_is_computed_from_its_samples() -> None:
    p50, p95, p99 = percentiles("query", Unit.MILLISECONDS, range(1, 101), query="lookup_rows")
    assert (p50.value, p95.value, p99.value) == (50.5, 95.05, 99.01)
    assert p95.key == "query p95 {query=lookup_rows}"
    for statistic, value in ((Statistic.LAST, 2), (Statistic.MEAN, 2), (Statistic.MAX, 3)):
        assert Measurement("x", Unit.COUNT, statistic, (3.0, 1.0, 2.0)).value == value


@pytest.mark.parametrize("samples", [(), (float("nan"),), (1.0, float("inf"))])
def test_a_measurement_needs_finite_samples(samples: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="report a gap instead"):
        Measurement("x", Unit.COUNT, Statistic.MEAN, samples)
