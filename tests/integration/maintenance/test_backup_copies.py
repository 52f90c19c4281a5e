"""The second place of backups: a copy is whole or not there, and what happens to it never harms the backup."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from programs import find

from pipelines.domain.maintenance.backups import RotationPolicy
from pipelines.errors import BackupError
from pipelines.maintenance.backup import create_backup, list_backups, verify_backup
from pipelines.maintenance.backup_copies import plan_copies, rotate_copies
from pipelines.storage.postgres.connection import Database

ONLY_THE_NEWEST = RotationPolicy(0, 0, 0, 0, 1)
#: rclone, with the faults that a test asks for: the command BREAK fails for arguments that end with BREAK_AT, and with
#: FLIP the remote's content is not what was written.
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
    """A second place, as the settings name it, and where its files are."""
    there = tmp_path / "there" / "some copies"
    there.mkdir(parents=True)
    return str(there), there


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """As `directory`, a folder that rclone reaches by the name of a remote."""
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
    """Either."""
    found: tuple[str, Path] = request.getfixturevalue(request.param)
    return found


def test_backups_are_copied_and_rotated_there_too(database: Database, tmp_path: Path, place: tuple[str, Path]) -> None:
    where, there = place
    here = tmp_path / "here"
    made_before = create_backup(database, here)
    made = create_backup(database, here, copy_to=where)
    assert made.copy_problem is None
    copies = list_backups(there)
    assert [one.folder.name for one in copies] == [made.folder.name, made_before.folder.name], "what was missing too"
    assert [one.manifest for one in copies] == [made.manifest, made_before.manifest]
    assert verify_backup(copies[0], now()).problem is None
    (there / "photos").mkdir()
    (there / "photos" / "manifest.json").write_text("{}")
    planned = plan_copies(where, ONLY_THE_NEWEST, now())
    assert len(list_backups(there)) == 2, "a plan deletes nothing"
    assert rotate_copies(where, ONLY_THE_NEWEST, now()) == planned
    assert sorted(path.name for path in there.iterdir()) == sorted([made.folder.name, "photos"])
    assert len(list_backups(here)) == 2


def test_a_directory_that_is_not_there_is_told_and_filled_by_the_next_run(
    database: Database, tmp_path: Path, directory: tuple[str, Path]
) -> None:
    where, there = directory
    there.rmdir()  # as if nothing were mounted
    made = create_backup(database, tmp_path / "here", copy_to=where)
    assert made.copy_problem is not None
    assert made.copy_problem.startswith(f"{made.folder.name} is made, but {there} cannot be reached: there is no such")
    assert verify_backup(made, now()).problem is None
    with pytest.raises(BackupError, match="is not there"):
        rotate_copies(where, ONLY_THE_NEWEST, now())
    there.mkdir()
    assert create_backup(database, tmp_path / "here", copy_to=where).copy_problem is None
    assert len(list_backups(there)) == 2


@pytest.mark.parametrize("verb", ["mkdir", "lsf", "copyto", "cat", "moveto"])
def test_a_remote_that_fails_holds_no_half_copy_and_gets_it_from_the_next_run(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    where, there = remote
    monkeypatch.setenv("BREAK", verb)
    made = create_backup(database, tmp_path / "here", copy_to=where)
    assert made.copy_problem is not None
    assert made.copy_problem.startswith(f"{made.folder.name} is made, but ")
    assert f"{verb}: connection reset" in made.copy_problem
    assert verify_backup(made, now()).problem is None
    assert list_backups(there) == []
    monkeypatch.delenv("BREAK")
    assert create_backup(database, tmp_path / "here", copy_to=where).copy_problem is None
    assert len(list_backups(there)) == 2
    assert not list(there.glob("*.partial"))


def test_a_manifest_arrives_last_so_that_a_half_moved_copy_is_none(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, there = remote
    monkeypatch.setenv("BREAK", "moveto")
    monkeypatch.setenv("BREAK_AT", "manifest.json")
    made = create_backup(database, tmp_path / "here", copy_to=where)
    assert made.copy_problem is not None
    assert [path.name for path in (there / made.folder.name).iterdir()] != []
    assert plan_copies(where, ONLY_THE_NEWEST, now()).keep == ()


def test_copies_that_cannot_be_listed_are_an_error_and_stay(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, there = remote
    create_backup(database, tmp_path / "here", copy_to=where)
    monkeypatch.setenv("BREAK", "lsf")
    with pytest.raises(BackupError, match="rclone lsf ended with 5: lsf: connection reset"):
        rotate_copies(where, ONLY_THE_NEWEST, now())
    assert len(list_backups(there)) == 1


def test_what_arrives_otherwise_than_it_left_is_no_copy(
    database: Database, tmp_path: Path, remote: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, there = remote
    monkeypatch.setenv("FLIP", "yes")
    made = create_backup(database, tmp_path / "here", copy_to=where)
    assert made.copy_problem is not None
    assert "database.dump has another SHA-256 there" in made.copy_problem
    assert list_backups(there) == []


def test_a_damaged_backup_is_not_copied(database: Database, tmp_path: Path, directory: tuple[str, Path]) -> None:
    where, there = directory
    here = tmp_path / "here"
    older = create_backup(database, here)
    older.dump.write_bytes(older.dump.read_bytes()[:-1] + b"x")
    made = create_backup(database, here, copy_to=where)
    assert made.copy_problem is not None
    assert f"{older.folder.name}: database.dump has another SHA-256 there" in made.copy_problem
    assert [one.folder.name for one in list_backups(there)] == [made.folder.name]
    assert verify_backup(older, now()).problem is not None
    assert create_backup(database, here, copy_to=where).copy_problem is None, (
        "known to be damaged: it is not asked for again"
    )
