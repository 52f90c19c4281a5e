"""Restore a backup into a new database, in place of the database in use, or as a drill."""

import dataclasses
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from pipelines.domain.maintenance.backups import differences
from pipelines.domain.maintenance.restored_roles import database_properties, owners, restored_roles
from pipelines.errors import BackupError, NoDataError
from pipelines.log import Log
from pipelines.maintenance.backup import Backup, read_backup, verify_backup
from pipelines.maintenance.client_programs import SERVICE, client_environment, find_client_programs
from pipelines.maintenance.encryption import read_decrypted, read_through, run_on_decrypted
from pipelines.maintenance.signatures import MANIFEST, Origin, origin, require_own
from pipelines.settings import Settings
from pipelines.storage.maintenance.restored_databases import (
    WATCHING_EXTENSIONS,
    Swap,
    analyze,
    create_database,
    create_missing_roles,
    create_watching_extensions,
    drop_database,
    has_tables,
    lend_to_owner,
    plain_roles,
    require_database_name,
    restrict_locks_in,
    set_owners,
    set_properties,
    swap_names,
    table_facts,
    take_back,
    unused_databases,
)
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.ladders import ladder_payload
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.logins import LoginRefusedError, limited_login
from pipelines.storage.prices.history import latest_bars

DRILL_PREFIX = "strikecast_drill_"
DAGSTER_MISSING = (
    "Dagster's database: the history of runs is lost, and `strikecast up` creates a new one with the symbols registered"
)
JOBS = 2
CHECKED_TTC_SECONDS = 900


@dataclass(frozen=True)
class Trust:
    """What a restore may rely on. `key`: the file of the key that signs backups.

    `unsigned`: restore a backup whose signature is missing or of another key. `login_rights`: execute the statements of
    the dump with the rights of the login, which on the embedded server are a superuser's.
    """

    key: Path | None
    unsigned: bool = False
    login_rights: bool = False

    def require(self, backup: Backup) -> bool:
        """Whether the backup is signed with the key. Raises BackupError if it is not and was to be."""
        manifest = (backup.folder / MANIFEST).read_bytes()
        if read_backup(backup.folder).manifest != backup.manifest:
            raise BackupError(f"{backup.folder.name} has changed while it was read: try again")
        if not self.unsigned:
            require_own(backup.folder, manifest, self.key)
        return origin(backup.folder, manifest, self.key) is Origin.OURS


@dataclass(frozen=True)
class RestoreReport:
    """Result of a restore, and the differences of the databases from the backup.

    `dagster`: the restored database of Dagster. `missing`: what the backup does not contain. `refused`: roles and
    properties that the login has no right to restore. `ladders`: number of symbols whose ladder was read. `kept_as`:
    new names of the replaced databases.
    """

    backup: str
    database: str
    tables: int
    rows: int
    seconds: float
    differences: tuple[str, ...]
    dagster: str | None = None
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    ladders: int | None = None
    kept_as: tuple[str, ...] = ()


def restore(
    database: Database,
    backup: Backup,
    into: str,
    now: datetime,
    log: Log = lambda _: None,
    *,
    identity: Path | None = None,
    dagster_into: str | None = None,
    trust: Trust,
) -> RestoreReport:
    """Restore a backup into the new database `into`, and compare its tables with the manifest.

    With `dagster_into`, Dagster's database is restored into that new database, if the backup contains it. Roles that
    the server lacks are created, without passwords. `database`: any database of the server, which need not exist.
    `identity`: age's key file or the folder of gpg's keyring. The statements of the dump are executed with the rights
    of strikecast_owner. Raises BackupError for a backup that is damaged, forged or of a newer server, and for a failed
    restore, whose databases are dropped.
    """
    started_seconds = time.monotonic()
    server, manifest = Database(database.url_for("postgres")), backup.manifest
    for name in filter(None, (into, dagster_into)):
        require_database_name(name)
    signed = trust.require(backup)
    _require_restorable(server, backup, now, log, identity)
    targets = [(into, backup.dump, manifest.tables)]
    if dagster_into is not None and backup.dagster_dump is not None and manifest.dagster_tables is not None:
        targets.append((dagster_into, backup.dagster_dump, manifest.dagster_tables))
    schemas = {dump: _schema(server, backup, dump, identity) for _, dump, _ in targets}
    roles = restored_roles(read_decrypted(backup.roles, identity).decode(), schemas.values())
    refused = create_missing_roles(server, roles)
    found: tuple[str, ...] = ()
    created = []
    try:
        for name, dump, tables in targets:
            target = create_database(database, name)
            created.append(name)
            log(f"restoring {dump.name} of {backup.folder.name} into {name}")
            entries = None if trust.login_rights else _list_for_owner(target, backup, dump, identity)
            with _restorer(target, trust, log, signed=signed) as restorer:
                _run_pg_restore(restorer, backup, dump, identity, entries)
                analyze(restorer)
                log(f"comparing every table of {name} with the backup")
                found += differences(tables, table_facts(restorer))
            refused += set_owners(target, owners(schemas[dump]))
            restrict_locks_in(target)
            refused += set_properties(server, name, database_properties(schemas[dump], plain_roles(server)))
    except BaseException:
        for name in created:
            drop_database(database, name)
        raise
    return RestoreReport(
        backup.folder.name,
        into,
        len(manifest.tables),
        manifest.rows,
        time.monotonic() - started_seconds,
        found,
        dagster=dagster_into if len(targets) > 1 else None,
        missing=() if manifest.dagster_tables is not None else (DAGSTER_MISSING,),
        refused=refused,
    )


def restore_in_place(
    database: Database,
    backup: Backup,
    now: datetime,
    log: Log = lambda _: None,
    *,
    identity: Path | None = None,
    dagster: str | None = None,
    replace: bool = False,
    trust: Trust,
) -> RestoreReport:
    """Restore under the name of `database`, and Dagster's database under the name `dagster`.

    Both are restored under other names, compared and renamed in one transaction, so that an interrupted restore leaves
    no incomplete database under its name. With `replace`, the databases in use are kept under new names. Raises
    BackupError or DatabaseError, without a change of the databases in use; also for one with tables without `replace`.
    """
    name = database.name
    if not replace and has_tables(database):
        raise BackupError(
            f"database {name} exists: restore with --into NAME into a new database beside it, or with --replace in its "
            "place"
        )
    stamp = f"{now:%Y%m%d%H%M%S}"
    restored = {one: f"{one[:39]}_restored_{stamp}" for one in (name, dagster) if one is not None}  # 63 at most
    report = restore(
        database,
        backup,
        restored[name],
        now,
        log,
        identity=identity,
        dagster_into=dagster and restored[dagster],
        trust=trust,
    )
    created = [one for one in (name, dagster) if one is not None and restored[one] in {report.database, report.dagster}]
    if report.differences:
        for one in created:
            drop_database(database, restored[one])
        raise BackupError(f"{name} is not replaced: the restored database differs: {'; '.join(report.differences)}")
    kept = swap_names(database, [Swap(one, restored[one], f"{one[:41]}_before_{stamp}") for one in created])
    return dataclasses.replace(report, database=name, dagster=report.dagster and dagster, kept_as=tuple(kept))


def run_drill(
    settings: Settings,
    database: Database,
    backup: Backup,
    now: datetime,
    log: Log = lambda _: None,
    *,
    trust: Trust | None = None,
) -> RestoreReport:
    """Restore into scratch databases, compare, read a ladder of each published symbol, and drop the databases.

    By default only a backup that is signed with this home's key. Raises BackupError when the backup cannot be restored
    or a ladder cannot be read.
    """
    for leftover in unused_databases(database, DRILL_PREFIX):  # of drills that were killed
        drop_database(database, leftover)
    name = f"{DRILL_PREFIX}{now:%Y%m%d%H%M%S}"
    dagster = f"{name}_dagster"
    trust = trust or Trust(settings.signing_key)
    identity = settings.backup.identity
    report = restore(database, backup, name, now, log, identity=identity, dagster_into=dagster, trust=trust)
    restored = Database(database.url_for(name))
    try:
        with _reader(restored, trust) as reader:
            ladders = read_ladders(settings, reader)
    except NoDataError as error:
        raise BackupError(f"{backup.folder.name} was restored, but a ladder cannot be read: {error}") from error
    finally:
        for one in (name, dagster):
            drop_database(database, one)
    return dataclasses.replace(report, ladders=ladders)


@contextmanager
def _restorer(target: Database, trust: Trust, log: Log, *, signed: bool) -> Iterator[Database]:
    """The new database, with a login that has the rights of strikecast_owner alone where the server accepts one."""
    if trust.login_rights:
        yield target
        return
    lend_to_owner(target)
    with ExitStack() as stack:
        try:
            restorer = stack.enter_context(limited_login(target, [Role.OWNER]))
        except LoginRefusedError as error:
            if not signed:
                raise BackupError(
                    f"{error}; or restore with the rights of the login: --with-login-rights, if you trust the backup"
                ) from error
            log(f"{error}; the dump, which is signed, is restored with the rights of the login")
            restorer = target
        yield restorer
    take_back(target)


@contextmanager
def _reader(restored: Database, trust: Trust) -> Iterator[Database]:
    """The restored database with a login that only reads: reading executes functions of the dump."""
    with ExitStack() as stack:
        reader = restored
        if not trust.login_rights:
            with suppress(LoginRefusedError):  # the restore has reported it
                reader = stack.enter_context(limited_login(restored, [Role.READER]))
        yield reader


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


def _schema(server: Database, backup: Backup, dump: Path, identity: Path | None) -> str:
    """SQL of everything in a dump but its rows, with the creation of the database."""
    command: list[str | Path] = [_programs(server, backup) / "pg_restore", "--create", "--schema-only", "--file=-"]
    return read_through(command, dump, identity)


def _programs(server: Database, backup: Backup) -> Path:
    client = int(backup.manifest.client_version.split(".")[0])
    return find_client_programs(max(server.server_major, client))


#: Entries of a dump that need more rights than the owner's, and that a restore replaces.
_EXTENSION = re.compile(r"\d+; \d+ \d+ (?:COMMENT - )?EXTENSION (?:- )?(\S+)")
_OF_CATALOG = re.compile(r"\d+; \d+ \d+ ACL pg_catalog ")


def _list_for_owner(target: Database, backup: Backup, dump: Path, identity: Path | None) -> str:
    """The list of the entries of a dump that its owner may restore; extensions that watch the server are created."""
    lines = read_through([_programs(target, backup) / "pg_restore", "--list"], dump, identity).splitlines()
    extensions = {line: match[1] for line in lines if (match := _EXTENSION.match(line))}
    create_watching_extensions(target, extensions.values())
    left_out = {line for line, name in extensions.items() if name in WATCHING_EXTENSIONS}
    return "\n".join(line for line in lines if line not in left_out and not _OF_CATALOG.match(line))


def _run_pg_restore(
    target: Database, backup: Backup, dump: Path, identity: Path | None, owners_list: str | None
) -> None:
    """Restore a dump into the database `target`; with `owners_list`, those entries, as strikecast_owner."""
    command: list[str | Path] = [
        _programs(target, backup) / "pg_restore",
        "--exit-on-error",
        "--no-password",
        f"--dbname=service={SERVICE}",
    ]
    with client_environment(target) as variables, NamedTemporaryFile("w", suffix=".list") as entries:
        if owners_list is not None:
            entries.write(owners_list)
            entries.flush()
            command += ["--no-owner", f"--role={Role.OWNER}", f"--use-list={entries.name}"]
        # Parallel jobs need a file; decrypted data is a stream and must not reach the disk.
        if backup.manifest.encryption is None:
            command += [f"--jobs={JOBS}", dump]
        message = run_on_decrypted(command, dump, identity, variables)
    if message is not None:
        hint = ""
        if owners_list is not None and any(word in message for word in ("permission denied", "must be", "superuser")):
            hint = "; it needs more rights than strikecast_owner has: add --with-login-rights if you trust the backup"
        raise BackupError(f"pg_restore failed: {message}{hint}")
