"""Point-in-time recovery: base backups of the whole server, and drills that restore them with the archived WAL."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from pipelines.atomic_files import fsync
from pipelines.domain.maintenance.backups import BaseBackup, BasePlan, parse_start_wal, plan_bases
from pipelines.errors import AlreadyRunningError, BackupError, NoDataError, single_line
from pipelines.log import Log
from pipelines.maintenance.backup import delete_backup
from pipelines.maintenance.client_programs import client_environment, find_server_programs
from pipelines.maintenance.restore import read_ladders
from pipelines.settings import Settings
from pipelines.storage.maintenance import restored_databases as repository
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import CONFIGURATION, EmbeddedServer, temporary_server_folder, wait_for

#: Of a base backup, by its time (UTC).
BASE_NAME = "base-%Y%m%dT%H%M%SZ"
PITR_PREFIX = "strikecast_pitr_"
BEFORE, AFTER = "before", "after"
ARCHIVE_TIMEOUT_SECONDS = 120

#: Added to the configuration of the embedded server. Paths are relative to the data directory.
RECOVERY = """
archive_mode = off
hot_standby = off
restore_command = 'cp "../wal/%f" "%p"'
recovery_target_action = promote
"""


@dataclass(frozen=True)
class PitrReport:
    """Result of a drill: restored markers, which must be those written before `target_at` (aware UTC)."""

    base: str
    target_at: datetime
    markers: tuple[str, ...]
    wal_files: int
    ladders: int
    seconds: float


def base_folder(settings: Settings) -> Path:
    """Folder of the base backups."""
    return settings.backups_dir / "base"


def list_base_backups(folder: Path) -> list[BaseBackup]:
    """The base backups in a folder, newest first."""
    found = []
    for label in folder.glob("base-*/backup_label"):
        with suppress(ValueError):
            taken_at = datetime.strptime(label.parent.name, BASE_NAME).replace(tzinfo=UTC)
            start_wal = parse_start_wal(label.read_text(encoding="utf-8"))
            found.append(BaseBackup(label.parent.name, start_wal, taken_at))
    return sorted(found, key=lambda one: one.name, reverse=True)


def base_backup_bytes(folder: Path, name: str) -> int:
    """Size of a base backup's files."""
    return sum(path.lstat().st_size for path in (folder / name).rglob("*") if not path.is_dir())


def create_base_backup(database: Database, folder: Path, now: datetime, log: Log = lambda _: None) -> Path:
    """Copy the whole server, verify every file of the copy, and then rename it to its final name.

    Raises BackupError without leaving a base backup, and AlreadyRunningError while another process uses the folder.
    """
    programs = find_server_programs(database.server_major)
    with _exclusive(folder), client_environment(database) as variables:
        _remove_leftovers(folder)
        base = folder / f"{now:{BASE_NAME}}"
        if base.exists():
            raise BackupError(f"{base} already exists: check the clock")
        partial = base.with_name(f"{base.name}.partial")
        log(f"copying the server into {base}")
        options = ["--format=plain", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256"]
        try:
            _run([programs / "pg_basebackup", f"--pgdata={partial}", *options, "--no-password"], variables)
            log("verifying every file")
            _run([programs / "pg_verifybackup", "--quiet", partial])
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(base)
        fsync(folder)
    return base


def prune_base_backups(settings: Settings, database: Database, log: Log = lambda _: None) -> BasePlan:
    """Delete older base backups, and the archived WAL that only they need."""
    folder = base_folder(settings)
    with _exclusive(folder):
        planned = plan_bases(list_base_backups(folder), settings.backup.keep_base)
        for name, reason in planned.delete:
            delete_backup(folder, name)
            log(f"deleted {name}: {reason}")
        if settings.backup.wal_archive is not None and planned.wal_from is not None:
            programs = find_server_programs(database.server_major)
            _run([programs / "pg_archivecleanup", settings.backup.wal_archive, planned.wal_from])
    return planned


def run_pitr_drill(settings: Settings, database: Database, now: datetime, log: Log = lambda _: None) -> PitrReport:
    """Verify that the newest base backup and the archived WAL restore the state of a given second.

    Markers are written before and after that second, in a database of their own. The restored server must have the
    first one only, and answer a ladder query. Raises BackupError with the reason if it does not or if archiving is off,
    and NoDataError without a base backup.
    """
    started_seconds = time.monotonic()
    archive, folder = _archive(settings, database), base_folder(settings)
    with _exclusive(folder):
        _remove_leftovers(folder)
        found = list_base_backups(folder)
        if not found:
            raise NoDataError(f"there is no base backup in {folder}: run `strikecast backup base`")
        base, programs = found[0], find_server_programs(database.server_major)
        log(f"verifying {base.name}")
        _run([programs / "pg_verifybackup", "--quiet", folder / base.name])
        if any((folder / base.name / "pg_tblspc").iterdir()):
            raise BackupError(f"{base.name} has tablespaces, which two servers would share: restore it by hand")
        for leftover in repository.unused_databases(database, PITR_PREFIX):
            repository.drop_database(database, leftover)
        name = f"{PITR_PREFIX}{now:%Y%m%d%H%M%S}"
        try:
            target_at = _write_markers(database, name, log)
            _wait_until_archived(database, archive, repository.switch_wal_file(database), log)
        finally:
            repository.drop_database(database, name)
        with temporary_server_folder("drill-", suffix=".partial", parent=folder) as scratch:
            server = EmbeddedServer(scratch / "server", programs=programs)
            wal_files = _prepare_server(server, folder / base.name, archive, base.start_wal, target_at)
            log(f"restoring {base.name} and {wal_files} WAL files up to {target_at:%Y-%m-%d %H:%M:%S} UTC")
            with server.running():
                login = quote(str(database.parameters.get("user") or "postgres"), safe="")
                restored = Database(f"postgresql://{login}@/{name}?host={quote(str(server.socket_dir))}")
                markers = tuple(repository.markers(restored))
                if markers != (BEFORE,):
                    raise BackupError(
                        f"restored to {target_at:%Y-%m-%d %H:%M:%S} UTC, the server has the markers {markers}, "
                        f"expected ({BEFORE!r},): check that base backup and archived WAL are of this server"
                    )
                ladders = read_ladders(settings, Database(restored.url_for(str(database.parameters["dbname"]))))
    return PitrReport(base.name, target_at, markers, wal_files, ladders, time.monotonic() - started_seconds)


def _archive(settings: Settings, database: Database) -> Path:
    """Folder of the archived WAL. Raises BackupError when archiving is off or the folder is not configured."""
    state = repository.archiving(database)
    if not state.enabled:
        raise BackupError(
            f"the server does not archive WAL (archive_mode {state.mode}, archive_command {state.command or 'empty'}): "
            "see Point-in-time recovery in docs/backups.md"
        )
    archive = settings.backup.wal_archive
    if archive is None or not archive.is_dir():
        raise BackupError(
            f"`wal_archive` in [backup] must be the folder that archive_command writes to, not {archive or 'empty'}"
        )
    return archive


def _write_markers(database: Database, name: str, log: Log) -> datetime:
    """Write a marker before and one after a full second; returns that second by the server's clock (aware UTC)."""
    marked = repository.create_database(database, name)
    repository.create_marker_table(marked)
    repository.write_marker(marked, BEFORE)
    target_at = repository.server_time(marked).astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    log(f"writing a marker before and after {target_at:%H:%M:%S}")
    wait_for(lambda: repository.server_time(marked) > target_at, ARCHIVE_TIMEOUT_SECONDS)
    repository.write_marker(marked, AFTER)
    return target_at


def _wait_until_archived(database: Database, archive: Path, wal: str, log: Log) -> None:
    log(f"waiting for {wal} to be archived")
    if not wait_for((archive / wal).is_file, ARCHIVE_TIMEOUT_SECONDS):
        failed = repository.failed_wal(database)
        raise BackupError(
            f"{wal} is not in {archive} after {ARCHIVE_TIMEOUT_SECONDS} s"
            + (f": the server fails to archive {failed}, see its log" if failed else "")
        )


def _prepare_server(server: EmbeddedServer, base: Path, archive: Path, start_wal: str, target_at: datetime) -> int:
    """Copy a base backup and its WAL into a server's directory, and configure it; returns the number of WAL files."""
    shutil.copytree(base, server.data, symlinks=True)
    wal = server.directory / "wal"
    wal.mkdir()
    copied = 0
    for path in sorted(archive.iterdir()):
        # Files of later timelines sort after `start_wal`; history files are needed to follow timelines.
        if not path.name.startswith(".") and (path.name >= start_wal or path.suffix == ".history"):
            shutil.copyfile(path, wal / path.name)
            copied += 1
    for name in ("postgresql.auto.conf", "standby.signal", "backup_manifest"):  # of the copied server
        (server.data / name).unlink(missing_ok=True)
    target = f"recovery_target_time = '{target_at:%Y-%m-%d %H:%M:%S}+00'\n"
    (server.data / "postgresql.conf").write_text(CONFIGURATION + RECOVERY + target, encoding="utf-8")
    (server.data / "pg_hba.conf").write_text("local all all trust\n", encoding="utf-8")
    (server.data / "pg_ident.conf").write_text("", encoding="utf-8")
    (server.data / "recovery.signal").touch()
    server.adopt_files()
    return copied


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    # As root, the server of a drill runs in it as another user. The base backups in it are 0700.
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    try:
        with FileLock(folder / ".lock", timeout=0, mode=0o600):
            yield
    except Timeout:
        raise AlreadyRunningError(f"another process uses the base backups in {folder}: try again later") from None


def _remove_leftovers(folder: Path) -> None:
    """Delete what killed runs left; needs the lock of the folder."""
    for leftover in folder.glob("*.partial"):
        EmbeddedServer(leftover / "server").stop()
        shutil.rmtree(leftover)


def _run(command: list[str | Path], variables: Mapping[str, str] | None = None) -> None:
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, umask=0o077)
    if result.returncode:
        message = single_line(result.stderr, 500)
        raise BackupError(f"{Path(command[0]).name} ended with {result.returncode}: {message}")
