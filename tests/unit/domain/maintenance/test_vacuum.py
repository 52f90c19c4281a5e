"""What a vacuum decides: pure plans from statistics."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.domain.maintenance.vacuum import IndexHealth, TableHealth, VacuumPlan, VacuumPolicy, plan_vacuum

NOW = datetime(2026, 3, 29, 1, tzinfo=UTC)
WELL = TableHealth(
    "live_data.t", False, 100_000, 0, 0, 10_000_000, 0, 1000, 1, NOW - timedelta(days=1), NOW - timedelta(days=1)
)
INDEX = IndexHealth("live_data.i", "live_data.t", 10 * 2**20, 0, True)


def decide(*tables: TableHealth, urgent_only: bool = False) -> VacuumPlan:
    return plan_vacuum(tables, [], VacuumPolicy(), NOW, urgent_only=urgent_only, reindex=False)


def test_a_table_that_is_well_is_left_alone() -> None:
    assert decide(WELL).tables == ()


def test_dead_rows_are_a_reason_and_many_an_urgent_one() -> None:
    some, many = replace(WELL, dead_rows=5_000), replace(WELL, table="live_data.u", dead_rows=50_000)
    plan = decide(some, many)
    assert [(one.table, one.why) for one in plan.tables] == [
        ("live_data.u", "50,000 dead rows, 33% of it"),
        ("live_data.t", "5,000 dead rows, 5% of it"),
    ]
    assert [one.table for one in decide(some, many, urgent_only=True).tables] == ["live_data.u"]


def test_few_dead_rows_of_a_small_table_are_no_reason() -> None:
    assert decide(replace(WELL, rows=10, dead_rows=900)).tables == ()


@pytest.mark.parametrize("field", ["xid_age", "multixact_age"])
def test_old_transaction_numbers_freeze_and_very_old_ones_come_first(field: str) -> None:
    old = replace(WELL, **{field: 120_000_000})
    (step,) = decide(old).tables
    assert (step.freeze, step.why) == (True, "its oldest row is 120 million transactions old")
    assert decide(old, urgent_only=True).tables == ()
    very = replace(WELL, **{field: 190_000_000})
    dead = replace(WELL, table="live_data.u", dead_rows=900_000)
    assert [one.table for one in decide(dead, very, urgent_only=True).tables] == ["live_data.t", "live_data.u"]


def test_a_table_that_changed_is_vacuumed_once_a_week() -> None:
    changed = replace(WELL, changed_rows=10, vacuumed_at=NOW - timedelta(days=7) + timedelta(minutes=2))
    assert decide(changed).tables[0].why == "it changed, and was vacuumed last 2026-03-22"
    assert decide(replace(changed, vacuumed_at=None)).tables[0].why == "it changed, and was vacuumed never"
    assert decide(replace(changed, vacuumed_at=NOW - timedelta(days=6))).tables == ()
    assert decide(changed, urgent_only=True).tables == ()


def test_parents_of_partitions_are_analyzed_and_never_vacuumed() -> None:
    parent = replace(WELL, parent=True, analyzed_at=None, dead_rows=10_000)
    (step,) = decide(parent).tables
    assert step.analyze_only
    assert decide(replace(parent, analyzed_at=NOW)).tables == ()


def test_indexes_are_built_anew_only_when_asked_and_leftovers_always_go() -> None:
    bloated, leftover = replace(INDEX, bloat_bytes=8 * 2**20), replace(INDEX, index="live_data.i_ccnew", valid=False)
    small = replace(INDEX, index="live_data.s", bytes=1000, bloat_bytes=900)

    def steps(*, reindex: bool) -> list[tuple[str, bool]]:
        plan = plan_vacuum(
            [], [bloated, leftover, small, INDEX], VacuumPolicy(), NOW, urgent_only=False, reindex=reindex
        )
        return [(one.index, one.drop) for one in plan.indexes]

    assert steps(reindex=False) == [("live_data.i_ccnew", True)]
    assert steps(reindex=True) == [("live_data.i_ccnew", True), ("live_data.i", False)]


def test_a_policy_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="days must be more than 0"):
        VacuumPolicy(days=0)
