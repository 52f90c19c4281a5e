"""The copies of backups in their second place, which `pg_backup.sh` makes: a directory, or an rclone remote."""

import subprocess
from datetime import datetime
from pathlib import Path

from pipelines.domain.maintenance.backups import KeptBackup, RotationPlan, RotationPolicy, named_backup, plan_rotation
from pipelines.errors import BackupError, single_line
from pipelines.log import Log
from pipelines.maintenance.backup import MANIFEST, delete_backup, list_backups


def plan_copies(where: str, policy: RotationPolicy, now: datetime) -> RotationPlan:
    """Which copies stay, by the rules of the backups themselves. Raises BackupError when they cannot be listed."""
    return plan_rotation(_remote_copies(where) if _is_remote(where) else _directory_copies(Path(where)), policy, now)


def rotate_copies(where: str, policy: RotationPolicy, now: datetime, log: Log = lambda _: None) -> RotationPlan:
    """Delete the copies that no rule keeps; nothing that is not named as our backups are, and has their manifest."""
    decided = plan_copies(where, policy, now)
    for name, why in decided.delete:
        if _is_remote(where):
            _rclone("deletefile", f"{where}/{name}/{MANIFEST}")  # from then on it is no backup
            _rclone("purge", f"{where}/{name}")
        else:
            delete_backup(Path(where), name)
        log(f"deleted the copy {name}: {why}")
    return decided


def _is_remote(where: str) -> bool:
    return ":" in where.split("/", 1)[0]


def _directory_copies(folder: Path) -> list[KeptBackup]:
    if not folder.is_dir():
        raise BackupError(f"{folder}, where the copies are, is not there")
    return [one.kept for one in list_backups(folder)]


def _remote_copies(where: str) -> list[KeptBackup]:
    listed = [line.split("/") for line in _rclone("lsf", "--recursive", "--files-only", where).splitlines()]
    names = [parts[0] for parts in listed if parts[1:] == [MANIFEST]]
    return [kept for name in names if (kept := named_backup(name)) is not None]


def _rclone(*arguments: str) -> str:
    try:
        done = subprocess.run(["rclone", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BackupError("rclone is not installed, and copy_to names a remote") from error
    if done.returncode:
        raise BackupError(f"rclone {arguments[0]} ended with {done.returncode}: {single_line(done.stderr)[:500]}")
    return done.stdout
