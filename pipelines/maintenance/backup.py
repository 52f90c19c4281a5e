"""Backups in a folder: made by `pg_backup.sh`, listed, verified, rotated."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import orjson

from pipelines.domain.backups import KeptBackup, Manifest, RotationPlan, RotationPolicy, parse_manifest, plan_rotation
from pipelines.errors import AlreadyRunningError, BackupError, NoDataError
from pipelines.maintenance.programs import programs_for, reaching
from pipelines.storage.database import Database, Role

DUMP = "database.dump"
MANIFEST = "manifest.json"
#: Written by `verify`: {"at": ..., "problem": null or text}.
VERDICT = "verified.json"
BACKUP_OF_THE_SAME_RUNS = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Backup:
    """A finished backup: its folder, its manifest, when it was verified after it was made, and what was wrong then."""

    folder: Path
    manifest: Manifest
    verified_at: datetime | None = None
    problem: str | None = None

    @property
    def kept(self) -> KeptBackup:
        """As the rotation sees it."""
        return KeptBackup(self.folder.name, self.manifest.snapshot_at, self.manifest.bytes, self.problem)


def create(database: Database, folder: Path, say: Say = lambda _: None) -> Backup:
    """Back a database up into a folder of its own below `folder`.

    Raises AlreadyRunningError while another backup of it runs, BackupError with the reason when it could not be made.
    """
    with database.connect("backup", None) as connection:
        major = connection.info.server_version // 10_000
    script = resources.files("pipelines.maintenance").joinpath("pg_backup.sh")
    with resources.as_file(script) as path, reaching(database) as variables:
        command = ["sh", str(path), "-r", Role.BACKUP, "-p", str(programs_for(major)), str(folder)]
        running = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said, complaints = running.communicate()
        except BaseException:
            running.terminate()
            running.communicate()
            raise
    complaint = " ".join(complaints.split()).removeprefix("pg_backup: ")
    if running.returncode == BACKUP_OF_THE_SAME_RUNS:
        raise AlreadyRunningError(complaint)
    if running.returncode != 0:
        raise BackupError(f"{complaint or 'pg_backup.sh said nothing'} (exit code {running.returncode})")
    made = read(Path(said.strip().splitlines()[-1]))
    say(f"{made.folder.name}: {made.manifest.rows:,} rows, {made.manifest.bytes:,} bytes, {made.manifest.seconds} s")
    return made


def read(folder: Path) -> Backup:
    """One backup. Raises BackupError when its manifest cannot be read."""
    try:
        manifest = parse_manifest(orjson.loads((folder / MANIFEST).read_bytes()))
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} is no backup of ours: its manifest cannot be read: {error}") from error
    with suppress(OSError, KeyError, TypeError, ValueError):
        verdict = orjson.loads((folder / VERDICT).read_bytes())
        return Backup(folder, manifest, datetime.fromisoformat(verdict["at"]), verdict["problem"])
    return Backup(folder, manifest)


def backups(folder: Path) -> list[Backup]:
    """All backups in a folder, newest first; one whose manifest is damaged is left out, and never touched."""
    found = []
    for manifest in folder.glob(f"*/{MANIFEST}"):
        with suppress(BackupError):
            if not manifest.parent.name.endswith(".partial"):
                found.append(read(manifest.parent))
    return sorted(found, key=lambda one: one.manifest.snapshot_at, reverse=True)


def named(folder: Path, name: str | None) -> Backup:
    """The backup of a name, or the newest sound one. Raises NoDataError when there is none."""
    if name is not None:
        if not (folder / name / MANIFEST).is_file():
            raise NoDataError(f"there is no backup {name!r} in {folder}: see `strikecast backup list`")
        return read(folder / name)
    for one in backups(folder):
        if one.problem is None:
            return one
    raise NoDataError(f"there is no backup in {folder}: run `strikecast backup create`")


def verify(backup: Backup, now: datetime) -> Backup:
    """Compare every file with its SHA-256, and read all data of the dump; the verdict is kept beside it."""
    problem = _problem(backup)
    verdict = backup.folder / VERDICT
    partial = verdict.with_name(f".{VERDICT}.{os.getpid()}.partial")
    partial.write_bytes(orjson.dumps({"at": now.astimezone(UTC).isoformat(), "problem": problem}))
    partial.replace(verdict)
    return Backup(backup.folder, backup.manifest, now, problem)


def _problem(backup: Backup) -> str | None:
    for one in backup.manifest.files:
        try:
            with (backup.folder / one.name).open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            return f"{one.name} cannot be read: {error.strerror}"
        if digest != one.sha256:
            return f"{one.name} is not what was written: its SHA-256 differs"
    programs = programs_for(int(backup.manifest.client_version.split(".")[0]))
    done = subprocess.run(
        [programs / "pg_restore", "--file=/dev/null", backup.folder / DUMP], capture_output=True, text=True, check=False
    )
    return f"pg_restore cannot read it: {' '.join(done.stderr.split())}" if done.returncode else None


def plan(found: Sequence[Backup], policy: RotationPolicy, now: datetime) -> RotationPlan:
    """Which of them stay."""
    return plan_rotation([one.kept for one in found], policy, now)


def rotate(folder: Path, policy: RotationPolicy, now: datetime, say: Say = lambda _: None) -> RotationPlan:
    """Delete the backups that no rule keeps; only folders with a manifest of ours, each out of sight before it goes."""
    decided = plan(backups(folder), policy, now)
    for name, why in decided.delete:
        going = folder / f"{name}.partial"
        (folder / name).rename(going)
        shutil.rmtree(going)
        say(f"deleted {name}: {why}")
    return decided
