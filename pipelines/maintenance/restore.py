"""Restore a backup into a new database, in place of the database in use, or as a drill."""

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
    """Result of a restore, and the differences of the database from the backup.

    `ladders`: number of symbols whose ladder was read. `kept_as`: new name of the replaced database.
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
    """Restore a backup into the new database `into`, and compare its tables with the manifest.

    `database`: any database of the server. `identity`: age's key file or the folder of gpg's keyring.
    Raises BackupError for a damaged backup, one of a newer server, and a failed restore, whose database is dropped.
    """
    started_seconds = time.monotonic()
    _require_restorable(database, backup, now, log, identity)
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
    seconds = time.monotonic() - started_seconds
    manifest = backup.manifest
    return RestoreReport(backup.folder.name, into, len(manifest.tables), manifest.rows, seconds, found)


def restore_in_place(
    database: Database, backup: Backup, now: datetime, log: Log = lambda _: None, *, identity: Path | None = None
) -> RestoreReport:
    """Restore into a new database, and swap its name with that of the database in use, which is kept.

    Raises BackupError or DatabaseError, without a change of the database in use.
    """
    name = str(database.parameters["dbname"])
    stamp = f"{now:%Y%m%d%H%M%S}"
    report = restore(database, backup, f"{name}_restored_{stamp}", now, log, identity=identity)
    if report.differences:
        drop_database(database, report.database)
        raise BackupError(f"{name} is not replaced: the restored database differs: {'; '.join(report.differences)}")
    kept_as = f"{name}_before_{stamp}"
    swap_names(database, name, report.database, kept_as)
    return dataclasses.replace(report, database=name, kept_as=kept_as)


def run_drill(
    settings: Settings, database: Database, backup: Backup, now: datetime, log: Log = lambda _: None
) -> RestoreReport:
    """Restore into a scratch database, compare, read a ladder of each published symbol, and drop the database.

    Raises BackupError when the backup cannot be restored or a ladder cannot be read.
    """
    for leftover in unused_databases(database, DRILL_PREFIX):  # of drills that were killed
        drop_database(database, leftover)
    name = f"{DRILL_PREFIX}{now:%Y%m%d%H%M%S}"
    report = restore(database, backup, name, now, log, identity=settings.backup.identity)
    try:
        ladders = read_ladders(settings, Database(database.url_for(name)))
    except NoDataError as error:
        raise BackupError(f"{backup.folder.name} was restored, but a ladder cannot be read: {error}") from error
    finally:
        drop_database(database, name)
    return dataclasses.replace(report, ladders=ladders)


def read_ladders(settings: Settings, database: Database) -> int:
    """Read a ladder of each published symbol; returns their number. Raises NoDataError when one cannot be read."""
    with database.connect("drill", Role.READER) as connection:
        symbols = champion_generations(connection, list(settings.symbols))
        prices = {symbol: bars[-1].close for symbol in symbols if (bars := latest_bars(connection, symbol, 1))}
    for symbol, price in prices.items():
        ladder_payload(database, symbol, settings.tier_usd(symbol), price, CHECKED_TTC_SECONDS, 0.0)
    return len(prices)


def _require_restorable(database: Database, backup: Backup, now: datetime, log: Log, identity: Path | None) -> None:
    name = backup.folder.name
    log(f"verifying {name}")
    verified = verify_backup(backup, now, identity)
    if verified.problem is not None:
        raise BackupError(f"{name} is damaged: {verified.problem}")
    if not verified.content_read:
        raise BackupError(f"{name} is encrypted with {backup.manifest.encryption}: set `identity` in [backup]")
    version, server = int(backup.manifest.server_version.split(".")[0]), database.server_major
    if version > server:
        raise BackupError(f"{name} is of PostgreSQL {version}, the server is {server}: use a server of {version}")


def _run_pg_restore(target: Database, backup: Backup, identity: Path | None) -> None:
    client = int(backup.manifest.client_version.split(".")[0])
    programs = find_client_programs(max(target.server_major, client))
    command: list[str | Path] = [
        programs / "pg_restore",
        "--exit-on-error",
        "--no-password",
        f"--dbname={target.parameters['dbname']}",
    ]
    # Parallel jobs need a file; decrypted data is a stream and must not reach the disk.
    if backup.manifest.encryption is None:
        command += [f"--jobs={JOBS}", backup.dump]
    with client_environment(target) as variables:
        message = run_on_decrypted(command, backup.dump, identity, variables)
    if message is not None:
        raise BackupError(f"pg_restore failed: {message}")


def _roles(text: str) -> list[str]:
    """Names of the roles that a dump of roles creates."""
    found = re.findall(r'^CREATE ROLE (?:"((?:[^"]|"")+)"|(\w+));', text, re.MULTILINE)
    return [(quoted or plain).replace('""', '"') for quoted, plain in found]
