"""Backups in a folder: made by `pg_backup.sh`, listed, verified, rotated."""

import dataclasses
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import orjson

from pipelines.atomic_files import atomic_write
from pipelines.domain.maintenance.backups import (
    KeptBackup,
    Manifest,
    RotationPlan,
    RotationPolicy,
    parse_manifest,
    plan_rotation,
)
from pipelines.errors import AlreadyRunningError, BackupError, NoDataError, single_line
from pipelines.log import Log
from pipelines.maintenance.client_programs import client_environment, find_client_programs
from pipelines.maintenance.encryption import run_on_decrypted
from pipelines.storage.postgres.connection import Database, Role

#: Both with .age or .gpg behind them when they are encrypted.
DUMP, ROLES = "database.dump", "roles.sql"
MANIFEST = "manifest.json"
#: Written by `verify`: {"at": ..., "problem": null or text, "content_read": whether the dump could be read}.
VERDICT = "verified.json"
BACKUP_OF_THE_SAME_RUNS = 5
MADE_BUT_NOT_COPIED = 9


@dataclass(frozen=True)
class Backup:
    """A finished backup: its folder, its manifest, when it was verified after it was made, and what was wrong then.

    `content_read`: whether that read the data too, which takes the key of an encrypted one. `copy_problem`: why the
    copy that was to be made with it could not be made.
    """

    folder: Path
    manifest: Manifest
    verified_at: datetime | None = None
    problem: str | None = None
    content_read: bool = False
    copy_problem: str | None = None

    @property
    def dump(self) -> Path:
        """The dump, encrypted or not."""
        return self._file(DUMP)

    @property
    def roles(self) -> Path:
        """The roles, encrypted or not."""
        return self._file(ROLES)

    def _file(self, name: str) -> Path:
        return self.folder / (f"{name}.{self.manifest.encryption}" if self.manifest.encryption else name)

    @property
    def kept(self) -> KeptBackup:
        """As the rotation sees it."""
        return KeptBackup(self.folder.name, self.manifest.snapshot_at, self.problem)


def create_backup(
    database: Database,
    folder: Path,
    log: Log = lambda _: None,
    *,
    compression: str | None = None,
    encrypt_to: str | None = None,
    copy_to: str | None = None,
) -> Backup:
    """Back a database up into a folder of its own below `folder`; compressed, encrypted and copied as `BackupSettings`
    has it.

    A copy that fails leaves its reason in the result's `copy_problem`: the backup is made all the same.

    Raises AlreadyRunningError while another backup of it runs, BackupError with the reason when it could not be made.
    """
    script = resources.files("pipelines.maintenance").joinpath("pg_backup.sh")
    with resources.as_file(script) as path, client_environment(database) as variables:
        command = ["sh", str(path), "-r", Role.BACKUP, "-p", str(find_client_programs(database.server_major))]
        command += ["-z", compression] if compression else []
        command += ["-e", encrypt_to] if encrypt_to else []
        command += ["-c", copy_to] if copy_to else []
        command.append(str(folder))
        running = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said, complaints = running.communicate()
        except BaseException:
            running.terminate()
            running.communicate()
            raise
    complaint = single_line(complaints).removeprefix("pg_backup: ")
    if running.returncode == BACKUP_OF_THE_SAME_RUNS:
        raise AlreadyRunningError(complaint)
    if running.returncode not in {0, MADE_BUT_NOT_COPIED}:
        raise BackupError(f"{complaint or 'pg_backup.sh said nothing'} (exit code {running.returncode})")
    made = read_backup(Path(said.strip().splitlines()[-1]))
    log(f"{made.folder.name}: {made.manifest.rows:,} rows, {made.manifest.bytes:,} bytes, {made.manifest.seconds} s")
    return dataclasses.replace(made, copy_problem=complaint) if running.returncode else made


def read_backup(folder: Path) -> Backup:
    """One backup. Raises BackupError when its manifest cannot be read."""
    try:
        manifest = parse_manifest(orjson.loads((folder / MANIFEST).read_bytes()))
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} is no backup of ours: its manifest cannot be read: {error}") from error
    with suppress(OSError, KeyError, TypeError, ValueError):
        check = orjson.loads((folder / VERDICT).read_bytes())
        at = datetime.fromisoformat(check["at"])
        return Backup(folder, manifest, at, check["problem"], check.get("content_read", True))
    return Backup(folder, manifest)


def list_backups(folder: Path) -> list[Backup]:
    """All backups in a folder, newest first; one whose manifest is damaged is left out, and never touched."""
    found = []
    for manifest in folder.glob(f"*/{MANIFEST}"):
        with suppress(BackupError):
            if not manifest.parent.name.endswith(".partial"):
                found.append(read_backup(manifest.parent))
    return sorted(found, key=lambda one: one.manifest.snapshot_at, reverse=True)


def find_backup(folder: Path, name: str | None) -> Backup:
    """The backup of a name, or the newest sound one. Raises NoDataError when there is none."""
    if name is not None:
        if not (folder / name / MANIFEST).is_file():
            raise NoDataError(f"there is no backup {name!r} in {folder}: see `strikecast backup list`")
        return read_backup(folder / name)
    for one in list_backups(folder):
        if one.problem is None:
            return one
    raise NoDataError(f"there is no backup in {folder}: run `strikecast backup create`")


def verify_backup(backup: Backup, now: datetime, identity: Path | None = None) -> Backup:
    """Compare every file with its SHA-256, and read all data of the dump; the verdict is kept beside it.

    An encrypted dump is read only with an `identity`. Raises BackupError, and gives no verdict, when that does not fit.
    """
    problem = _damage(backup)
    readable = backup.manifest.encryption is None or identity is not None
    if problem is None and readable:
        programs = find_client_programs(int(backup.manifest.client_version.split(".")[0]))
        complaint = run_on_decrypted([programs / "pg_restore", "--file=/dev/null"], backup.dump, identity)
        problem = complaint and f"pg_restore cannot read it: {complaint}"
    with atomic_write(backup.folder / VERDICT) as partial:
        partial.write_bytes(
            orjson.dumps({"at": now.astimezone(UTC).isoformat(), "problem": problem, "content_read": readable})
        )
    return Backup(backup.folder, backup.manifest, now, problem, readable)


def _damage(backup: Backup) -> str | None:
    for one in backup.manifest.files:
        try:
            with (backup.folder / one.name).open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            return f"{one.name} cannot be read: {error.strerror}"
        if digest != one.sha256:
            return f"{one.name} is not what was written: its SHA-256 differs"
    return None


def plan(found: Sequence[Backup], policy: RotationPolicy, now: datetime) -> RotationPlan:
    """Which of them stay."""
    return plan_rotation([one.kept for one in found], policy, now)


def rotate_backups(folder: Path, policy: RotationPolicy, now: datetime, log: Log = lambda _: None) -> RotationPlan:
    """Delete the backups that no rule keeps; only folders with a manifest of ours, each out of sight before it goes."""
    decided = plan(list_backups(folder), policy, now)
    for name, why in decided.delete:
        delete_backup(folder, name)
        log(f"deleted {name}: {why}")
    return decided


def delete_backup(folder: Path, name: str) -> None:
    """Delete a backup: what is left of it when that is cut short is no backup any more."""
    going = folder / f"{name}.partial"
    (folder / name).rename(going)
    shutil.rmtree(going)
