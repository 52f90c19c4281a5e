"""Copies of backups: a copy is complete or absent, and its failure does not harm the backup."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from programs import find

from pipelines.configuration.sections import BackupSettings
from pipelines.domain.maintenance.backups import RotationPolicy
from pipelines.errors import BackupError
from pipelines.maintenance.backup import create_backup, list_backups, rotate_copies, verify_backup
from pipelines.storage.postgres.connection import Database

KEEP_NEWEST = RotationPolicy(0, 0, 0, 0, 1)
#: rclone with injected faults: the command BREAK fails for arguments that end with BREAK_AT, and FLIP changes the
#: content that is read back.
FAULTY = """#!/bin/sh
if [ "${BREAK-}" = "$1" ]; then
    case $* in *"${BREAK_AT-}") echo "$1: connection reset" >&2; exit 5 ;; esac
fi
[ -z "${FLIP-}" ] || [ "$1" != cat ] || exec echo flipped
exec "$RCLONE" "$@"
"""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def directory(tmp_path: Path) -> tuple[str, Path]:
    """A directory for copies: its name in the settings, and its path."""
    there = tmp_path / "there" / "some copies"
    there.mkdir(parents=True)
    return str(there), there


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """An rclone remote: its name in the settings, and the path of its files."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "rclone").write_text(FAULTY)
    (programs / "rclone").chmod(0o755)
    monkeypatch.setenv("RCLONE", str(find("rclone")))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("RCLONE_CONFIG", "/dev/null")
    monkeypatch.setenv("RCLONE_CONFIG_AWAY_TYPE", "alias")
    monkeypatch.setenv("RCLONE_CONFIG_AWAY_REMOTE", str(tmp_path / "there"))
    return "away:some copies", tmp_path / "there" / "some copies"


@pytest.fixture(params=["directory", "remote"])
def place(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A directory or a remote."""
    found: tuple[str, Path] = request.getfixturevalue(request.param)
    return found


def test_missing_backups_are_copied_and_copies_are_rotated(
    database: Database, tmp_path: Path, place: tuple[str, Path]
) -> None:
    where, there = place
    here = tmp_path / "here"
    made_before = create_backup(database, here)
    made = create_backup(database, here, BackupSettings(copy_to=where))
    assert made.copy_problem is None
    copies = list_backups(there)
    assert [one.folder.name for one in copies] == [made.folder.name, made_before.folder.name], (
        "including the backup without a copy"
    )
    assert [one.manifest for one in copies] == [made.manifest, made_before.manifest]
    assert verify_backup(copies[0], now()).problem is None
    (there / "photos").mkdir()
    (there / "photos" / "manifest.json").write_text("{}")
    planned = rotate_copies(where, KEEP_NEWEST, now(), dry_run=True)
    assert len(list_backups(there)) == 2, "a plan deletes nothing"
    assert rotate_copies(where, KEEP_NEWEST, now()) == planned
    assert sorted(path.name for path in there.iterdir()) == sorted([made.folder.name, "photos"])
    assert len(list_backups(here)) == 2


def test_a_missing_directory_is_reported_and_filled_by_the_next_run(
    database: Database, tmp_path: Path, directory: tuple[str, Path]
) -> None:
    where, there = directory
    there.rmdir()  # not mounted
    made = create_backup(database, tmp_path / "here", BackupSettings(copy_to=where))
    assert made.copy_problem is not None
    assert made.copy_problem.startswith(
        f"{made.folder.name} was made, but {there} cannot be used: the directory does not exist"
    )
    assert verify_backup(made, now()).problem is None
    with pytest.raises(BackupError, match="does not exist"):
        rotate_copies(where, KEEP_NEWEST, now())
    there.mkdir()
    assert create_backup(database, tmp_path / "here", BackupSettings(copy_to=where)).copy_problem is None
    assert len(list_backups(there)) == 2


@pytest.mark.parametrize("verb", ["mkdir", "lsf", "copyto", "cat", "moveto"])
def test_a_failing_remote_has_no_partial_copy_and_receives_it_from_the_next_run(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    where, there = remote
    monkeypatch.setenv("BREAK", verb)
    made = create_backup(database, tmp_path / "here", BackupSettings(copy_to=where))
    assert made.copy_problem is not None
    assert made.copy_problem.startswith(f"{made.folder.name} was made, but ")
    assert f"{verb}: connection reset" in made.copy_problem
    assert verify_backup(made, now()).problem is None
    assert list_backups(there) == []
    monkeypatch.delenv("BREAK")
    assert create_backup(database, tmp_path / "here", BackupSettings(copy_to=where)).copy_problem is None
    assert len(list_backups(there)) == 2
    assert not list(there.glob("*.partial"))


def test_the_manifest_is_moved_last_so_an_interrupted_copy_does_not_count(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, there = remote
    monkeypatch.setenv("BREAK", "moveto")
    monkeypatch.setenv("BREAK_AT", "manifest.json")
    made = create_backup(database, tmp_path / "here", BackupSettings(copy_to=where))
    assert made.copy_problem is not None
    assert [path.name for path in (there / made.folder.name).iterdir()] != []
    assert rotate_copies(where, KEEP_NEWEST, now(), dry_run=True).keep == ()


def test_copies_that_cannot_be_listed_are_not_deleted(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, there = remote
    create_backup(database, tmp_path / "here", BackupSettings(copy_to=where))
    monkeypatch.setenv("BREAK", "lsf")
    with pytest.raises(BackupError, match="rclone lsf ended with 5: lsf: connection reset"):
        rotate_copies(where, KEEP_NEWEST, now())
    assert len(list_backups(there)) == 1


def test_a_copy_with_another_sha256_does_not_count(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, there = remote
    monkeypatch.setenv("FLIP", "yes")
    made = create_backup(database, tmp_path / "here", BackupSettings(copy_to=where))
    assert made.copy_problem is not None
    assert "database.dump has another SHA-256 in the copy" in made.copy_problem
    assert list_backups(there) == []


def test_a_damaged_backup_is_not_copied(database: Database, tmp_path: Path, directory: tuple[str, Path]) -> None:
    where, there = directory
    here = tmp_path / "here"
    older = create_backup(database, here)
    older.dump.write_bytes(older.dump.read_bytes()[:-1] + b"x")
    made = create_backup(database, here, BackupSettings(copy_to=where))
    assert made.copy_problem is not None
    assert f"{older.folder.name}: database.dump has another SHA-256 in the copy" in made.copy_problem
    assert [one.folder.name for one in list_backups(there)] == [made.folder.name]
    assert verify_backup(older, now()).problem is not None
    assert create_backup(database, here, BackupSettings(copy_to=where)).copy_problem is None, (
        "backups known to be damaged are skipped"
    )
