"""Rotation plans, manifests, and the comparison of restored databases."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.maintenance.backups import (
    KeptBackup,
    RotationPolicy,
    TableFacts,
    differences,
    parse_backup_name,
    parse_manifest,
    plan_rotation,
)
from pipelines.errors import SettingsError
from pipelines.settings import load_settings

NOW = datetime(2026, 7, 15, 3, 5, tzinfo=UTC)
POLICY = RotationPolicy(keep_days=3, keep_daily=5, keep_weekly=3, keep_monthly=2, minimum=2)


def nightly(count: int, *, first_days_ago: int = 0) -> list[KeptBackup]:
    return [
        KeptBackup(f"night-{ago:03}", NOW - timedelta(days=ago, minutes=5))
        for ago in range(first_days_ago, first_days_ago + count)
    ]


def kept(backups: list[KeptBackup], policy: RotationPolicy = POLICY, now: datetime = NOW) -> list[str]:
    return [name for name, _ in plan_rotation(backups, policy, now).keep]


def test_a_year_of_nightly_backups_is_thinned_out() -> None:
    plan = plan_rotation(nightly(365), POLICY, NOW)
    assert dict(plan.keep) == {
        "night-000": "one of the newest 2",
        "night-001": "one of the newest 2",
        "night-002": "of the last 3 days",
        "night-003": "of the last 3 days",
        "night-004": "newest of day 2026-07-11",
        "night-010": "newest of week 2026-W27",
        "night-015": "newest of month 2026-06",
    } | {"night-003": "of the last 3 days"}
    assert len(plan.keep) + len(plan.delete) == 365


def test_the_newest_backups_are_kept_at_any_age() -> None:
    assert kept(nightly(5, first_days_ago=400), RotationPolicy(0, 0, 0, 0, 2), NOW) == ["night-400", "night-401"]


def test_damaged_backups_do_not_count_and_are_kept_for_inspection() -> None:
    backups = [KeptBackup(one.name, one.snapshot_at, "flipped") for one in nightly(2)] + nightly(3, first_days_ago=9)
    plan = plan_rotation(backups, RotationPolicy(1, 0, 0, 0, 2), NOW)
    assert [name for name, _ in plan.keep] == ["night-000", "night-001", "night-009", "night-010"]
    assert plan.delete == (("night-011", "older than any rule keeps"),)


def test_a_clock_that_jumps_deletes_nothing() -> None:
    assert kept(nightly(4), now=NOW + timedelta(days=3650)) == kept(nightly(4))
    assert kept(nightly(4), now=NOW - timedelta(days=3650)) == kept(nightly(4))


def test_without_backups_nothing_is_deleted() -> None:
    assert plan_rotation([], POLICY, NOW).delete == ()


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=40),
    st.builds(
        RotationPolicy, st.integers(0, 30), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(1, 5)
    ),
)
def test_every_policy_keeps_the_minimum_and_lists_each_backup_once(
    found: list[tuple[int, bool]], policy: RotationPolicy
) -> None:
    backups = [
        KeptBackup(f"b{i}", NOW - timedelta(hours=age), "damaged" if bad else None)
        for i, (age, bad) in enumerate(found)
    ]
    plan = plan_rotation(backups, policy, NOW)
    names = [name for name, _ in (*plan.keep, *plan.delete)]
    assert sorted(names) == sorted(one.name for one in backups)
    undamaged = sorted((one for one in backups if one.problem is None), key=lambda one: one.snapshot_at, reverse=True)
    newest = {one.snapshot_at for one in undamaged[: policy.minimum]}
    kept_names = {name for name, _ in plan.keep}
    assert sum(one.name in kept_names for one in undamaged) >= min(policy.minimum, len(undamaged))
    assert newest <= {one.snapshot_at for one in undamaged if one.name in kept_names}


def test_differences_are_listed_by_table() -> None:
    expected = [
        TableFacts("a.same", 1, "7"),
        TableFacts("a.missing", 1, "7"),
        TableFacts("a.rows", 1000, "7"),
        TableFacts("a.other", 2, "7"),
    ]
    found = [
        TableFacts("a.same", 1, "7"),
        TableFacts("a.rows", 999, "7"),
        TableFacts("a.other", 2, "8"),
        TableFacts("a.new", 0, "0"),
    ]
    assert differences(expected, found) == (
        "a.missing is missing",
        "a.new is not in the backup",
        "a.other has other content than the backup",
        "a.rows has 999 rows, the backup 1,000",
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "its format is missing, not a whole number"),
        ({"format": 2}, "it has format 2; this version supports 1"),
        (
            {
                "format": 1,
                "files": [],
                "facts": {"database": "x", "snapshot_at": "yesterday"},
            },
            "its snapshot_at is 'yesterday', not a time",
        ),
        ({"format": 1, "facts": None}, "its facts is no object"),
    ],
)
def test_an_invalid_manifest_is_refused(raw: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_manifest(raw)


def test_each_database_is_rotated_separately() -> None:
    nights = [
        KeptBackup(f"{of}-2026071{day}T030000Z", NOW - timedelta(days=5 - day)) for of in "ab" for day in range(5)
    ]
    assert kept(nights, RotationPolicy(0, 0, 0, 0, 1)) == ["a-20260714T030000Z", "b-20260714T030000Z"]


def test_names_give_the_order_of_backups() -> None:
    names = [
        "my db-20260714T030000Z",
        "my db-20260714T030000Z-2",
        "my db-20260714T030000Z-10",
        "my db-20260714T030001Z",
    ]
    found = [parse_backup_name(name) for name in names]
    assert [one.name for one in sorted((one for one in found if one), key=lambda one: one.snapshot_at)] == names
    assert {one.series for one in found if one} == {"my db"}
    assert parse_backup_name("photos") is None
    assert parse_backup_name("my db-20260714T030000Z.partial") is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KEEP_DAYS", "-1", "keep_days must be 0 or more, not -1"),
        ("MINIMUM", "0", "minimum must be 1 or more, not 0"),
        ("KEEP_DAYZ", "1", "backup.keep_dayz"),
        ("ENCRYPT_TO", "age1nothing", "backup.encrypt_to"),
        ("COPY_TO", "relative/folder", "backup.copy_to"),
        ("COMPRESSION", "brotli", "backup.compression"),
    ],
)
def test_an_invalid_policy_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(f"STRIKECAST_BACKUP__{name}", value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_the_settings_are_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_BACKUP__KEEP_WEEKLY", "9")
    assert isinstance(load_settings().backup, RotationPolicy)
    assert load_settings().backup.keep_weekly == 9
    assert load_settings().backup.keep_days == RotationPolicy().keep_days
