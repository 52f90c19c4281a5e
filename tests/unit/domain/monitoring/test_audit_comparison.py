"""Comparison with earlier audits: bands, and differences beyond the variation from audit to audit."""

from dataclasses import replace

import numpy as np
import pytest
from auditing import audit

from pipelines.domain.monitoring.audit.comparison import (
    Outcome,
    anomalies,
    band_of,
    compare,
    compare_all,
    usual_difference,
)
from pipelines.domain.monitoring.audit.document import comparison_document
from pipelines.domain.monitoring.audit.findings import explain
from pipelines.domain.monitoring.audit.measurements import Measurement, Unit, single
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
    assert band_of([10.0] * 9 + [1_000.0]) == (10.0, 2.5)
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


def test_totals_over_different_processes_are_not_compared() -> None:
    def total(value: float, over: str) -> Measurement:
        return single("all_processes_uss", Unit.BYTES, value, over)

    alike = compare_all([total(1e9, "daemon, live session")], [total(2e9, "daemon, live session")], {})
    assert [change.key for change in alike.changes] == ["all_processes_uss"]
    unlike = compare_all([total(1e9, "daemon, live session")], [total(2e8, "daemon")], {})
    assert (unlike.changes, unlike.only_before) == ((), ("all_processes_uss",))


def test_a_difference_is_a_change_if_it_exceeds_the_variation_between_audits() -> None:
    usual = [100.0, 104.0, 97.0, 101.0, 99.0, 103.0, 98.0, 100.0, 102.0]
    before, near, far = (single("connections", Unit.COUNT, value) for value in (100, 104, 150))
    [within] = compare_all([before], [near], {"connections": usual}).changes
    assert within.outcome is Outcome.NOISE
    changed = compare(before, far, usual)
    assert changed.outcome is Outcome.CHANGED
    assert changed.noise is not None
    assert 5 < changed.noise < changed.difference
    assert compare(before, far, usual[:3]).outcome is Outcome.NOT_JUDGED, "too few audits show how it varies"


def test_equal_audits_differ_in_at_most_five_percent_of_cases() -> None:
    rng = np.random.default_rng(9)
    series = rng.normal(10.0, 1.0, 400)
    wrong = sum(
        compare(single("x", Unit.SECONDS, a), single("x", Unit.SECONDS, b), series[:100].tolist()).outcome
        is Outcome.CHANGED
        for a, b in zip(series[100:250], series[250:], strict=True)
    )
    assert wrong <= 15, "5 % of 150, and two standard deviations"


def cpu(value: float, process: str = "live session") -> Measurement:
    return single("process_cpu", Unit.PERCENT_OF_A_CORE, value, process=process)


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


def test_measurements_in_different_units_are_not_compared() -> None:
    found = compare_all([single("x", Unit.BYTES, 1)], [single("x", Unit.COUNT, 1)], {})
    assert (found.changes, found.only_before, found.only_after) == ((), ("x",), ("x",))


def test_a_comparison_reports_what_changed_and_counts_the_rest() -> None:
    usual = {"b": [100.0 + number % 3 for number in range(12)]}
    names = [f"n{number}" for number in range(300)]
    before = [single(name, Unit.COUNT, 100) for name in ("b", "gone", *names)]
    after = [single("b", Unit.COUNT, 200), single("new", Unit.COUNT, 1)]
    after += [single(name, Unit.COUNT, 180 if name in ("n3", "n7") else 110) for name in names]
    first, second = (replace(audit(), measurements=tuple(each)) for each in (before, after))
    document = comparison_document(first, second, compare_all(before, after, usual))
    rows = {section.title: [row[0] for row in section.rows] for section in document.sections}
    assert rows == {
        "Changed beyond noise": ["b"],
        "Differ by more than 25 %": ["n3", "n7"],
        "Only before": ["gone"],
        "Only after": ["new"],
        "Not changed": [],
    }
    assert document.sections[-1].lead.startswith("298 measurements: 0 within noise; 298 differ by at most 25 %, and ")
