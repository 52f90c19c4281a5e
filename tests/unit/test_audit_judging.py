"""Targets, findings, bands and the grade: what follows from figures."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.audit.run import targets
from pipelines.domain.audit.database import (
    IndexFacts,
    ServerFacts,
    TableFacts,
    index_findings,
    server_figures,
    server_findings,
    table_figures,
    table_findings,
)
from pipelines.domain.audit.figures import Unit, one, percentiles
from pipelines.domain.audit.findings import PENALTIES, WEIGHTS, Finding, Scorecard, missed_targets, score
from pipelines.domain.audit.plans import sequential_scans, shape
from pipelines.domain.audit.slo import Area, Severity, State, judge, parse_targets
from pipelines.domain.audit.uptime import covered_seconds

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LADDER = {
    "title": "ladder", "figure": "query", "statistic": "p95", "below": 10, "unit": "ms", "severity": "P1",
    "area": "answers",
}  # fmt: skip
UPTIME = {"title": "there", "figure": "up", "at_least": 99.9, "unit": "%", "severity": "P2", "area": "answers"}


def parsed(*entries: dict[str, Any]) -> Any:
    return parse_targets({"target": entries})


def test_a_target_is_met_missed_or_not_measured() -> None:
    declared = parsed(LADDER, UPTIME)
    assert [one.told for one in declared] == ["ladder below 10 ms", "there at least 99.90 %"]
    fast = percentiles("query", Unit.MILLISECONDS, [1.0] * 20, symbol="BTC")
    slow = percentiles("query", Unit.MILLISECONDS, [12.0] * 20, symbol="ETH")
    ladder, there = judge(declared, [*fast, *slow])
    assert (ladder.state, ladder.value, ladder.key) == (State.MISSED, 12.0, "query p95 {symbol=ETH}"), (
        "the worst decides"
    )
    assert (there.state, there.value) == (State.NOT_MEASURED, None)
    assert [one.state for one in judge(declared, [*fast, one("up", Unit.PERCENT, 99.9)])] == [State.MET, State.MET]
    assert judge(declared, [one("up", Unit.PERCENT, 99.89)])[1].state is State.MISSED


def test_a_figure_in_another_unit_is_no_figure_of_a_target() -> None:
    with pytest.raises(ValueError, match="declared in ms, but query p95 is in s"):
        judge(parsed(LADDER), percentiles("query", Unit.SECONDS, [1.0]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "furlongs"}, "ladder: 'furlongs' is not a valid Unit"),
        ({"severity": "P9"}, "ladder: 'P9'"),
        ({"at_least": 1}, "ladder: too many values"),
        ({"colour": "red"}, "ladder: it has colour"),
        ({"below": "ten"}, "ladder: could not convert"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(LADDER | wrong)
    with pytest.raises(ValueError, match="one title"):
        parsed(LADDER, LADDER)
    with pytest.raises(ValueError, match="it lacks 'unit'"):
        parsed({name: value for name, value in LADDER.items() if name != "unit"})


def test_the_declared_targets_can_be_read() -> None:
    assert {one.area for one in targets()} == set(Area)


def finding(severity: Severity, area: Area = Area.DATABASE) -> Finding:
    return Finding(f"x {severity}", severity, area, "x", "y", "z", "w")


def test_the_grade_can_be_computed_again_from_findings_and_weights() -> None:
    met = judge(parsed(UPTIME), [one("up", Unit.PERCENT, 100.0)])
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
    assert (Scorecard({}).points, Scorecard({}).grade) == (None, "-")


def test_a_missed_target_is_a_finding_with_its_figure() -> None:
    [told] = missed_targets(judge(parsed(UPTIME), [one("up", Unit.PERCENT, 98.0)]))
    assert (told.severity, told.evidence) == (Severity.P2, "up is 98.00 %; wanted: there at least 99.90 %")


def table(**changes: Any) -> TableFacts:
    facts = {
        "table": "live_data.x", "heap_bytes": 1_000_000, "toast_bytes": 8_192, "index_bytes": 500_000, "rows": 1_000_000,
        "dead_rows": 100, "sequential_scans": 0, "rows_read_sequentially": 0,
    }  # fmt: skip
    return TableFacts(**facts | changes)


def index(**changes: Any) -> IndexFacts:
    facts = {
        "index": "live_data.x_i", "table": "live_data.x", "bytes": 2**21, "scans": 5, "constrained": False,
        "covered_by": None,
    }  # fmt: skip
    return IndexFacts(**facts | changes)


def server(**changes: Any) -> ServerFacts:
    facts = {
        "blocks_hit": 1e6, "blocks_read": 1e4, "connections": 10.0, "connections_allowed": 100.0,
        "longest_transaction_seconds": None, "hidden": 0, "locks_waited_for": 0.0, "xid_age": 1e6, "multixact_age": 1.0,
        "deadlocks": 0.0, "temporary_bytes": 0.0, "uptime_seconds": 8 * 86_400.0, "statistics_since": None,
        "database_bytes": 1e9,
    }  # fmt: skip
    return ServerFacts(**facts | changes)


def test_a_healthy_database_has_no_findings() -> None:
    assert table_findings([table()]) == []
    assert index_findings([index()], server(), NOW) == []
    assert server_findings(server()) == []
    assert table().total_bytes == 1_508_192
    sizes = [one.value for one in table_figures([table()]) if one.name == "table_size"]
    assert sum(sizes) == table().total_bytes, "nothing is counted twice"
    assert not any(one.name == "longest_transaction" for one in server_figures(server())), "no transaction is no zero"


def test_dead_rows_and_sequential_scans_are_found() -> None:
    assert [one.key for one in table_findings([table(dead_rows=400_000)])] == ["dead rows live_data.x"]
    assert table_findings([table(rows=10, dead_rows=900)]) == [], "a small table is vacuumed in no time"
    scanned = table(sequential_scans=50, rows_read_sequentially=50_000_000)
    assert [one.key for one in table_findings([scanned])] == ["sequential scans live_data.x"]


def test_redundant_and_unused_indexes_are_found_when_the_statistics_can_know() -> None:
    redundant = index(covered_by="live_data.x_pkey")
    assert [one.key for one in index_findings([redundant], server(), NOW)] == ["redundant index live_data.x_i"]
    assert index_findings([index(covered_by="live_data.x_pkey", constrained=True)], server(), NOW) == []
    unused = index(scans=0)
    assert [one.key for one in index_findings([unused], server(), NOW)] == ["unused index live_data.x_i"]
    assert index_findings([unused], server(uptime_seconds=3_600.0), NOW) == []
    assert index_findings([unused], server(statistics_since=NOW - timedelta(days=2)), NOW) == []
    assert index_findings([index(scans=0, constrained=True)], server(), NOW) == []


@pytest.mark.parametrize(
    ("changes", "key", "severity"),
    [
        ({"xid_age": 1.2e9}, "transaction age", Severity.P1),
        ({"multixact_age": 1.9e9}, "transaction age", Severity.P0),
        ({"longest_transaction_seconds": 4_000.0}, "long transaction", Severity.P2),
        ({"connections": 95.0}, "connections", Severity.P1),
        ({"blocks_read": 1e6}, "cache", Severity.P3),
    ],
)
def test_what_is_wrong_with_the_server_is_found(changes: dict[str, Any], key: str, severity: Severity) -> None:
    assert [(one.key, one.severity) for one in server_findings(server(**changes))] == [(key, severity)]


def test_plans_tell_their_shape_and_what_they_read_from_end_to_end() -> None:
    scan = {"Node Type": "Seq Scan", "Relation Name": "x", "Actual Rows": 1, "Rows Removed by Filter": 5_000}
    plan = {"Node Type": "Limit", "Plans": [{"Node Type": "Index Scan", "Index Name": "x_pkey"}, scan]}
    assert shape(plan) == "Limit > Index Scan on x_pkey > Seq Scan on x"
    assert sequential_scans(plan) == ["x"]
    assert sequential_scans({**scan, "Rows Removed by Filter": 3}) == [], "a few rows are best read at once"


def test_overlapping_sessions_are_not_counted_twice() -> None:
    def at(*minutes: int) -> tuple[datetime, ...]:
        return tuple(NOW + timedelta(minutes=minute) for minute in minutes)

    start, stop = at(0, 60)
    assert covered_seconds([at(-10, 20), at(15, 30), at(50, 90), at(16, 18)], start, stop) == 40 * 60  # type: ignore[list-item]
    assert covered_seconds([], start, stop) == 0
    assert covered_seconds([at(-20, -10)], start, stop) == 0  # type: ignore[list-item]
