"""Point-in-time recovery: base backups of the whole server, and the proof that with its log they restore a second."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from filelock import FileLock, Timeout
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from pipelines.atomic_files import fsync
from pipelines.domain.maintenance.base_backups import BaseBackup, BasePlan, parse_start_wal, plan_bases
from pipelines.errors import AlreadyRunningError, BackupError, NoDataError, single_line
from pipelines.log import Log
from pipelines.maintenance.backup import delete_backup
from pipelines.maintenance.client_programs import client_environment, find_server_programs
from pipelines.maintenance.restore import read_ladders
from pipelines.settings import Settings
from pipelines.storage.maintenance import recovery
from pipelines.storage.maintenance.restored_databases import create_database, drop_database, unused_databases
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import CONFIGURATION, EmbeddedServer

PITR_PREFIX = "strikecast_pitr_"
BEFORE, AFTER = "before", "after"
ARCHIVE_TIMEOUT_SECONDS = 120

#: Of a restored server, besides what an embedded one has. Its working directory is its data.
RECOVERY = """
archive_mode = off
hot_standby = off
restore_command = 'cp "../wal/%f" "%p"'
recovery_target_action = promote
"""


@dataclass(frozen=True)
class PitrReport:
    """What a restore to `target_at` brought back: the mark written before it, not the one written after it."""

    base: str
    target_at: datetime
    marks: tuple[str, ...]
    wal_files: int
    ladders: int
    seconds: float


def base_folder(settings: Settings) -> Path:
    """Where base backups are."""
    return settings.backups_dir / "base"


def bases(folder: Path) -> list[BaseBackup]:
    """The base backups in a folder, newest first."""
    found = []
    for label in folder.glob("base-*/backup_label"):
        if not label.parent.name.endswith(".partial"):
            with suppress(ValueError):
                found.append(BaseBackup(label.parent.name, parse_start_wal(label.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda one: one.name, reverse=True)


def create_base_backup(database: Database, folder: Path, now: datetime, log: Log = lambda _: None) -> Path:
    """Take a copy of the whole server, verify every file of the copy, and give it its name only then.

    Raises BackupError, and leaves nothing that looks like a base backup; AlreadyRunningError while another is made.
    """
    programs = find_server_programs(database.server_major)
    with _only_one(folder), client_environment(database) as variables:
        _remove_leftovers(folder)
        made = folder / f"base-{now:%Y%m%dT%H%M%SZ}"
        if made.exists():
            raise BackupError(f"{made} is there already: has the clock gone back?")
        partial = made.with_name(f"{made.name}.partial")
        log(f"copying the server into {made}")
        try:
            _run(
                [
                    programs / "pg_basebackup",
                    f"--pgdata={partial}",
                    "--format=plain",
                    "--wal-method=stream",
                    "--checkpoint=fast",
                    "--manifest-checksums=SHA256",
                    "--no-password",
                ],
                variables,
            )
            log("verifying every file")
            _run([programs / "pg_verifybackup", "--quiet", partial])
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(made)
        fsync(folder)
    return made


def plan_pruning(folder: Path, keep: int) -> BasePlan:
    """Which base backups stay, and from which file on the archived log is needed."""
    return plan_bases(bases(folder), keep)


def prune(settings: Settings, database: Database, log: Log = lambda _: None) -> BasePlan:
    """Delete older base backups, and the archived log that no kept one needs."""
    folder = base_folder(settings)
    with _only_one(folder):
        decided = plan_pruning(folder, settings.backup.keep_base)
        for name, why in decided.delete:
            delete_backup(folder, name)
            log(f"deleted {name}: {why}")
        if settings.backup.wal_archive is not None and decided.wal_from is not None:
            programs = find_server_programs(database.server_major)
            _run([programs / "pg_archivecleanup", settings.backup.wal_archive, decided.wal_from])
    return decided


def run_pitr_drill(settings: Settings, database: Database, now: datetime, log: Log = lambda _: None) -> PitrReport:
    """Prove that the newest base backup and the archived log restore a given second.

    A mark is written before that second, another after it; both are in a database of their own. The restored server
    must have the first and not the second, and answer a ladder. Raises BackupError with the reason when that is not so,
    or archiving is off, NoDataError without a base backup.
    """
    began_seconds = time.monotonic()
    archive, folder = _archive(settings, database), base_folder(settings)
    with _only_one(folder):
        _remove_leftovers(folder)
        found = bases(folder)
        if not found:
            raise NoDataError(f"there is no base backup in {folder}: run `strikecast backup base`")
        base, programs = found[0], find_server_programs(database.server_major)
        log(f"verifying {base.name}")
        _run([programs / "pg_verifybackup", "--quiet", folder / base.name])
        if any((folder / base.name / "pg_tblspc").iterdir()):
            raise BackupError(f"{base.name} has tablespaces, which would be used by two servers: restore it by hand")
        for left in unused_databases(database, PITR_PREFIX):
            drop_database(database, left)
        name = f"{PITR_PREFIX}{now:%Y%m%d%H%M%S}"
        try:
            target_at = _mark(database, name, log)
            _wait_until_archived(database, archive, recovery.finish_wal_file(database), log)
        finally:
            drop_database(database, name)
        with TemporaryDirectory(prefix="drill-", suffix=".partial", dir=folder) as scratch:
            server = EmbeddedServer(Path(scratch) / "server", programs=programs)
            wal_files = _lay_out(server, folder / base.name, archive, base.start_wal, target_at)
            log(f"restoring {base.name} and {wal_files} files of the log up to {target_at:%Y-%m-%d %H:%M:%S} UTC")
            with server.running():
                login = quote(str(database.parameters.get("user") or "postgres"), safe="")
                restored = Database(f"postgresql://{login}@/{name}?host={quote(str(server.socket_dir))}")
                marks = tuple(recovery.marks(restored))
                if marks != (BEFORE,):
                    raise BackupError(
                        f"restored to {target_at:%Y-%m-%d %H:%M:%S} UTC, the server has the marks {marks}, where only "
                        f"{BEFORE!r} was expected: the log in the archive is not this server's, or the base is not"
                    )
                ladders = read_ladders(settings, Database(restored.url_for(str(database.parameters["dbname"]))))
    return PitrReport(base.name, target_at, marks, wal_files, ladders, time.monotonic() - began_seconds)


def _archive(settings: Settings, database: Database) -> Path:
    """Folder of the archived log. Raises BackupError when the server does not archive, or not into a folder we know."""
    state = recovery.archiving(database)
    if not state.is_on:
        raise BackupError(
            f"the server does not archive its log (archive_mode {state.mode}, archive_command "
            f"{state.command or 'empty'}): see Point-in-time recovery in docs/backups.md"
        )
    archive = settings.backup.wal_archive
    if archive is None or not archive.is_dir():
        raise BackupError(
            f"`wal_archive` in [backup] must name the folder that archive_command writes to, not {archive or 'nothing'}"
        )
    return archive


def _mark(database: Database, name: str, log: Log) -> datetime:
    """Write a mark, let a full second pass, write another; that second, by the server's clock."""
    marked = create_database(database, name)
    recovery.create_mark_table(marked)
    recovery.write_mark(marked, BEFORE)
    target_at = recovery.server_time(marked).astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    log(f"a mark before {target_at:%H:%M:%S}, and one after it")
    _wait(lambda: recovery.server_time(marked) > target_at)
    recovery.write_mark(marked, AFTER)
    return target_at


def _wait_until_archived(database: Database, archive: Path, wal: str, log: Log) -> None:
    log(f"waiting for {wal} to be archived")
    if not _wait((archive / wal).is_file):
        failed = recovery.failed_wal(database)
        raise BackupError(
            f"{wal} is not in {archive} after {ARCHIVE_TIMEOUT_SECONDS} s"
            + (f": the server fails to archive {failed}, its log says why" if failed else "")
        )


def _wait(condition: Callable[[], bool]) -> bool:
    retrying = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(ARCHIVE_TIMEOUT_SECONDS),
        retry_error_callback=lambda _: False,
    )
    return bool(retrying(condition))


def _lay_out(server: EmbeddedServer, base: Path, archive: Path, start_wal: str, target_at: datetime) -> int:
    """A server's directory made of a base backup, the log since, and a configuration of our own; how much log."""
    shutil.copytree(base, server.data, symlinks=True)
    wal = server.directory / "wal"
    wal.mkdir()
    copied = 0
    for path in sorted(archive.iterdir()):
        # Names of a later timeline are greater; the histories of timelines are short, and needed to follow them.
        if not path.name.startswith(".") and (path.name >= start_wal or path.suffix == ".history"):
            shutil.copyfile(path, wal / path.name)
            copied += 1
    for name in ("postgresql.auto.conf", "standby.signal", "backup_manifest"):  # what the copied server was told to do
        (server.data / name).unlink(missing_ok=True)
    target = f"recovery_target_time = '{target_at:%Y-%m-%d %H:%M:%S}+00'\n"
    (server.data / "postgresql.conf").write_text(CONFIGURATION + RECOVERY + target, encoding="utf-8")
    (server.data / "pg_hba.conf").write_text("local all all trust\n", encoding="utf-8")
    (server.data / "pg_ident.conf").write_text("", encoding="utf-8")
    (server.data / "recovery.signal").touch()
    server.adopt_files()
    return copied


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise AlreadyRunningError(f"another process is at the base backups in {folder}") from None


def _remove_leftovers(folder: Path) -> None:
    """What killed runs left; nobody else is at it."""
    for left in folder.glob("*.partial"):
        EmbeddedServer(left / "server").stop()
        shutil.rmtree(left)


def _run(command: list[str | Path], variables: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, umask=0o077)
    if done.returncode:
        raise BackupError(f"{Path(command[0]).name} ended with {done.returncode}: {single_line(done.stderr)[:500]}")
