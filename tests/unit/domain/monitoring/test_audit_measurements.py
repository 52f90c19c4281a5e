"""Measurements and their comparison: statistics, units, differences beyond noise."""

import numpy as np
import pytest

from pipelines.domain.monitoring.audit.comparison import Outcome, compare, compare_all
from pipelines.domain.monitoring.audit.measurements import (
    Measurement,
    Statistic,
    Unit,
    percentiles,
    single,
)

USUAL = [1.5, 1.52, 1.49, 1.5, 1.53, 1.48, 1.5, 1.51, 1.5]


def cpu(value: float, process: str = "live session") -> Measurement:
    return single("process_cpu", Unit.PERCENT_OF_A_CORE, value, process=process)


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


def test_percentages_change_by_points_and_relatively() -> None:
    """The original audits called 86.7 % -> 82.2 % an improvement of 5 %, and did not count 27.4 % -> 45.9 %."""
    change = compare(cpu(86.7), cpu(82.2))
    assert change.difference == pytest.approx(-4.5)
    assert change.difference_unit == "points"
    assert change.relative_pct == pytest.approx(-5.19, abs=0.01)
    worse = compare(cpu(27.4), cpu(45.9))
    assert (worse.difference, worse.relative_pct) == (pytest.approx(18.5), pytest.approx(67.5, abs=0.02))
    size = compare(single("size", Unit.BYTES, 2.5e9), single("size", Unit.BYTES, 479e6))
    assert (size.difference_unit, size.relative_pct) == ("B", pytest.approx(-80.8, abs=0.1))
    assert compare(cpu(0.0), cpu(1.0)).relative_pct is None


def test_a_process_that_only_one_audit_has_is_listed_and_not_summed() -> None:
    """The original audits compared sums over two lists, the second without the process that did the work."""
    before = [cpu(36.6, "unified_production_coordinator"), cpu(0.5, "active_trade_supervisor")]
    after = [cpu(0.1, "kalshi_market_watchdog"), cpu(0.5, "active_trade_supervisor"), cpu(0.1, "btc"), cpu(0.3, "eth")]
    found = compare_all(before, after, {})
    assert [change.key for change in found.changes] == ["process_cpu {process=active_trade_supervisor}"]
    assert found.changes[0].difference == 0
    assert found.only_before == ("process_cpu {process=unified_production_coordinator}",)
    assert len(found.only_after) == 3


def test_noise_is_no_difference_and_a_shift_is_a_change() -> None:
    rng = np.random.default_rng(7)

    def timed(mean: float) -> Measurement:
        return Measurement("query", Unit.MILLISECONDS, Statistic.P50, tuple(rng.lognormal(np.log(mean), 0.3, 4_000)))

    assert compare(timed(1.5), timed(1.5), USUAL).outcome is Outcome.NOISE
    slower = compare(timed(1.0), timed(1.5), USUAL)
    assert slower.outcome is Outcome.CHANGED
    assert slower.noise is not None
    assert 0.02 < slower.noise < slower.difference
    assert compare(timed(1.0), timed(1.5)).outcome is Outcome.NOT_JUDGED, "the variation between audits is not known"


def test_measurements_in_different_units_are_not_compared() -> None:
    found = compare_all([single("x", Unit.BYTES, 1)], [single("x", Unit.COUNT, 1)], {})
    assert (found.changes, found.only_before, found.only_after) == ((), ("x",), ("x",))
