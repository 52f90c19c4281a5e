"""Targets, detections, findings and the grade."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.domain.monitoring.audit.detections import (
    ExtensionFacts,
    IndexFacts,
    SettingsFacts,
    TableFacts,
    detect_extension,
    detect_indexes,
    detect_lag,
    detect_scans,
    detect_server,
    detect_settings,
    measure_growth,
    measure_tables,
    sequential_scans,
    shape,
)
from pipelines.domain.monitoring.audit.findings import (
    PENALTIES,
    WEIGHTS,
    Finding,
    explain,
    missed_targets,
    score,
)
from pipelines.domain.monitoring.audit.measurements import Detection, Reading, Unit, percentiles, single
from pipelines.domain.monitoring.audit.targets import Area, JudgedAudit, Severity, State, judge, lasting_breaches
from pipelines.monitoring.audit.declarations import explanations, parse_targets, targets

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LADDER = {
    "title": "ladder",
    "measurement": "query",
    "statistic": "p95",
    "below": 10,
    "unit": "ms",
    "severity": "P1",
    "area": "answers",
}
UPTIME = {
    "title": "availability",
    "measurement": "up",
    "at_least": 99.9,
    "unit": "%",
    "severity": "P2",
    "area": "answers",
}


def parsed(*entries: dict[str, Any]) -> Any:
    return parse_targets(entries)


def test_a_target_is_met_missed_or_not_measured() -> None:
    declared = parsed(LADDER, UPTIME)
    assert [one.text for one in declared] == ["ladder below 10 ms", "availability at least 99.90 %"]
    fast = percentiles("query", Unit.MILLISECONDS, [1.0] * 20, symbol="BTC")
    slow = percentiles("query", Unit.MILLISECONDS, [12.0] * 20, symbol="ETH")
    ladder, uptime = judge(declared, [*fast, *slow])
    assert (ladder.state, ladder.value, ladder.key) == (State.MISSED, 12.0, "query p95 {symbol=ETH}"), (
        "the worst measurement decides"
    )
    assert (uptime.state, uptime.value) == (State.NOT_MEASURED, None)
    assert [one.state for one in judge(declared, [*fast, single("up", Unit.PERCENT, 99.9)])] == [State.MET, State.MET]
    assert judge(declared, [single("up", Unit.PERCENT, 99.89)])[1].state is State.MISSED


def test_a_measurement_in_another_unit_than_its_target_is_an_error() -> None:
    with pytest.raises(ValueError, match="declared in ms, but query p95 is in s"):
        judge(parsed(LADDER), percentiles("query", Unit.SECONDS, [1.0]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "furlongs"}, "ladder: unit: "),
        ({"severity": "P9"}, "ladder: severity: "),
        ({"at_least": 1}, "ladder: expected either below or at_least"),
        ({"colour": "red"}, "ladder: colour: "),
        ({"below": "ten"}, "ladder: bound: "),
    ],
)
def test_an_invalid_target_is_rejected(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(LADDER | wrong)
    with pytest.raises(ValueError, match="same title"):
        parsed(LADDER, LADDER)
    with pytest.raises(ValueError, match="ladder: unit: Field required"):
        parsed({name: value for name, value in LADDER.items() if name != "unit"})


def test_the_declared_targets_are_valid() -> None:
    assert {one.area for one in targets()} == set(Area)
    assert {f"target {one.title}" for one in targets()} <= explanations().keys()
    assert len({one.check for one in targets()}) == len(targets())
    assert targets()[0].check == "reading_a_ladders_rows_p95"


def test_labels_select_the_measurements_of_a_target() -> None:
    total = {**LADDER, "measurement": "latency", "labels": {"stage": "total"}}
    measured = [
        *percentiles("latency", Unit.MILLISECONDS, [99.0], stage="read"),
        *percentiles("latency", Unit.MILLISECONDS, [3.0], stage="total"),
    ]
    [found] = judge(parsed(total), measured)
    assert (found.state, found.key) == (State.MET, "latency p95 {stage=total}")
    assert judge(parsed({**total, "labels": {"stage": "write"}}), measured)[0].state is State.NOT_MEASURED


def test_a_breach_lasts_when_successive_audits_missed_a_target_for_an_hour() -> None:
    declared = parsed(UPTIME)

    def audits(*values: float | None, apart: timedelta = timedelta(hours=1)) -> list[JudgedAudit]:
        """Newest first."""
        return [
            JudgedAudit(
                NOW - number * apart, judge(declared, [] if value is None else [single("up", Unit.PERCENT, value)])
            )
            for number, value in enumerate(values)
        ]

    def breaches(newest_first: list[JudgedAudit], now: datetime = NOW) -> list[str]:
        return [one.message for one in lasting_breaches(newest_first, now)]

    assert breaches([]) == []
    assert breaches(audits(98.0)) == [], "one sample is no breach"
    assert breaches(audits(98.0, 98.0, 100.0, 98.0)) == []
    assert breaches(audits(100.0, 98.0, 98.0, 98.0)) == [], "the target is met again"
    assert breaches(audits(98.0, 97.0, 96.0, apart=timedelta(minutes=1))) == [], "three within two minutes"
    assert breaches(audits(98.0, 97.0, 96.0, apart=timedelta(hours=5))) == [], "there were no audits in between"
    lasting = audits(98.0, 97.0, 96.0)
    assert breaches(lasting, NOW + timedelta(days=1)) == [], "yesterday's audits do not show that it lasts"
    assert breaches(audits(*[98.0] * 200, apart=timedelta(minutes=1))), "however frequent the audits"
    assert breaches(audits(98.0, None, 97.0, 96.0, 100.0)) == [
        "availability at least 99.90 % was missed by 3 audits since 2026-03-04 09:00 UTC, last with 98.00 %"
    ]
    [unknown] = breaches(audits(None, 97.0, 96.0, 95.0))
    assert unknown.endswith("last with 97.00 %; later audits could not measure it"), "the breach is not over"
    [found] = lasting_breaches(lasting, NOW)
    assert (found.title, found.severity) == ("availability", Severity.P2)


def finding(severity: Severity, area: Area = Area.DATABASE) -> Finding:
    return Finding(f"x {severity}", severity, area, "x", "y", "z", "w")


def test_the_grade_can_be_computed_again_from_findings_and_weights() -> None:
    met = judge(parsed(UPTIME), [single("up", Unit.PERCENT, 100.0)])
    assert score([], met).areas == {
        Area.ANSWERS: 100.0,
        Area.DATABASE: None,
        Area.MAINTENANCE: None,
        Area.RESOURCES: None,
    }
    assert (score([], met).points, score([], met).grade) == (100.0, "A")
    card = score([finding(Severity.P1), finding(Severity.P3)], met)
    expected = 100 - PENALTIES[Severity.P1] - PENALTIES[Severity.P3]
    weights = WEIGHTS[Area.ANSWERS], WEIGHTS[Area.DATABASE]
    assert card.points == pytest.approx((100 * weights[0] + expected * weights[1]) / sum(weights))
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert score([finding(Severity.P0), finding(Severity.P0)], met).areas[Area.DATABASE] == 0
    assert (score([], []).points, score([], []).grade) == (None, "-")


def test_a_missed_target_is_a_finding_with_the_symbol_of_its_measurement() -> None:
    known = {
        "target availability": Finding(
            "target availability",
            Severity.P2,
            Area.DATABASE,
            "missed: availability",
            "",
            "it was stopped",
            "start it",
            command="strikecast rollback {symbol}",
        )
    }
    low = single("up", Unit.PERCENT, 98.0)
    [found] = explain(missed_targets(judge(parsed(UPTIME), [low]), [low]), known)
    assert (found.severity, found.evidence) == (Severity.P2, "98.00 %, wanted at least 99.90 % (up)")
    assert (found.cause, found.remedy, found.command) == ("it was stopped", "start it", "strikecast rollback SYMBOL")
    measured = [single("up", Unit.PERCENT, 99.9, symbol="BTC"), single("up", Unit.PERCENT, 98.0, symbol="ETH")]
    [found] = explain(missed_targets(judge(parsed(UPTIME), measured), measured), known)
    assert found.command == "strikecast rollback ETH"


def table(**changes: Any) -> TableFacts:
    facts = {
        "table": "live_data.x",
        "heap_bytes": 1_000_000,
        "toast_bytes": 8_192,
        "index_bytes": 500_000,
        "rows": 1_000_000,
        "dead_rows": 100,
        "index_scans": 0,
        "sequential_scans": 0,
        "rows_read_sequentially": 0,
    }
    return TableFacts(**facts | changes)


def index(**changes: Any) -> IndexFacts:
    facts = {
        "index": "live_data.x_i",
        "table": "live_data.x",
        "bytes": 2**21,
        "scans": 5,
        "constrained": False,
        "covered_by": None,
    }
    return IndexFacts(**facts | changes)


#: Values of a healthy server.
HEALTHY = {
    "blocks_requested": 1e6,
    "cache_hits": 99.0,
    "connections": 10.0,
    "connections_allowed": 100.0,
    "oldest_transaction_age": 1e6,
    "oldest_multixact_age": 1.0,
    "checkpoints {why=their time}": 500.0,
    "checkpoints {why=early}": 200.0,
}
MONTH = 30 * 86_400.0


def keys_of(detections: list[Detection]) -> list[str]:
    """Keys; every kind has an explanation."""
    return [one.key for one in explain(detections, explanations())]


def test_a_healthy_database_has_no_findings() -> None:
    assert measure_tables([table()]).detections == []
    assert detect_indexes([index()], MONTH) == []
    assert detect_server(HEALTHY) == []
    assert table().total_bytes == 1_508_192
    sizes = [one.value for one in measure_tables([table()]).items if one.name == "table_size"]
    assert sum(sizes) == table().total_bytes, "nothing is counted twice"
    values = measure_tables([table(index_scans=30, sequential_scans=10)]).values()
    assert values["table_index_use {table=live_data.x}"] == 75
    assert "table_index_use {table=live_data.x}" not in measure_tables([table()]).values(), "it was never read"


def test_dead_rows_are_detected() -> None:
    assert keys_of(measure_tables([table(dead_rows=400_000)]).detections) == ["dead rows live_data.x"]
    assert measure_tables([table(rows=10, dead_rows=900)]).detections == [], "a small table is vacuumed quickly"


def test_sequential_scans_are_detected_by_their_frequency() -> None:
    def found(scans: int, before: int, hours: float, rows_each: int = 900_000, partitions: int = 1) -> list[str]:
        at = NOW - timedelta(hours=hours)
        now = table(
            sequential_scans=scans, rows_read_sequentially=7 + (scans - before) * rows_each, partitions=partitions
        )
        earlier = {
            "table_sequential_scans {table=live_data.x}": Reading(at, before),
            "table_rows_read_sequentially {table=live_data.x}": Reading(at, 7.0),
        }
        return keys_of(detect_scans([now], earlier, NOW))

    assert found(150, 100, 2) == ["sequential scans live_data.x"]
    assert found(150, 100, 2, 95_000, 10) == ["sequential scans live_data.x"], "one partition is enough"
    assert found(150, 100, 2, 85_000, 11) == [], "small partitions are best read so"
    assert found(150, 100, 2, 1_000) == [], "a limit ends the scan early"
    assert found(150, 140, 2) == [], "ten are a build and a backup"
    assert found(150, 100, 72) == [], "fifty in three days are maintenance"
    assert found(150, 100, 0.5) == [], "half an hour is too short"
    assert found(5, 1_000, 24) == [], "the server lost its counts"
    assert detect_scans([table(sequential_scans=9_999)], {}, NOW) == [], "there is no earlier audit"


def test_redundant_and_unused_indexes_are_detected_after_a_week_of_statistics() -> None:
    redundant = index(covered_by="live_data.x_pkey")
    assert keys_of(detect_indexes([redundant], MONTH)) == ["redundant index live_data.x_i"]
    assert detect_indexes([index(covered_by="live_data.x_pkey", constrained=True)], MONTH) == []
    assert keys_of(detect_indexes([index(scans=0)], MONTH)) == ["unused index live_data.x_i"]
    assert detect_indexes([index(scans=0)], 2 * 86_400.0) == []
    assert detect_indexes([index(scans=0, constrained=True)], MONTH) == []


@pytest.mark.parametrize(
    ("changes", "key", "severity"),
    [
        ({"oldest_transaction_age": 1.2e9}, "transaction age", Severity.P1),
        ({"oldest_multixact_age": 1.9e9}, "transaction ID wraparound", Severity.P0),
        ({"connections": 95.0}, "connections", Severity.P1),
        ({"cache_hits": 50.0}, "cache", Severity.P3),
        ({"checkpoints {why=their time}": 10.0}, "early checkpoints", Severity.P3),
    ],
)
def test_problems_of_the_server_are_detected(changes: dict[str, float], key: str, severity: Severity) -> None:
    found = explain(detect_server(HEALTHY | changes), explanations())
    assert [(one.key, one.severity) for one in found] == [(key, severity)]


def settings(**changes: Any) -> SettingsFacts:
    facts = {
        "shared_buffers_bytes": 512e6,
        "effective_cache_size_bytes": 4e9,
        "work_mem_bytes": 4e6,
        "max_connections": 100,
        "fsync": True,
        "full_page_writes": True,
        "autovacuum": True,
        "track_counts": True,
    }
    return SettingsFacts(**facts | changes)


@pytest.mark.parametrize(
    ("changes", "key", "severity"),
    [
        ({"fsync": False}, "setting fsync", Severity.P0),
        ({"full_page_writes": False}, "setting full_page_writes", Severity.P1),
        ({"autovacuum": False}, "setting autovacuum", Severity.P1),
        ({"shared_buffers_bytes": 16e6}, "small shared_buffers", Severity.P3),
        ({"shared_buffers_bytes": 15e9}, "large shared_buffers", Severity.P2),
        ({"effective_cache_size_bytes": 64e9}, "setting effective_cache_size", Severity.P3),
        ({"work_mem_bytes": 1e9}, "setting work_mem", Severity.P3),
    ],
)
def test_settings_that_do_not_fit_the_machine_are_detected(
    changes: dict[str, Any], key: str, severity: Severity
) -> None:
    assert detect_settings(settings(), 2e9, 24e9) == []
    found = explain(detect_settings(settings(**changes), 2e9, 24e9), explanations())
    assert [(one.key, one.severity) for one in found] == [(key, severity)]
    without_memory = keys_of(detect_settings(settings(**changes), 2e9, None))
    assert without_memory == ([key] if severity in {Severity.P0, Severity.P1} else []), "the memory is not known"


def test_lag_and_an_unused_extension_are_detected() -> None:
    lags = [
        single("replication_lag_size", Unit.BYTES, 1e6, standby="slow"),
        single("replication_lag", Unit.SECONDS, 600, standby="slow"),
        single("replication_lag_size", Unit.BYTES, 5e9, standby="far"),
        single("replication_lag_size", Unit.BYTES, 0, standby="fine"),
        single("replication_lag", Unit.SECONDS, 0, standby="fine"),
    ]
    assert [one.key for one in detect_lag(lags)] == ["replication lag slow", "replication lag far"]
    assert detect_extension(ExtensionFacts(available=False, loaded=False, schema=None)) == [], "it is not installed"
    assert detect_extension(ExtensionFacts(available=True, loaded=True, schema="public")) == []
    for loaded in (True, False):
        [found] = explain(detect_extension(ExtensionFacts(available=True, loaded=loaded, schema=None)), explanations())
        assert "pg_stat_statements" in found.key


def test_bloat_and_growth_are_computed_from_bytes_and_rows() -> None:
    bloated = measure_tables([table(heap_bytes=400_000_000, bloat_bytes=300_000_000)])
    assert keys_of(bloated.detections) == ["bloat live_data.x"]
    assert measure_tables([table(heap_bytes=400_000_000, bloat_bytes=150_000_000)]).detections == []
    rows = "table_rows {table=live_data.x}"
    before = {rows: Reading(NOW - timedelta(days=2), 800_000.0)}
    growth, ahead = measure_growth([table()], before, NOW).items
    assert growth.value == pytest.approx(100_000 * 1.508192), "a hundred thousand rows a day, 1.508192 bytes each"
    assert ahead.value == pytest.approx(1_508_192 + 30 * growth.value)
    assert measure_growth([table()], {rows: Reading(NOW - timedelta(minutes=9), 1.0)}, NOW).items == []
    assert measure_growth([table()], {}, NOW).items == []


def test_plans_have_a_shape_and_wasteful_sequential_scans() -> None:
    scan = {"Node Type": "Seq Scan", "Relation Name": "x", "Actual Rows": 1, "Rows Removed by Filter": 5_000}
    plan = {"Node Type": "Limit", "Plans": [{"Node Type": "Index Scan", "Index Name": "x_pkey"}, scan]}
    assert shape(plan) == "Limit > Index Scan on x_pkey > Seq Scan on x"
    days = [{"Node Type": "Seq Scan", "Relation Name": f"x_2026010{day}"} for day in range(1, 8)]
    assert shape({"Node Type": "Append", "Plans": days}) == "Append > Seq Scan on x_* (7)"
    assert sequential_scans(plan) == ["x"]
    assert sequential_scans({**scan, "Rows Removed by Filter": 3}) == [], "a few rows are cheap to read"
    assert sequential_scans({**scan, "Actual Rows": 4_000}) == [], "most of the table is needed"
    assert sequential_scans({**scan, "Rows Removed by Filter": 30, "Actual Loops": 900}) == ["x"], "the loops add up"
