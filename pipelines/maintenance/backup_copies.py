"""Rotate the copies of backups, which `pg_backup.sh` makes in a directory or on an rclone remote."""

import subprocess
from datetime import datetime
from pathlib import Path

from pipelines.domain.maintenance.backups import (
    KeptBackup,
    RotationPlan,
    RotationPolicy,
    parse_backup_name,
    plan_rotation,
)
from pipelines.errors import BackupError, single_line
from pipelines.log import Log
from pipelines.maintenance.backup import MANIFEST, delete_backup, list_backups


def rotate_copies(
    location: str, policy: RotationPolicy, now: datetime, log: Log = lambda _: None, *, dry_run: bool = False
) -> RotationPlan:
    """Delete the copies that no rule keeps at `now` (aware UTC), and nothing without a backup's name and manifest.

    Raises BackupError when they cannot be listed.
    """
    is_remote = ":" in location.split("/", 1)[0]
    copies = _remote_copies(location) if is_remote else _directory_copies(Path(location))
    planned = plan_rotation(copies, policy, now)
    for name, reason in () if dry_run else planned.delete:
        if is_remote:
            _rclone("deletefile", f"{location}/{name}/{MANIFEST}")  # without it, the rest no longer counts as a backup
            _rclone("purge", f"{location}/{name}")
        else:
            delete_backup(Path(location), name)
        log(f"deleted the copy {name}: {reason}")
    return planned


def _directory_copies(folder: Path) -> list[KeptBackup]:
    if not folder.is_dir():
        raise BackupError(f"{folder}, the directory of the copies, does not exist: mount or create it")
    return [one.kept for one in list_backups(folder)]


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
        raise BackupError(f"rclone {arguments[0]} ended with {result.returncode}: {single_line(result.stderr)[:500]}")
    return result.stdout
