"""Plans of retention from facts."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.maintenance.retention import (
    ClosedDayFacts,
    Facts,
    GenerationFacts,
    PartitionFacts,
    RetentionPolicy,
    RunFacts,
    SessionFacts,
    effective_time,
    plan_retention,
)

NOW = datetime(2026, 3, 31, 2, tzinfo=UTC)
POLICY = RetentionPolicy()


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def session(status: str, age_days: float, *, snapshots: int = 10, old: int = 0, is_desk: bool = False) -> SessionFacts:
    return SessionFacts("s", 100, days_ago(age_days), status, snapshots, old, is_desk)


def day(days: int, table: str = "price_log", **state: bool) -> PartitionFacts:
    when = (NOW - timedelta(days=days)).date()
    return PartitionFacts(table, f"{table}_{when:%Y%m%d}", when, 1000, **state)


def generation(
    number: int, *, complete: bool = True, published: bool = True, active: bool = False, age: float = 5.0
) -> GenerationFacts:
    return GenerationFacts(number, "BTC", "momentum", complete, published, active, days_ago(age), 41)


def run(number: int, job: str, age_days: float | None, *, newest: bool = False) -> RunFacts:
    return RunFacts(f"run{number}", job, None if age_days is None else days_ago(age_days), newest)


def test_an_ended_session_is_deleted_completely_when_its_newest_snapshot_expires() -> None:
    plan = plan_retention(Facts([session("stopped", 31, snapshots=7, old=6)]), POLICY, NOW)
    (removal,) = plan.sessions
    assert (removal.last_snapshot, removal.before, removal.snapshots) == (100, None, 7)
    assert plan.silent == ()


def test_an_ended_session_is_kept_completely_until_it_expires() -> None:
    plan = plan_retention(Facts([session("stopped", 29, old=500)]), POLICY, NOW)
    assert plan.sessions == ()
    assert "500 snapshots of s: it ended" in plan.kept[0]


def test_a_running_session_loses_expired_snapshots_except_the_newest() -> None:
    plan = plan_retention(Facts([session("running", 0.01, old=500)]), POLICY, NOW)
    (removal,) = plan.sessions
    assert (removal.last_snapshot, removal.before) == (99, days_ago(30))
    assert plan_retention(Facts([session("running", 0.2, old=0)]), POLICY, NOW).sessions == ()


def test_a_session_without_a_heartbeat_is_crashed_and_deleted_by_a_later_run() -> None:
    plan = plan_retention(Facts([session("running", 0.5, old=3)]), POLICY, NOW)
    assert [one.session_id for one in plan.silent] == ["s"]
    assert plan.sessions == (), "it ended half a day ago"
    plan = plan_retention(Facts([session("running", 40, old=3)]), POLICY, NOW)
    assert plan.silent
    assert plan.sessions == (), "the next run deletes it, as a crashed one"
    assert plan_retention(Facts([session("crashed", 40, old=3)]), POLICY, NOW).sessions[0].before is None


@pytest.mark.parametrize("status", ["running", "stopped", "crashed"])
@pytest.mark.parametrize("age_days", [0.01, 0.5, 29, 400])
def test_the_newest_snapshot_of_a_desk_is_kept_as_it_is(status: str, age_days: float) -> None:
    plan = plan_retention(Facts([session(status, age_days, is_desk=True)]), POLICY, NOW)
    assert plan.silent == ()
    assert plan.sessions == ()
    plan = plan_retention(Facts([session(status, age_days, old=9, is_desk=True)]), POLICY, NOW)
    assert plan.silent == ()
    assert [(one.last_snapshot, one.before, one.snapshots) for one in plan.sessions] == [(99, days_ago(30), 9)]


def test_a_clock_that_jumps_advances_two_days_and_deletes_no_running_session() -> None:
    jumped = NOW + timedelta(days=365)
    as_of = effective_time(jumped, days_ago(1))
    assert as_of == NOW + timedelta(days=1)
    plan = plan_retention(Facts([session("running", 0.001), session("stopped", 1)]), POLICY, as_of)
    assert plan.sessions == ()
    assert effective_time(NOW, days_ago(1)) == NOW
    assert effective_time(days_ago(5), NOW) == days_ago(5)
    assert effective_time(NOW, None) == NOW


def test_days_older_than_the_policy_are_dropped() -> None:
    days = [day(number) for number in range(33)]
    plan = plan_retention(Facts(partitions=days, newest_row_at=(("price_log", NOW),)), POLICY, NOW)
    assert [one.target for one in plan.partitions] == [day(32).name, day(31).name]


@pytest.mark.parametrize("jump_days", [2, 400, 40_000])
def test_a_clock_that_jumps_forward_drops_nothing(jump_days: int) -> None:
    days = [day(number) for number in range(30)]
    jumped = NOW + timedelta(days=jump_days)
    plan = plan_retention(Facts(partitions=days, newest_row_at=(("price_log", NOW),)), POLICY, jumped)
    assert plan.partitions == ()
    assert "counted from its newest row" in plan.kept[0]


def test_a_clock_that_jumps_back_drops_nothing() -> None:
    days = [day(number) for number in range(33)]
    plan = plan_retention(Facts(partitions=days, newest_row_at=(("price_log", NOW),)), POLICY, days_ago(20))
    assert plan.partitions == ()


def test_the_number_of_days_dropped_per_run_is_limited() -> None:
    days = [day(number) for number in range(100)]
    plan = plan_retention(Facts(partitions=days, newest_row_at=(("price_log", NOW),)), POLICY, NOW)
    assert [one.target for one in plan.partitions] == [day(number).name for number in range(99, 89, -1)]
    assert plan.kept == ("59 expired days of price_log: the limit is 10 per run",)


def test_days_of_an_empty_table_are_kept() -> None:
    facts = Facts(partitions=[day(400)], newest_row_at=(("price_log", None),))
    assert plan_retention(facts, POLICY, NOW).partitions == ()


def test_an_interrupted_detach_is_finished() -> None:
    facts = Facts(
        partitions=[day(50, attached=False), day(49, detaching=True), day(3, attached=False)],
        newest_row_at=(("price_log", NOW),),
    )
    removals = plan_retention(facts, POLICY, NOW).partitions
    assert [(one.target, one.reason) for one in removals] == [
        (day(49).name, "an earlier removal was interrupted"),
        (day(50).name, "older than 30 days, already detached"),
    ], "a detached day within the period is kept"


def test_each_table_has_its_own_period() -> None:
    facts = Facts(
        partitions=[day(31), day(31, "answer"), day(91, "answer")],
        newest_row_at=(("price_log", NOW), ("answer", NOW)),
    )
    assert [one.target for one in plan_retention(facts, POLICY, NOW).partitions] == [
        day(31).name,
        day(91, "answer").name,
    ]


def closed(*days: int) -> list[ClosedDayFacts]:
    return [ClosedDayFacts((NOW - timedelta(days=one)).date(), 1_500) for one in days]


def test_days_of_expired_markets_are_removed_oldest_first_within_the_limit() -> None:
    plan = plan_retention(Facts(closed_days=closed(401, *range(403, 414))), POLICY, NOW)
    assert [one.target for one in plan.markets] == [str(one.day) for one in closed(*range(413, 403, -1))]
    assert plan.markets[0].reason == "1,500 markets, older than 400 days"
    assert plan.kept == ("2 days of expired markets: the limit is 10 per run",)
    assert plan.markets_before == days_ago(400)
    assert ("archive and delete", f"markets closed {plan.markets[0].target}", plan.markets[0].reason) in plan.lines()


def test_markets_are_kept_while_quotes_received_until_the_day_after_their_close_may_be_stored() -> None:
    facts = Facts(
        partitions=[day(409, "market_quote"), day(3, "market_quote")], closed_days=closed(412, 411, 410, 409, 405)
    )
    plan = plan_retention(facts, POLICY, NOW)
    assert [one.target for one in plan.markets] == [str(one.day) for one in closed(412, 411)]
    assert f"4,500 expired markets: quotes are stored from {closed(409)[0].day} on" in plan.kept


def test_the_newest_generations_and_the_published_one_with_its_predecessor_are_kept() -> None:
    found = [generation(number) for number in range(1, 9)]
    found[1] = generation(2, active=True)  # after a rollback
    plan = plan_retention(Facts(generations=found), POLICY, NOW)
    assert [one.target for one in plan.generations] == ["3", "4", "5"]
    assert [reason.split(":")[0] for reason in plan.kept] == [
        "generation 2 of BTC (momentum)",
        "generation 1 of BTC (momentum)",
    ]


def test_an_incomplete_generation_is_dropped_after_a_day() -> None:
    found = [
        generation(1, complete=False, published=False, age=0.5),
        generation(2, complete=False, published=False, age=1.5),
        generation(3, active=True),
    ]
    assert [one.target for one in plan_retention(Facts(generations=found), POLICY, NOW).generations] == ["2"]


def test_runs_expire_except_the_newest_of_a_job_and_holders_of_a_newest_event() -> None:
    runs = [run(number, "live_refresh", number) for number in range(20)]
    runs += [run(100 + number, "weekly", number * 7) for number in range(8)]
    runs += [run(200, "live_refresh", None), run(201, "live_refresh", 300, newest=True)]
    plan = plan_retention(Facts(runs=runs), POLICY, NOW)
    dropped = {one.target for one in plan.runs}
    assert dropped == {f"run{number}" for number in range(7, 20)} | {"run105", "run106", "run107"}
    assert plan.kept == ("1 old runs: they hold the newest materialization or check of something",)


def test_a_policy_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="session_days, generations must be positive"):
        RetentionPolicy(session_days=0, generations=-1)


@given(
    st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=40, unique_by=lambda one: one[0]),
    st.integers(-1000, 1000),
)
def test_no_clock_drops_days_within_the_period_before_the_newest_row(
    ages: list[tuple[int, bool]], clock_days: int
) -> None:
    days = [day(age) for age, _ in ages]
    plan = plan_retention(
        Facts(partitions=days, newest_row_at=(("price_log", NOW),)), POLICY, NOW + timedelta(days=clock_days)
    )
    dropped = {one.target for one in plan.partitions}
    assert len(dropped) <= POLICY.most_partitions
    assert not {one.name for one in days if one.day >= date(2026, 3, 1)} & dropped
