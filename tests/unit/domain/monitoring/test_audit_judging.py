"""Targets, findings, bands and the grade: what follows from figures."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.domain.monitoring.audit.database import (
    IndexFacts,
    TableFacts,
    growth_figures,
    index_findings,
    scan_findings,
    table_figures,
    table_findings,
)
from pipelines.domain.monitoring.audit.execution_plans import sequential_scans, shape
from pipelines.domain.monitoring.audit.findings import (
    PENALTIES,
    WEIGHTS,
    Advice,
    Finding,
    Scorecard,
    missed_targets,
    score,
)
from pipelines.domain.monitoring.audit.history import Reading
from pipelines.domain.monitoring.audit.measurements import Unit, one, percentiles
from pipelines.domain.monitoring.audit.server import (
    CheckpointFacts,
    ServerFacts,
    SettingsFacts,
    StandbyFacts,
    checkpoint_figures,
    checkpoint_findings,
    extension_findings,
    server_figures,
    server_findings,
    settings_findings,
    standby_findings,
    standbys_measured,
)
from pipelines.domain.monitoring.audit.targets import (
    Area,
    Judged,
    Severity,
    State,
    judge,
    lasting_breaches,
    parse_targets,
)
from pipelines.domain.monitoring.audit.uptime import covered_seconds
from pipelines.monitoring.audit.run import advice, targets

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LADDER = {
    "title": "ladder",
    "figure": "query",
    "statistic": "p95",
    "below": 10,
    "unit": "ms",
    "severity": "P1",
    "area": "answers",
}
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
    assert advice().keys() == {one.title for one in targets()}
    assert len({one.check for one in targets()}) == len(targets())
    assert targets()[0].check == "reading_a_ladders_rows_p95"


def test_a_target_can_be_of_one_of_several_figures() -> None:
    total = {**LADDER, "figure": "latency", "labels": {"stage": "total"}}
    figures = [
        *percentiles("latency", Unit.MILLISECONDS, [99.0], stage="read"),
        *percentiles("latency", Unit.MILLISECONDS, [3.0], stage="total"),
    ]
    [found] = judge(parsed(total), figures)
    assert (found.state, found.key) == (State.MET, "latency p95 {stage=total}")
    assert judge(parsed({**total, "labels": {"stage": "write"}}), figures)[0].state is State.NOT_MEASURED


def test_a_breach_lasts_when_audit_after_audit_missed_it_for_an_hour() -> None:
    declared = parsed(UPTIME)

    def audits(*values: float | None, apart: timedelta = timedelta(hours=1)) -> list[Judged]:
        """Newest first."""
        return [
            Judged(NOW - number * apart, judge(declared, [] if value is None else [one("up", Unit.PERCENT, value)]))
            for number, value in enumerate(values)
        ]

    def breaches(newest_first: list[Judged], now: datetime = NOW) -> list[str]:
        return [one.message for one in lasting_breaches(newest_first, now)]

    assert breaches([]) == []
    assert breaches(audits(98.0)) == [], "one sample is no breach"
    assert breaches(audits(98.0, 98.0, 100.0, 98.0)) == []
    assert breaches(audits(100.0, 98.0, 98.0, 98.0)) == [], "it is met again"
    assert breaches(audits(98.0, 97.0, 96.0, apart=timedelta(minutes=1))) == [], "three in a row by hand"
    assert breaches(audits(98.0, 97.0, 96.0, apart=timedelta(hours=5))) == [], "nobody looked in between"
    lasting = audits(98.0, 97.0, 96.0)
    assert breaches(lasting, NOW + timedelta(days=1)) == [], "what was yesterday is not known to last"
    assert breaches(audits(*[98.0] * 200, apart=timedelta(minutes=1))), "however often somebody looks"
    assert breaches(audits(98.0, None, 97.0, 96.0, 100.0)) == [
        "there at least 99.90 % was missed by 3 audits from 2026-03-04 09:00 UTC on, by the last with 98.00 %"
    ]
    [unknown] = breaches(audits(None, 97.0, 96.0, 95.0))
    assert unknown.endswith("by the last with 97.00 %; since then it could not be measured"), "that is not over"
    [found] = lasting_breaches(lasting, NOW)
    assert (found.title, found.severity) == ("there", Severity.P2)


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
    known = {"there": Advice("it was stopped", "start it", "strikecast up")}
    low = one("up", Unit.PERCENT, 98.0)
    [told] = missed_targets(judge(parsed(UPTIME), [low]), known, [low])
    assert (told.severity, told.evidence) == (Severity.P2, "98.00 %, wanted at least 99.90 % (up)")
    assert (told.cause, told.remedy, told.command) == ("it was stopped", "start it", "strikecast up")
    of_symbol = {"there": Advice("it was stopped", "start it", "strikecast rollback {symbol}")}
    figures = [one("up", Unit.PERCENT, 99.9, symbol="BTC"), one("up", Unit.PERCENT, 98.0, symbol="ETH")]
    [told] = missed_targets(judge(parsed(UPTIME), figures), of_symbol, figures)
    assert told.command == "strikecast rollback ETH", "what is sound is left alone"


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


def server(**changes: Any) -> ServerFacts:
    facts = {
        "blocks_hit": 1e6,
        "blocks_read": 1e4,
        "connections": 10.0,
        "connections_allowed": 100.0,
        "longest_transaction_seconds": None,
        "hidden": 0,
        "locks_waited_for": 0.0,
        "xid_age": 1e6,
        "multixact_age": 1.0,
        "deadlocks": 0.0,
        "temporary_bytes": 0.0,
        "uptime_seconds": 8 * 86_400.0,
        "statistics_since": None,
        "database_bytes": 1e9,
    }
    return ServerFacts(**facts | changes)


def test_a_healthy_database_has_no_findings() -> None:
    assert table_findings([table()]) == []
    assert index_findings([index()], server(), NOW) == []
    assert server_findings(server()) == []
    assert table().total_bytes == 1_508_192
    sizes = [one.value for one in table_figures([table()]) if one.name == "table_size"]
    assert sum(sizes) == table().total_bytes, "nothing is counted twice"
    used = {one.key: one.value for one in table_figures([table(index_scans=30, sequential_scans=10)])}
    assert used["table_index_use {table=live_data.x}"] == 75
    assert not any(one.name == "table_index_use" for one in table_figures([table()])), "nobody read it"
    assert not any(one.name == "longest_transaction" for one in server_figures(server())), "no transaction is no zero"


def test_dead_rows_are_found() -> None:
    assert [one.key for one in table_findings([table(dead_rows=400_000)])] == ["dead rows live_data.x"]
    assert table_findings([table(rows=10, dead_rows=900)]) == [], "a small table is vacuumed in no time"


def test_sequential_scans_are_found_by_how_often_they_happen() -> None:
    def found(scans: int, before: int, hours: float, rows_each: int = 900_000, partitions: int = 1) -> list[str]:
        at = NOW - timedelta(hours=hours)
        now = table(
            sequential_scans=scans, rows_read_sequentially=7 + (scans - before) * rows_each, partitions=partitions
        )
        earlier = {"live_data.x": Reading(at, before)}, {"live_data.x": Reading(at, 7.0)}
        return [one.key for one in scan_findings([now], *earlier, NOW)]

    assert found(150, 100, 2) == ["sequential scans live_data.x"]
    assert found(150, 100, 2, 95_000, 10) == ["sequential scans live_data.x"], "one partition is enough"
    assert found(150, 100, 2, 85_000, 11) == [], "small ones are best read so"
    assert found(150, 100, 2, 1_000) == [], "a limit ends it early"
    assert found(150, 140, 2) == [], "ten are a build and a backup"
    assert found(150, 100, 72) == [], "fifty in three days are maintenance"
    assert found(150, 100, 0.5) == [], "half an hour is too short to tell"
    assert found(5, 1_000, 24) == [], "the server lost its counts"
    assert scan_findings([table(sequential_scans=9_999)], {}, {}, NOW) == [], "without an audit before nothing is known"


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
        ({"connections": 95.0}, "connections", Severity.P1),
        ({"blocks_read": 1e6}, "cache", Severity.P3),
    ],
)
def test_what_is_wrong_with_the_server_is_found(changes: dict[str, Any], key: str, severity: Severity) -> None:
    assert [(one.key, one.severity) for one in server_findings(server(**changes))] == [(key, severity)]


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
        ({"shared_buffers_bytes": 16e6}, "setting shared_buffers", Severity.P3),
        ({"shared_buffers_bytes": 15e9}, "setting shared_buffers", Severity.P2),
        ({"effective_cache_size_bytes": 64e9}, "setting effective_cache_size", Severity.P3),
        ({"work_mem_bytes": 1e9}, "setting work_mem", Severity.P3),
    ],
)
def test_settings_that_do_not_fit_the_machine_are_found(changes: dict[str, Any], key: str, severity: Severity) -> None:
    assert settings_findings(settings(), 2e9, 24e9) == []
    found = settings_findings(settings(**changes), 2e9, 24e9)
    assert [(one.key, one.severity) for one in found] == [(key, severity)]
    of_its_own = [one.key for one in settings_findings(settings(**changes), 2e9, None)]
    assert of_its_own == ([key] if severity in {Severity.P0, Severity.P1} else []), (
        "another machine's memory is not known"
    )


def test_checkpoints_standbys_and_extensions_that_need_a_look_are_found() -> None:
    busy = CheckpointFacts(timed=10, requested=200)
    assert [one.key for one in checkpoint_findings(busy)] == ["early checkpoints"]
    assert checkpoint_findings(CheckpointFacts(500, 200)) == []
    assert [one.value for one in checkpoint_figures(busy)] == [10, 200]
    standbys = [StandbyFacts("slow", 1e6, 600), StandbyFacts("far", 5e9, None), StandbyFacts("fine", 0, 0)]
    assert [one.key for one in standby_findings(standbys)] == ["replication lag slow", "replication lag far"]
    measured = standbys_measured([*standbys, StandbyFacts("hidden", None, None)])
    assert [one.key for one in measured.figures if one.name == "replication_lag"] == [
        "replication_lag {standby=slow}",
        "replication_lag {standby=fine}",
    ]
    assert [one.name for one in measured.gaps] == ["replication lag of hidden"]
    assert [one.why for one in standbys_measured([]).gaps] == ["nobody follows this server"]
    assert extension_findings(available=False, loaded=False, created=False) == [], "nobody can help it"
    assert extension_findings(available=True, loaded=True, created=True) == []
    for loaded in (True, False):
        [found] = extension_findings(available=True, loaded=loaded, created=False)
        assert found.key == "pg_stat_statements"


def test_bloat_and_growth_follow_from_bytes_and_rows() -> None:
    assert [one.key for one in table_findings([table(heap_bytes=400_000_000, bloat_bytes=300_000_000)])] == [
        "bloat live_data.x"
    ]
    assert table_findings([table(heap_bytes=400_000_000, bloat_bytes=150_000_000)]) == []
    before = {"live_data.x": Reading(NOW - timedelta(days=2), 800_000.0)}
    growth, ahead = growth_figures([table()], before, NOW)
    assert growth.value == pytest.approx(100_000 * 1.508192), "a hundred thousand rows a day, 1.508192 bytes each"
    assert ahead.value == pytest.approx(1_508_192 + 30 * growth.value)
    assert growth_figures([table()], {"live_data.x": Reading(NOW - timedelta(minutes=9), 1.0)}, NOW) == ()
    assert growth_figures([table()], {}, NOW) == ()


def test_plans_tell_their_shape_and_what_they_read_from_end_to_end() -> None:
    scan = {"Node Type": "Seq Scan", "Relation Name": "x", "Actual Rows": 1, "Rows Removed by Filter": 5_000}
    plan = {"Node Type": "Limit", "Plans": [{"Node Type": "Index Scan", "Index Name": "x_pkey"}, scan]}
    assert shape(plan) == "Limit > Index Scan on x_pkey > Seq Scan on x"
    days = [{"Node Type": "Seq Scan", "Relation Name": f"x_2026010{day}"} for day in range(1, 8)]
    assert shape({"Node Type": "Append", "Plans": days}) == "Append > Seq Scan on x_* (7)"
    assert sequential_scans(plan) == ["x"]
    assert sequential_scans({**scan, "Rows Removed by Filter": 3}) == [], "a few rows are best read at once"
    assert sequential_scans({**scan, "Actual Rows": 4_000}) == [], "most of a table is best read from end to end"
    assert sequential_scans({**scan, "Rows Removed by Filter": 30, "Actual Loops": 900}) == ["x"], "time and again"


def test_overlapping_sessions_are_not_counted_twice() -> None:
    def at(*minutes: int) -> tuple[datetime, ...]:
        return tuple(NOW + timedelta(minutes=minute) for minute in minutes)

    start, stop = at(0, 60)
    assert covered_seconds([at(-10, 20), at(15, 30), at(50, 90), at(16, 18)], start, stop) == 40 * 60  # type: ignore[list-item]
    assert covered_seconds([], start, stop) == 0
    assert covered_seconds([at(-20, -10)], start, stop) == 0  # type: ignore[list-item]
