"""Plans of the vacuum job from statistics."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.domain.maintenance.vacuum import IndexHealth, TableHealth, VacuumPlan, VacuumPolicy, plan_vacuum

NOW = datetime(2026, 3, 29, 1, tzinfo=UTC)
HEALTHY = TableHealth(
    "live_data.t", False, 100_000, 0, 0, 10_000_000, 0, 1000, 1, NOW - timedelta(days=1), NOW - timedelta(days=1)
)
INDEX = IndexHealth("live_data.i", "live_data.t", 10 * 2**20, 0, True)


def make_plan(*tables: TableHealth, urgent_only: bool = False) -> VacuumPlan:
    return plan_vacuum(tables, [], VacuumPolicy(), NOW, urgent_only=urgent_only, reindex=False)


def test_a_healthy_table_is_not_vacuumed() -> None:
    assert make_plan(HEALTHY).tables == ()


def test_dead_rows_need_a_vacuum_and_many_an_urgent_one() -> None:
    some, many = replace(HEALTHY, dead_rows=5_000), replace(HEALTHY, table="live_data.u", dead_rows=50_000)
    plan = make_plan(some, many)
    assert [(one.table, one.reason) for one in plan.tables] == [
        ("live_data.u", "50,000 dead rows, 33% of its rows"),
        ("live_data.t", "5,000 dead rows, 5% of its rows"),
    ]
    assert [one.table for one in make_plan(some, many, urgent_only=True).tables] == ["live_data.u"]


def test_few_dead_rows_of_a_small_table_need_no_vacuum() -> None:
    assert make_plan(replace(HEALTHY, rows=10, dead_rows=900)).tables == ()


@pytest.mark.parametrize("field", ["xid_age", "multixact_age"])
def test_old_transaction_ids_are_frozen_and_very_old_ones_first(field: str) -> None:
    old = replace(HEALTHY, **{field: 120_000_000})
    (step,) = make_plan(old).tables
    assert (step.freeze, step.reason) == (True, "its oldest row is 120 million transactions old")
    assert make_plan(old, urgent_only=True).tables == ()
    very = replace(HEALTHY, **{field: 190_000_000})
    dead = replace(HEALTHY, table="live_data.u", dead_rows=900_000)
    assert [one.table for one in make_plan(dead, very, urgent_only=True).tables] == ["live_data.t", "live_data.u"]


def test_a_changed_table_is_vacuumed_once_a_week() -> None:
    changed = replace(HEALTHY, changed_rows=10, vacuumed_at=NOW - timedelta(days=7) + timedelta(minutes=2))
    assert make_plan(changed).tables[0].reason == "changed; last vacuum: 2026-03-22"
    assert make_plan(replace(changed, vacuumed_at=None)).tables[0].reason == "changed; last vacuum: never"
    assert make_plan(replace(changed, vacuumed_at=NOW - timedelta(days=6))).tables == ()
    assert make_plan(changed, urgent_only=True).tables == ()


def test_partitioned_tables_are_analyzed_and_not_vacuumed() -> None:
    parent = replace(HEALTHY, parent=True, analyzed_at=None, dead_rows=10_000)
    (step,) = make_plan(parent).tables
    assert step.analyze_only
    assert make_plan(replace(parent, analyzed_at=NOW)).tables == ()


def test_indexes_are_rebuilt_on_request_and_invalid_ones_always_dropped() -> None:
    bloated, invalid = replace(INDEX, bloat_bytes=8 * 2**20), replace(INDEX, index="live_data.i_ccnew", valid=False)
    small = replace(INDEX, index="live_data.s", bytes=1000, bloat_bytes=900)

    def steps(*, reindex: bool) -> list[tuple[str, bool]]:
        plan = plan_vacuum(
            [], [bloated, invalid, small, INDEX], VacuumPolicy(), NOW, urgent_only=False, reindex=reindex
        )
        return [(one.index, one.drop) for one in plan.indexes]

    assert steps(reindex=False) == [("live_data.i_ccnew", True)]
    assert steps(reindex=True) == [("live_data.i_ccnew", True), ("live_data.i", False)]


def test_a_policy_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="days must be positive"):
        VacuumPolicy(days=0)
