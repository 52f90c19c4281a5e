"""Backups in a folder: create them with `pg_backup.sh`, list, verify and rotate them, and rotate their copies."""

import dataclasses
import hashlib
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import orjson

from pipelines.atomic_files import atomic_write
from pipelines.configuration.sections import BackupSettings
from pipelines.domain.maintenance.backups import (
    KeptBackup,
    Manifest,
    RotationPlan,
    RotationPolicy,
    parse_backup_name,
    parse_manifest,
    plan_rotation,
)
from pipelines.errors import AlreadyRunningError, BackupError, NoDataError, single_line
from pipelines.log import Log
from pipelines.maintenance.client_programs import client_environment, find_client_programs
from pipelines.maintenance.encryption import run_on_decrypted
from pipelines.maintenance.signatures import MANIFEST, ensure_key
from pipelines.storage.postgres.connection import Database, Role

#: Names without the suffix .age or .gpg of encrypted files.
DUMP, DAGSTER_DUMP, ROLES = "database.dump", "dagster.dump", "roles.sql"
#: Result of the verification: {"at": ..., "problem": null or text, "content_read": whether the dump was read}.
VERIFIED = "verified.json"
#: Exit codes of pg_backup.sh.
ALREADY_RUNNING = 5
COPY_FAILED = 9
DEFAULTS = BackupSettings()


@dataclass(frozen=True)
class Backup:
    """A finished backup, and the time (aware UTC) and result of its newest verification.

    `problem`: the damage found. `content_read`: whether the dump was read, which takes the key of an encrypted one.
    `copy_problem`: why its copy could not be made.
    """

    folder: Path
    manifest: Manifest
    verified_at: datetime | None = None
    problem: str | None = None
    content_read: bool = False
    copy_problem: str | None = None

    @property
    def dump(self) -> Path:
        """Path of the dump, encrypted or not."""
        return self._file(DUMP)

    @property
    def dagster_dump(self) -> Path | None:
        """Path of the dump of Dagster's database, encrypted or not; None if there is none."""
        return None if self.manifest.dagster_tables is None else self._file(DAGSTER_DUMP)

    @property
    def roles(self) -> Path:
        """Path of the roles, encrypted or not."""
        return self._file(ROLES)

    def _file(self, name: str) -> Path:
        return self.folder / (f"{name}.{self.manifest.encryption}" if self.manifest.encryption else name)

    @property
    def kept(self) -> KeptBackup:
        """The backup as input of a rotation plan."""
        return KeptBackup(self.folder.name, self.manifest.snapshot_at, self.problem)


def create_backup(
    database: Database,
    folder: Path,
    options: BackupSettings = DEFAULTS,
    log: Log = lambda _: None,
    dagster: str | None = None,
    key: Path | None = None,
) -> Backup:
    """Back up a database, and Dagster's database `dagster` if it exists, into a new folder in `folder`.

    `key`: the file of the signing key, which is created if it is missing; None leaves the backup unsigned. When only
    the copy fails, the result's `copy_problem` has the reason. Raises AlreadyRunningError during another backup of the
    database, BackupError when the backup cannot be made, and DatabaseError for a login without the backup role.
    """
    with database.connect("backup", Role.BACKUP):
        pass  # the login may use the role: the script's own error names neither the login nor a remedy
    script = resources.files("pipelines.maintenance").joinpath("pg_backup.sh")
    with resources.as_file(script) as path, client_environment(database) as variables:
        command = ["sh", str(path), "-r", Role.BACKUP, "-p", str(find_client_programs(database.server_major))]
        choices = {
            "-d": dagster,
            "-z": options.compression,
            "-e": options.encrypt_to,
            "-c": options.copy_to,
            "-k": key and str(ensure_key(key)),
        }
        for option, value in choices.items():
            command += [option, value] if value else []
        command.append(str(folder))
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()
            process.communicate()
            raise
    message = single_line(errors).removeprefix("pg_backup: ")
    if process.returncode == ALREADY_RUNNING:
        raise AlreadyRunningError(message)
    if process.returncode not in {0, COPY_FAILED}:
        raise BackupError(f"{message or 'pg_backup.sh failed without a message'} (exit code {process.returncode})")
    backup = read_backup(Path(output.strip().splitlines()[-1]))
    manifest = backup.manifest
    log(f"{backup.folder.name}: {manifest.rows:,} rows, {manifest.bytes:,} bytes, {manifest.seconds} s")
    return dataclasses.replace(backup, copy_problem=message) if process.returncode else backup


def read_backup(folder: Path) -> Backup:
    """Read a backup's manifest and verification. Raises BackupError when the manifest is missing or invalid."""
    try:
        manifest = parse_manifest(orjson.loads((folder / MANIFEST).read_bytes()))
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} is not a valid backup: its manifest cannot be read: {error}") from error
    with suppress(OSError, KeyError, TypeError, ValueError):
        check = orjson.loads((folder / VERIFIED).read_bytes())
        at, problem, read = datetime.fromisoformat(check["at"]), check["problem"], check.get("content_read", True)
        if at.tzinfo is not None and isinstance(problem, str | None) and isinstance(read, bool):
            return Backup(folder, manifest, at, problem and single_line(problem), read)
    return Backup(folder, manifest)


def list_backups(folder: Path) -> list[Backup]:
    """The backups in a folder, newest first, without unfinished ones and those with an invalid manifest."""
    found = []
    for manifest in folder.glob(f"*/{MANIFEST}"):
        with suppress(BackupError):
            if not manifest.parent.name.endswith(".partial"):
                found.append(read_backup(manifest.parent))
    return sorted(found, key=lambda one: one.manifest.snapshot_at, reverse=True)


def find_backup(folder: Path, name: str | None) -> Backup:
    """The backup of a name, or the newest undamaged one. Raises NoDataError when it does not exist."""
    if name is not None:
        if not (folder / name / MANIFEST).is_file():
            raise NoDataError(f"there is no backup {name!r} in {folder}: see `strikecast backup list`")
        return read_backup(folder / name)
    for one in list_backups(folder):
        if one.problem is None:
            return one
    raise NoDataError(f"there is no backup in {folder}: run `strikecast backup create`")


def verify_backup(backup: Backup, now: datetime, identity: Path | None = None) -> Backup:
    """Compare the SHA-256 of every file, read all data of the dumps, and store the result in the backup's folder.

    An encrypted dump is read only with an `identity`. Raises BackupError, and stores no result, if that does not fit.
    """
    problem = _find_damage(backup)
    readable = backup.manifest.encryption is None or identity is not None
    if problem is None and readable:
        programs = find_client_programs(int(backup.manifest.client_version.split(".")[0]))
        for dump in filter(None, (backup.dump, backup.dagster_dump)):
            message = run_on_decrypted([programs / "pg_restore", "--file=/dev/null"], dump, identity)
            problem = problem or (message and f"pg_restore cannot read {dump.name}: {message}")
    check = {"at": now.astimezone(UTC).isoformat(), "problem": problem, "content_read": readable}
    with atomic_write(backup.folder / VERIFIED) as partial:
        partial.write_bytes(orjson.dumps(check))
    return Backup(backup.folder, backup.manifest, now, problem, readable)


def _find_damage(backup: Backup) -> str | None:
    needed = {path.name for path in (backup.dump, backup.dagster_dump, backup.roles) if path is not None}
    if missing := needed - {one.name for one in backup.manifest.files}:
        return f"its manifest does not list {', '.join(sorted(missing))}"
    for one in backup.manifest.files:
        try:
            with (backup.folder / one.name).open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            return f"{one.name} cannot be read: {error.strerror}"
        if digest != one.sha256:
            return f"{one.name} has another SHA-256 than in the manifest"
    return None


def rotate_backups(
    folder: Path, policy: RotationPolicy, now: datetime, log: Log = lambda _: None, *, dry_run: bool = False
) -> RotationPlan:
    """Delete the backups that no rule keeps at `now` (aware UTC), and no folder without a valid manifest."""
    planned = _planned(folder, policy, now)
    for name, reason in () if dry_run else planned.delete:
        delete_backup(folder, name)
        log(f"deleted {name}: {reason}")
    return planned


def _planned(folder: Path, policy: RotationPolicy, now: datetime) -> RotationPlan:
    """What the policy keeps and deletes; a link to a backup elsewhere counts, and is kept."""
    planned = plan_rotation([one.kept for one in list_backups(folder)], policy, now)
    links = [(name, "a link, which is not deleted") for name, _ in planned.delete if (folder / name).is_symlink()]
    linked = {name for name, _ in links}
    return RotationPlan((*planned.keep, *links), tuple(one for one in planned.delete if one[0] not in linked))


def delete_backup(folder: Path, name: str) -> None:
    """Delete a backup; an interrupted deletion leaves a folder that no longer counts as a backup.

    Raises BackupError when it cannot be deleted.
    """
    partial = folder / f"{name}.partial"
    try:
        (folder / name).rename(partial)
        shutil.rmtree(partial)
    except OSError as error:
        raise BackupError(f"{folder / name} cannot be deleted: {error.strerror or error}") from error


def rotate_copies(
    location: str, policy: RotationPolicy, now: datetime, log: Log = lambda _: None, *, dry_run: bool = False
) -> RotationPlan:
    """Delete the copies that no rule keeps at `now` (aware UTC), and nothing without a backup's name and manifest.

    Raises BackupError when they cannot be listed.
    """
    is_remote = ":" in location.split("/", 1)[0]
    planned = (
        plan_rotation(_remote_copies(location), policy, now)
        if is_remote
        else _planned(_existing(Path(location)), policy, now)
    )
    for name, reason in () if dry_run else planned.delete:
        if is_remote:
            _rclone("deletefile", f"{location}/{name}/{MANIFEST}")  # without it, the rest no longer counts as a backup
            _rclone("purge", f"{location}/{name}")
        else:
            delete_backup(Path(location), name)
        log(f"deleted the copy {name}: {reason}")
    return planned


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise BackupError(f"{folder}, the directory of the copies, does not exist: mount or create it")
    return folder


def _remote_copies(location: str) -> list[KeptBackup]:
    paths = [line.split("/") for line in _rclone("lsf", "--recursive", "--files-only", location).splitlines()]
    names = [parts[0] for parts in paths if parts[1:] == [MANIFEST]]
    return [kept for name in names if (kept := parse_backup_name(name)) is not None]


def _rclone(*arguments: str) -> str:
    try:
        result = subprocess.run(["rclone", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BackupError("`copy_to` names a remote, but rclone is not installed") from error
    if result.returncode:
        raise BackupError(f"rclone {arguments[0]} ended with {result.returncode}: {single_line(result.stderr, 500)}")
    return result.stdout
