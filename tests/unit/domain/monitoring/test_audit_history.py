"""What earlier audits tell: bands, noise from audit to audit, trends."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipelines.domain.monitoring.audit.comparison import Verdict, compare, compare_all
from pipelines.domain.monitoring.audit.history import Reading, anomalies, band_of, trends, usual_difference
from pipelines.domain.monitoring.audit.measurements import Figure, Statistic, Unit, one, percentiles
from pipelines.domain.monitoring.audit.sections import sparkline, trend_section

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MEBIBYTE = 2.0**20


def memory(megabytes: float, process: str = "live session") -> Figure:
    return one("process_largest_uss", Unit.BYTES, megabytes * MEBIBYTE, process=process)


def readings(*values: float) -> list[Reading]:
    return [Reading(NOW - timedelta(hours=len(values) - n), value * MEBIBYTE) for n, value in enumerate(values)]


def test_a_process_that_grew_beyond_its_band_is_found() -> None:
    usual = {memory(0).key: readings(*[130, 131, 129, 130, 132, 130, 131, 130, 129, 131])}
    assert anomalies([memory(150)], usual) == (), "more than noise, but no more than a quarter"
    [found] = anomalies([memory(300)], usual)
    assert (found.severity, found.title) == ("P2", "the memory of live session grew beyond its band")
    assert "300.0 MiB; 130.0 MiB in the middle of 10 audits" in found.evidence
    assert anomalies([memory(300)], {memory(0).key: readings(130, 131)}) == (), "two audits have no band"
    assert anomalies([memory(300, "run")], usual) == (), "of another process nothing is known"
    small = {memory(0).key: readings(*[5] * 10)}
    assert anomalies([memory(20)], small) == (), "15 MiB more are nothing to look at"


def test_a_process_that_always_varies_has_a_wide_band() -> None:
    varying = {memory(0).key: readings(*[100, 300, 150, 280, 120, 260, 200, 180, 240, 160])}
    assert anomalies([memory(350)], varying) == ()


def test_a_band_is_not_moved_by_one_wild_reading() -> None:
    band = band_of([10.0] * 9 + [1_000.0])
    assert band is not None
    assert (band.low, band.middle, band.high) == (7.5, 10.0, 12.5)
    assert band_of([10.0] * 7) is None


def test_what_audits_usually_differ_by_is_noise_and_not_a_trend() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 2.0, 4_000)
    expected = 1.96 * 2.0 * 2**0.5
    assert usual_difference(noise.tolist()) == pytest.approx(expected, rel=0.05)
    assert usual_difference((noise + 0.5 * np.arange(4_000)).tolist()) == pytest.approx(expected, rel=0.05)
    assert usual_difference([5.0 * number for number in range(20)]) == 0, "a steady leak is none"
    counted = [12.0, 12.0, 12.0, 13.0, 12.0, 12.0, 12.0, 12.0, 14.0, 12.0, 12.0, 12.0]
    assert usual_difference(counted) == pytest.approx(2.0), "what is mostly the same, and now and then is not"
    assert usual_difference([1.0, 2.0]) is None
    wild = [1.0, 1.01, 9.0, 1.0, 1.01, 1.0, 1.02, 1.0, 1.0, 1.01]
    assert usual_difference(wild) == pytest.approx(0.02, abs=0.01), "one bad audit hides nothing"


def test_what_varies_from_audit_to_audit_is_no_change_however_sure_the_samples_are() -> None:
    rng = np.random.default_rng(5)

    def timed(mean: float) -> Figure:
        return percentiles("query", Unit.MILLISECONDS, rng.normal(mean, 0.01, 200))[0]

    before, after = timed(1.0), timed(1.2)
    maintenance_lock = compare(before, after)
    assert maintenance_lock.low is not None
    assert (maintenance_lock.low > 0, maintenance_lock.verdict) == (True, Verdict.UNJUDGED), "sure by its samples alone"
    varying = rng.normal(1.1, 0.2, 30).tolist()
    within = compare(before, after, varying)
    assert within.verdict is Verdict.NOISE
    assert within.noise == pytest.approx(1.96 * 2**0.5 * 0.2, rel=0.5)
    assert compare(before, timed(3.0), varying).verdict is Verdict.CHANGED


def test_a_percentile_of_few_samples_is_not_judged_by_them() -> None:
    rng = np.random.default_rng(7)
    for size, judged in ((50, [True, False, False]), (100, [True, True, False]), (500, [True, True, True])):
        sides = [percentiles("query", Unit.MILLISECONDS, rng.lognormal(0, 1, size)) for _ in range(2)]
        assert [compare(*pair).low is not None for pair in zip(*sides, strict=True)] == judged
    largest = [Figure("x", Unit.POINTS, Statistic.LARGEST, tuple(rng.lognormal(0, 1, size))) for size in (20, 300)]
    assert compare(*largest).low is None, "the largest of more is larger"


def test_totals_over_different_processes_are_not_compared() -> None:
    def total(value: float, over: str) -> Figure:
        return one("all_processes_uss", Unit.BYTES, value, over)

    alike = compare_all([total(1e9, "daemon, live session")], [total(2e9, "daemon, live session")])
    assert [change.key for change in alike.changes] == ["all_processes_uss"]
    unlike = compare_all([total(1e9, "daemon, live session")], [total(2e8, "daemon")])
    assert (unlike.changes, unlike.only_before) == ((), ("all_processes_uss",))


def test_single_readings_are_judged_by_how_they_varied_before() -> None:
    usual = [100.0, 104.0, 97.0, 101.0, 99.0, 103.0, 98.0, 100.0, 102.0]
    before, near, far = (one("connections", Unit.COUNT, value) for value in (100, 104, 150))
    found = compare_all([before], [near], {"connections": usual})
    assert [change.verdict for change in found.changes] == [Verdict.NOISE]
    assert compare(before, far, usual).verdict is Verdict.CHANGED
    assert compare(before, far, usual[:3]).verdict is Verdict.UNJUDGED


def test_equal_audits_differ_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(9)
    series = rng.normal(10.0, 1.0, 400)
    wrong = sum(
        compare(one("x", Unit.SECONDS, a), one("x", Unit.SECONDS, b), series[:100].tolist()).verdict is Verdict.CHANGED
        for a, b in zip(series[100:250], series[250:], strict=True)
    )
    assert wrong <= 15, "5 % of 150 are promised"


def test_trends_are_of_the_figures_that_earlier_audits_have() -> None:
    figures = [
        Figure("query", Unit.MILLISECONDS, Statistic.P95, (1.0, 2.0), {"query": "lookup_rows", "symbol": "BTC"}),
        one("database_size", Unit.BYTES, 3e9),
        one("all_processes_uss", Unit.BYTES, 1e9),
    ]
    history = {figures[0].key: readings(0.5, 0.7), "database_size": readings(1, 2)}
    found = trends(figures, history, NOW)
    assert [trend.title for trend in found] == ["reading a ladder, p95, BTC", "size of the database"]
    assert found[1].readings[-1] == Reading(NOW, 3e9)
    section = trend_section(found)
    assert section.rows[1][1:] == ("▁▁█", "1.0 MiB", "2.8 GiB", "2.8 GiB")
    assert section.lead == "3 audits since 2026-03-04 10:00 UTC, this one last."
    assert trend_section(()).rows == ()


def test_a_line_of_blocks_keeps_its_peaks() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparkline([4.0, 4.0]) == "▁▁"
    values = [1.0] * 100 + [50.0] + [1.0] * 100
    assert len(sparkline(values)) == 16
    assert sparkline(values).count("█") == 1
