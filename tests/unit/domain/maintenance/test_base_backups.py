"""Which base backups stay, and how much of the log."""

import pytest

from pipelines.domain.maintenance.base_backups import BaseBackup, parse_start_wal, plan_bases


def wal(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{0:08X}{number:08X}"


def base(day: int, number: int, timeline: int = 1) -> BaseBackup:
    return BaseBackup(f"base-202607{day:02}T030000Z", wal(number, timeline))


def test_older_ones_go_and_the_log_before_the_oldest_kept() -> None:
    plan = plan_bases([base(1, 2), base(2, 5), base(3, 9)], keep=2)
    assert [name for name, _ in plan.keep] == ["base-20260703T030000Z", "base-20260702T030000Z"]
    assert plan.delete == (("base-20260701T030000Z", "older than the newest 2"),)
    assert plan.wal_from == wal(5)


def test_one_made_while_the_clock_was_wrong_is_kept_and_so_is_its_log() -> None:
    plan = plan_bases([base(9, 2), base(8, 5), base(1, 9)], keep=1)
    assert {name for name, _ in plan.keep} == {"base-20260709T030000Z", "base-20260701T030000Z"}
    assert plan.wal_from == wal(2)


def test_after_a_promotion_the_newer_timeline_is_the_later_one() -> None:
    assert plan_bases([base(1, 7), base(2, 7, timeline=2)], keep=1).wal_from == wal(7, timeline=2)


def test_after_a_restore_to_an_earlier_second_the_log_of_the_new_timeline_stays() -> None:
    plan = plan_bases([base(1, 0xA0), base(2, 0xFF), base(3, 0x12, timeline=2)], keep=2)
    assert plan.wal_from == wal(0x12, timeline=2)


def test_without_base_backups_no_log_goes() -> None:
    assert plan_bases([], keep=1).wal_from is None


def test_none_may_not_be_kept() -> None:
    with pytest.raises(ValueError, match="at least one base backup is kept, not 0"):
        plan_bases([base(1, 2)], keep=0)


def test_a_label_names_the_first_file_of_the_log() -> None:
    label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000080\n"
    assert parse_start_wal(label) == wal(2)
    with pytest.raises(ValueError, match="names no START WAL LOCATION"):
        parse_start_wal("nothing")
