"""Earlier audits: bands, and the variation from audit to audit."""

import numpy as np
import pytest

from pipelines.domain.monitoring.audit.comparison import (
    Outcome,
    anomalies,
    band_of,
    compare,
    compare_all,
    usual_difference,
)
from pipelines.domain.monitoring.audit.findings import explain
from pipelines.domain.monitoring.audit.measurements import Measurement, Unit, percentiles, single
from pipelines.monitoring.audit.declarations import explanations

MEBIBYTE = 2.0**20


def memory(megabytes: float, process: str = "live session") -> Measurement:
    return single("process_largest_uss", Unit.BYTES, megabytes * MEBIBYTE, process=process)


def readings(*values: float) -> list[float]:
    return [value * MEBIBYTE for value in values]


def test_a_process_that_grew_beyond_its_band_is_detected() -> None:
    usual = {memory(0).key: readings(*[130, 131, 129, 130, 132, 130, 131, 130, 129, 131])}
    assert anomalies([memory(150)], usual) == [], "more than noise, but less than a quarter"
    [found] = explain(anomalies([memory(300)], usual), explanations())
    assert (found.severity, found.title) == ("P2", "the memory of live session grew beyond its band")
    assert "300.0 MiB; the median of 10 audits is 130.0 MiB" in found.evidence
    assert anomalies([memory(300)], {memory(0).key: readings(130, 131)}) == [], "two audits have no band"
    assert anomalies([memory(300, "run")], usual) == [], "other processes have no history"
    small = {memory(0).key: readings(*[5] * 10)}
    assert anomalies([memory(20)], small) == [], "15 MiB more do not matter"


def test_a_process_that_always_varies_has_a_wide_band() -> None:
    varying = {memory(0).key: readings(*[100, 300, 150, 280, 120, 260, 200, 180, 240, 160])}
    assert anomalies([memory(350)], varying) == []


def test_one_outlier_does_not_move_a_band() -> None:
    band = band_of([10.0] * 9 + [1_000.0])
    assert band is not None
    assert (band.low, band.median, band.high) == (7.5, 10.0, 12.5)
    assert band_of([10.0] * 7) is None


def test_the_usual_difference_excludes_trends_and_outliers() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 2.0, 4_000)
    expected = 1.96 * 2.0 * 2**0.5
    assert usual_difference(noise.tolist()) == pytest.approx(expected, rel=0.05)
    assert usual_difference((noise + 0.5 * np.arange(4_000)).tolist()) == pytest.approx(expected, rel=0.05)
    assert usual_difference([5.0 * number for number in range(20)]) == 0, "a steady leak is a trend"
    counted = [12.0, 12.0, 12.0, 13.0, 12.0, 12.0, 12.0, 12.0, 14.0, 12.0, 12.0, 12.0]
    assert usual_difference(counted) == pytest.approx(2.0), "mostly constant, with exceptions"
    assert usual_difference([1.0, 2.0]) is None
    wild = [1.0, 1.01, 9.0, 1.0, 1.01, 1.0, 1.02, 1.0, 1.0, 1.01]
    assert usual_difference(wild) == pytest.approx(0.02, abs=0.01), "one outlier does not count"


def test_variation_from_audit_to_audit_is_no_change() -> None:
    rng = np.random.default_rng(5)

    def timed(mean: float) -> Measurement:
        return percentiles("query", Unit.MILLISECONDS, rng.normal(mean, 0.01, 200))[0]

    before, after = timed(1.0), timed(1.2)
    assert compare(before, after).outcome is Outcome.NOT_JUDGED
    varying = rng.normal(1.1, 0.2, 30).tolist()
    within = compare(before, after, varying)
    assert within.outcome is Outcome.NOISE
    assert within.noise == pytest.approx(1.96 * 2**0.5 * 0.2, rel=0.5)
    assert compare(before, timed(3.0), varying).outcome is Outcome.CHANGED


def test_totals_over_different_processes_are_not_compared() -> None:
    def total(value: float, over: str) -> Measurement:
        return single("all_processes_uss", Unit.BYTES, value, over)

    alike = compare_all([total(1e9, "daemon, live session")], [total(2e9, "daemon, live session")], {})
    assert [change.key for change in alike.changes] == ["all_processes_uss"]
    unlike = compare_all([total(1e9, "daemon, live session")], [total(2e8, "daemon")], {})
    assert (unlike.changes, unlike.only_before) == ((), ("all_processes_uss",))


def test_single_samples_are_judged_by_their_earlier_variation() -> None:
    usual = [100.0, 104.0, 97.0, 101.0, 99.0, 103.0, 98.0, 100.0, 102.0]
    before, near, far = (single("connections", Unit.COUNT, value) for value in (100, 104, 150))
    found = compare_all([before], [near], {"connections": usual})
    assert [change.outcome for change in found.changes] == [Outcome.NOISE]
    assert compare(before, far, usual).outcome is Outcome.CHANGED
    assert compare(before, far, usual[:3]).outcome is Outcome.NOT_JUDGED


def test_equal_audits_differ_in_at_most_five_percent_of_cases() -> None:
    rng = np.random.default_rng(9)
    series = rng.normal(10.0, 1.0, 400)
    wrong = sum(
        compare(single("x", Unit.SECONDS, a), single("x", Unit.SECONDS, b), series[:100].tolist()).outcome
        is Outcome.CHANGED
        for a, b in zip(series[100:250], series[250:], strict=True)
    )
    assert wrong <= 15, "5 % of 150, and two standard deviations"
