"""Plans of base backups, and of the WAL that they need."""

from datetime import UTC, datetime

import pytest

from pipelines.domain.maintenance.backups import BaseBackup, parse_start_wal, plan_bases


def wal(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{0:08X}{number:08X}"


def base(day: int, number: int, timeline: int = 1) -> BaseBackup:
    return BaseBackup(f"base-202607{day:02}T030000Z", wal(number, timeline), datetime(2026, 7, day, 3, tzinfo=UTC))


def test_older_base_backups_and_their_wal_are_deleted() -> None:
    plan = plan_bases([base(1, 2), base(2, 5), base(3, 9)], keep=2)
    assert [name for name, _ in plan.keep] == ["base-20260703T030000Z", "base-20260702T030000Z"]
    assert plan.delete == (("base-20260701T030000Z", "older than the newest 2"),)
    assert plan.wal_from == wal(5)


def test_a_base_backup_made_with_a_wrong_clock_is_kept_with_its_wal() -> None:
    plan = plan_bases([base(9, 2), base(8, 5), base(1, 9)], keep=1)
    assert {name for name, _ in plan.keep} == {"base-20260709T030000Z", "base-20260701T030000Z"}
    assert plan.wal_from == wal(2)


def test_after_a_promotion_the_newer_timeline_counts_as_later() -> None:
    assert plan_bases([base(1, 7), base(2, 7, timeline=2)], keep=1).wal_from == wal(7, timeline=2)


def test_after_a_restore_to_an_earlier_second_the_wal_of_the_new_timeline_is_kept() -> None:
    plan = plan_bases([base(1, 0xA0), base(2, 0xFF), base(3, 0x12, timeline=2)], keep=2)
    assert plan.wal_from == wal(0x12, timeline=2)


def test_without_base_backups_no_wal_is_deleted() -> None:
    assert plan_bases([], keep=1).wal_from is None


def test_keeping_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one base backup must be kept, not 0"):
        plan_bases([base(1, 2)], keep=0)


def test_the_label_names_the_first_wal_file() -> None:
    label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000080\n"
    assert parse_start_wal(label) == wal(2)
    with pytest.raises(ValueError, match="names no START WAL LOCATION"):
        parse_start_wal("nothing")
