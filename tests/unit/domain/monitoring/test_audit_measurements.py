"""Figures and their comparison: units, right arithmetic, noise; wrong audits of old recomputed from their own numbers."""

import numpy as np
import pytest

from pipelines.domain.monitoring.audit.comparison import Verdict, compare, compare_all, relative_change
from pipelines.domain.monitoring.audit.measurements import Figure, Statistic, Unit, one, percentiles, statistic_of


def cpu(value: float, process: str = "live session") -> Figure:
    return one("process_cpu", Unit.PERCENT_OF_A_CORE, value, process=process)


def test_a_figure_follows_from_its_samples() -> None:
    p50, p95, p99 = percentiles("query", Unit.MILLISECONDS, range(1, 101), query="lookup_rows")
    assert (p50.value, p95.value, p99.value) == (50.5, 95.05, 99.01)
    assert p95.key == "query p95 {query=lookup_rows}"
    for statistic in Statistic:
        again = Figure("x", Unit.COUNT, statistic, (3.0, 1.0, 2.0))
        assert again.value == statistic_of(statistic, again.samples)
    assert [statistic_of(one, (3.0, 1.0, 2.0)) for one in ("last", "sum", "mean", "max")] == [2, 6, 2, 3]  # type: ignore[arg-type]


@pytest.mark.parametrize("samples", [(), (float("nan"),), (1.0, float("inf"))])
def test_what_was_not_measured_is_no_figure(samples: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="that is a gap"):
        Figure("x", Unit.COUNT, Statistic.MEAN, samples)


def test_percentages_change_by_points_and_relatively() -> None:
    """The original's `86.7 % -> 82.2 %: 5 % improvement`, and `27.4 % -> 45.9 %`, which it did not count at all."""
    change = compare(cpu(86.7), cpu(82.2))
    assert change.difference == pytest.approx(-4.5)
    assert change.difference_unit == "points"
    assert change.relative == pytest.approx(-5.19, abs=0.01)
    worse = compare(cpu(27.4), cpu(45.9))
    assert (worse.difference, worse.relative) == (pytest.approx(18.5), pytest.approx(67.5, abs=0.02))
    size = compare(one("size", Unit.BYTES, 2.5e9), one("size", Unit.BYTES, 479e6))
    assert (size.difference_unit, size.relative) == ("B", pytest.approx(-80.8, abs=0.1))
    assert relative_change(0.0, 1.0) is None


def test_a_process_that_one_side_leaves_out_is_said_not_summed() -> None:
    """The original's `97 % less CPU` compared the sums of two lists, the second without the process that did the work."""
    before = [cpu(36.6, "unified_production_coordinator"), cpu(0.5, "active_trade_supervisor")]
    after = [cpu(0.1, "kalshi_market_watchdog"), cpu(0.5, "active_trade_supervisor"), cpu(0.1, "btc"), cpu(0.3, "eth")]
    found = compare_all(before, after)
    assert [change.key for change in found.changes] == ["process_cpu {process=active_trade_supervisor}"]
    assert found.changes[0].difference == 0
    assert found.only_before == ("process_cpu {process=unified_production_coordinator}",)
    assert len(found.only_after) == 3


def test_means_and_ratios_of_the_original_recomputed() -> None:
    load = Figure("load", Unit.COUNT, Statistic.MEAN, (8.90, 7.36, 7.03))
    assert load.value == pytest.approx(7.76, abs=0.01), "not the 7.4 that it was called"
    assert relative_change(1.7, 11.46) == pytest.approx(574, abs=1), "5.7 times more is 6.7 times as much"
    tables = {"session": (0.13, 0.11, 0.23), "position": (0.13, 0.09, 0.22), "metrics": (0.08, 0.06, 0.14)}
    for heap, index, total in tables.values():
        assert heap + index == pytest.approx(total, abs=0.011)


def test_noise_is_no_difference_and_a_shift_is_one() -> None:
    rng = np.random.default_rng(7)

    def timed(mean: float, key: Statistic = Statistic.P95) -> Figure:
        return Figure("query", Unit.MILLISECONDS, key, tuple(rng.lognormal(np.log(mean), 0.3, 400)))

    assert compare(timed(1.0), timed(1.0)).verdict is Verdict.NOISE
    usual = [1.5, 1.52, 1.49, 1.5, 1.53, 1.48, 1.5, 1.51, 1.5]
    slower = compare(timed(1.0), timed(1.5), usual)
    assert slower.verdict is Verdict.CHANGED
    assert slower.low is not None
    assert slower.high is not None
    assert 0 < slower.low < slower.difference < slower.high
    assert slower.within is not None
    assert 0.02 < slower.within < slower.difference
    assert compare(timed(1.0), timed(1.5)).verdict is Verdict.UNJUDGED, "samples do not know how audits vary"
    assert compare(cpu(1.0), cpu(9.0)).verdict is Verdict.UNJUDGED, "one sample has no spread"


def test_equal_things_are_told_from_different_ones_as_often_as_promised() -> None:
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(60):
        before, after = (
            Figure("x", Unit.SECONDS, Statistic.MEAN, tuple(rng.normal(10, 2, 30).tolist())) for _ in range(2)
        )
        wrong += compare(before, after).verdict is not Verdict.NOISE
    assert wrong <= 9, "5 % are promised; 15 % of 60 is three standard deviations off"


def test_figures_of_two_kinds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(one("x", Unit.BYTES, 1), one("x", Unit.COUNT, 1))
