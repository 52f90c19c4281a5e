"""Restores: into a new database, over an existing one, and as a drill."""

import dataclasses
import re
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.domain.maintenance.backups import differences
from pipelines.errors import BackupError, NoDataError
from pipelines.log import Log
from pipelines.maintenance.backup import Backup, verify_backup
from pipelines.maintenance.client_programs import client_environment, find_client_programs
from pipelines.maintenance.encryption import read_decrypted, run_on_decrypted
from pipelines.settings import Settings
from pipelines.storage.maintenance.restored_databases import (
    analyze,
    create_database,
    create_missing_roles,
    drop_database,
    swap_names,
    table_facts,
    unused_databases,
)
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.ladders import ladder_payload
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.history import latest_bars

DRILL_PREFIX = "strikecast_drill_"
JOBS = 2
CHECKED_TTC_SECONDS = 900


@dataclass(frozen=True)
class RestoreReport:
    """What was restored, into which database, and how it differs from the backup.

    `ladders`: symbols whose ladder was read from it; `kept_as`: name of the database that it replaced.
    """

    backup: str
    database: str
    tables: int
    rows: int
    seconds: float
    differences: tuple[str, ...]
    ladders: int | None = None
    kept_as: str | None = None


def restore(
    database: Database,
    backup: Backup,
    into: str,
    now: datetime,
    log: Log = lambda _: None,
    *,
    identity: Path | None = None,
) -> RestoreReport:
    """Restore a backup into a new database, and compare it with what the backup says of itself.

    `database` says which server, `identity` what decrypts an encrypted one. Nothing is touched for a
    backup that is damaged or of a newer server. Raises
    BackupError; then the new database is gone again.
    """
    began_seconds = time.monotonic()
    _require_sound(database, backup, now, log, identity)
    target = create_database(database, into)
    try:
        create_missing_roles(database, _roles(read_decrypted(backup.roles, identity).decode()))
        log(f"restoring {backup.folder.name} into {into}")
        _run_pg_restore(target, backup, identity)
        analyze(target)
        log("comparing every table with the backup")
        found = differences(backup.manifest.tables, table_facts(target))
    except BaseException:
        drop_database(database, into)
        raise
    seconds = time.monotonic() - began_seconds
    manifest = backup.manifest
    return RestoreReport(backup.folder.name, into, len(manifest.tables), manifest.rows, seconds, found)


def replace(
    database: Database, backup: Backup, now: datetime, log: Log = lambda _: None, *, identity: Path | None = None
) -> RestoreReport:
    """Restore beside the database in use, and swap their names once nothing differs; the old one stays, renamed.

    Raises BackupError or DatabaseError; then the database in use is as it was.
    """
    name = str(database.parameters["dbname"])
    stamp = f"{now:%Y%m%d%H%M%S}"
    done = restore(database, backup, f"{name}_restored_{stamp}", now, log, identity=identity)
    if done.differences:
        drop_database(database, done.database)
        raise BackupError(f"{name} is not replaced, since the restored one differs: {'; '.join(done.differences)}")
    kept_as = f"{name}_before_{stamp}"
    swap_names(database, name, done.database, kept_as)
    return dataclasses.replace(done, database=name, kept_as=kept_as)


def drill(
    settings: Settings, database: Database, backup: Backup, now: datetime, log: Log = lambda _: None
) -> RestoreReport:
    """Restore into a scratch database, compare, read a ladder of each published symbol, drop it again.

    Raises BackupError when the backup cannot be restored or answers nothing.
    """
    for left in unused_databases(database, DRILL_PREFIX):  # of drills that were killed
        drop_database(database, left)
    name = f"{DRILL_PREFIX}{now:%Y%m%d%H%M%S}"
    done = restore(database, backup, name, now, log, identity=settings.backup.identity)
    try:
        ladders = read_ladders(settings, Database(database.url_for(name)))
    except NoDataError as error:
        raise BackupError(f"{backup.folder.name} restores, but answers nothing: {error}") from error
    finally:
        drop_database(database, name)
    return dataclasses.replace(done, ladders=ladders)


def read_ladders(settings: Settings, database: Database) -> int:
    """Read a ladder of each published symbol; how many there were. Raises NoDataError where one answers nothing."""
    with database.connect("drill", Role.READER) as connection:
        symbols = champion_generations(connection, list(settings.symbols))
        prices = {symbol: bars[-1].close for symbol in symbols if (bars := latest_bars(connection, symbol, 1))}
    for symbol, price in prices.items():
        ladder_payload(database, symbol, settings.tier_usd(symbol), price, CHECKED_TTC_SECONDS, 0.0)
    return len(prices)


def _require_sound(database: Database, backup: Backup, now: datetime, log: Log, identity: Path | None) -> None:
    log(f"verifying {backup.folder.name}")
    found = verify_backup(backup, now, identity)
    if found.problem is not None:
        raise BackupError(f"{backup.folder.name} is damaged: {found.problem}")
    if not found.content_read:
        raise BackupError(
            f"{backup.folder.name} is encrypted with {backup.manifest.encryption}: set `identity` in [backup]"
        )
    server = database.server_major
    written_by = int(backup.manifest.server_version.split(".")[0])
    if written_by > server:
        raise BackupError(f"{backup.folder.name} is of PostgreSQL {written_by}, this server is {server}: it is too old")


def _run_pg_restore(target: Database, backup: Backup, identity: Path | None) -> None:
    written_with = int(backup.manifest.client_version.split(".")[0])
    programs = find_client_programs(max(target.server_major, written_with))
    command: list[str | Path] = [
        programs / "pg_restore",
        "--exit-on-error",
        "--no-password",
        f"--dbname={target.parameters['dbname']}",
    ]
    # Several jobs need a file; what is decrypted is a stream, and stays off the disk.
    if backup.manifest.encryption is None:
        command += [f"--jobs={JOBS}", backup.dump]
    with client_environment(target) as variables:
        complaint = run_on_decrypted(command, backup.dump, identity, variables)
    if complaint is not None:
        raise BackupError(f"pg_restore failed: {complaint}")


def _roles(text: str) -> list[str]:
    """Names of the roles that a backup wants."""
    found = re.findall(r'^CREATE ROLE (?:"((?:[^"]|"")+)"|(\w+));', text, re.MULTILINE)
    return [(quoted or plain).replace('""', '"') for quoted, plain in found]
