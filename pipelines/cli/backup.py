"""`strikecast backup`: create, verify, rotate and restore backups."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import console
from pipelines.cli.arguments import DryRun, Json, command_settings, reading_settings
from pipelines.deployment import running_server
from pipelines.domain.maintenance.backups import RotationPlan, plan_bases
from pipelines.errors import BackupError, SettingsError
from pipelines.maintenance.backup import (
    Backup,
    create_backup,
    find_backup,
    list_backups,
    rotate_backups,
    rotate_copies,
    verify_backup,
)
from pipelines.maintenance.signatures import MANIFEST, origin

if TYPE_CHECKING:
    from pipelines.maintenance.restore import RestoreReport

app = typer.Typer(
    no_args_is_help=True,
    help="Back up the database, restore it, and run restore drills.\n\nTry `strikecast backup create`, `strikecast "
    "backup drill`, `strikecast backup list`.",
)
AcceptUnsigned = Annotated[
    bool, typer.Option(help="Restore a backup without a signature of this home's key; only if its folder was safe.")
]
WithLoginRights = Annotated[
    bool, typer.Option(help="Execute the dump with all rights of the login; only for a backup that you trust.")
]
Name = Annotated[str | None, typer.Argument(help="Name of the backup; by default the newest undamaged one.")]


def _facts(backup: Backup, key: Path) -> dict[str, Any]:
    manifest = backup.manifest
    return {
        "name": backup.folder.name,
        "kind": "dump",
        "database": manifest.database,
        "snapshot_at": manifest.snapshot_at,
        "bytes": manifest.bytes,
        "database_bytes": manifest.server_size_bytes,
        "rows": manifest.rows,
        "tables": len(manifest.tables),
        "dagster": None if manifest.dagster_tables is None else sum(one.rows for one in manifest.dagster_tables),
        "server_version": manifest.server_version,
        "seconds": manifest.seconds,
        "encryption": manifest.encryption,
        "signature": str(origin(backup.folder, (backup.folder / MANIFEST).read_bytes(), key)),
        "verified_at": backup.verified_at,
        "content_read": None if backup.verified_at is None else backup.content_read,
        "problem": backup.problem,
    }


def _print(facts: dict[str, Any], *, json: bool) -> None:
    if json:
        console.print_json(facts)
    else:
        console.print_facts(facts)


@app.command()
def create(json: Json = False) -> None:
    """Back up the database, and verify the backup while it is written. Example: `strikecast backup create`"""
    settings = command_settings()
    from pipelines.storage.maintenance.restored_databases import has_tables
    from pipelines.storage.postgres.schema import migrate

    with running_server(settings) as database:
        if not has_tables(database):
            migrate(database)
            console.log(f"{database.describe()} was empty: the backup contains no prices")
        backup = create_backup(
            database,
            settings.backups_dir,
            settings.backup,
            console.log,
            settings.dagster_database,
            settings.signing_key,
        )
    _print(_facts(backup, settings.signing_key), json=json)
    if backup.copy_problem is not None:
        raise BackupError(backup.copy_problem)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the backups and the base backups of point-in-time recovery, each newest first."""
    from pipelines.maintenance.point_in_time_recovery import base_backup_bytes, base_folder, list_base_backups

    settings = reading_settings()
    facts = [_facts(one, settings.signing_key) for one in list_backups(settings.backups_dir)]
    folder = base_folder(settings)
    bases = [
        {"name": one.name, "kind": "base", "snapshot_at": one.taken_at, "bytes": base_backup_bytes(folder, one.name)}
        for one in list_base_backups(folder)
    ]
    if json:
        console.print_json({"folder": str(settings.backups_dir), "backups": facts, "base_backups": bases})
    else:
        console.print_backups(settings.backups_dir, [*facts, *bases])


@app.command()
def verify(name: Name = None, json: Json = False) -> None:
    """Compare a backup with its SHA-256, and read all its data. Exit code 1 when it is damaged."""
    settings = command_settings()
    backup = verify_backup(find_backup(settings.backups_dir, name), datetime.now(UTC), settings.backup.identity)
    _print(_facts(backup, settings.signing_key), json=json)
    if not backup.content_read:
        console.log("only the SHA-256 was compared: the backup is encrypted, and [backup] has no `identity`")
    if backup.problem is not None:
        raise BackupError(f"{backup.folder.name} is damaged: {backup.problem}")


@app.command()
def rotate(dry_run: DryRun = False, json: Json = False) -> None:
    """Delete the backups and copies that no rule keeps; the newest undamaged ones are always kept."""
    settings = reading_settings() if dry_run else command_settings()
    folder, policy, now = settings.backups_dir, settings.backup, datetime.now(UTC)
    plan, copies = rotate_backups(folder, policy, now, console.log, dry_run=dry_run), RotationPlan((), ())
    if policy.copy_to:
        copies = rotate_copies(policy.copy_to, policy, now, console.log, dry_run=dry_run)
    if json:
        console.print_json({"keep": plan.keep, "delete": plan.delete, "copies": copies})
        return
    _print_plan(plan)
    _print_plan(copies, " copy")
    if not plan.delete and not copies.delete:
        console.print_lines("nothing to delete" if plan.keep else f"nothing to delete: there is no backup in {folder}")


def _print_plan(plan: RotationPlan, kind: str = "") -> None:
    for action, rows in ((f"keep{kind}", plan.keep), (f"delete{kind}", plan.delete)):
        console.print_lines(*(f"{action:6} {name}: {reason}" for name, reason in rows))


@app.command("restore")
def restore_(
    name: Name = None,
    into: Annotated[str | None, typer.Option(help="Name of the new database.")] = None,
    in_place: Annotated[
        bool, typer.Option("--replace", help="Replace the database in use, which is kept under another name.")
    ] = False,
    accept_unsigned: AcceptUnsigned = False,
    with_login_rights: WithLoginRights = False,
    json: Json = False,
) -> None:
    """Restore a backup, and compare its tables with the backup's manifest.

    On a new machine the database, Dagster's and the roles are restored under their names; where the database exists,
    either --into or --replace is needed. Examples: `strikecast backup restore`, `strikecast backup restore --into
    yesterday`, `strikecast backup restore NAME --replace`
    """
    from pipelines.maintenance.restore import Trust, restore, restore_in_place

    settings = command_settings()
    if into is not None and in_place:
        raise SettingsError("restore takes either --into DATABASE or --replace")
    now, identity = datetime.now(UTC), settings.backup.identity
    backup = find_backup(settings.backups_dir, name)
    trust = Trust(settings.signing_key, unsigned=accept_unsigned, login_rights=with_login_rights)
    with running_server(settings, console.log) as database:
        if into is not None:
            report = restore(database, backup, into, now, console.log, identity=identity, trust=trust)
        else:
            dagster = settings.dagster_database
            report = restore_in_place(
                database,
                backup,
                now,
                console.log,
                identity=identity,
                dagster=dagster,
                replace=in_place,
                trust=trust,
            )
    _print_restore(report, json=json)
    if into is None and not json:
        console.print_lines("restored; start the system with `strikecast up`")


@app.command()
def base(dry_run: DryRun = False, json: Json = False) -> None:
    """Create and verify a base backup of the whole server for point-in-time recovery, and delete older ones.

    Examples: `strikecast backup base`, `strikecast backup base --dry-run`
    """
    from pipelines.maintenance import point_in_time_recovery as recovery

    settings = reading_settings() if dry_run else command_settings()
    folder = recovery.base_folder(settings)
    if dry_run:
        created, plan = None, plan_bases(recovery.list_base_backups(folder), settings.backup.keep_base)
    else:
        with running_server(settings) as database:
            created = str(recovery.create_base_backup(database, folder, datetime.now(UTC), console.log))
            plan = recovery.prune_base_backups(settings, database, console.log)
    if json:
        console.print_json({"made": created, **asdict(plan)})
        return
    _print_plan(plan)
    if not plan.keep:
        console.print_lines(f"there is no base backup in {folder}")
    if plan.wal_from is not None and settings.backup.wal_archive is not None:
        console.print_lines(f"keep   archived WAL from {plan.wal_from} on")


@app.command()
def drill(
    name: Name = None,
    pitr: Annotated[
        bool, typer.Option("--pitr", help="Restore the newest base backup and the archived WAL to a given second.")
    ] = False,
    accept_unsigned: AcceptUnsigned = False,
    with_login_rights: WithLoginRights = False,
    json: Json = False,
) -> None:
    """Restore a backup into a scratch database, compare every table, read a ladder, and drop the database.

    Examples: `strikecast backup drill`, `strikecast backup drill --pitr`
    """
    from pipelines.maintenance.point_in_time_recovery import run_pitr_drill
    from pipelines.maintenance.restore import Trust, run_drill

    settings, now = command_settings(), datetime.now(UTC)
    if pitr and name is not None:
        raise SettingsError("drill takes either the name of a backup or --pitr")
    backup = None if pitr else find_backup(settings.backups_dir, name)
    with running_server(settings) as database:
        if backup is None:
            _print(asdict(run_pitr_drill(settings, database, now, console.log)), json=json)
            return
        trust = Trust(settings.signing_key, unsigned=accept_unsigned, login_rights=with_login_rights)
        report = run_drill(settings, database, backup, now, console.log, trust=trust)
    _print_restore(report, json=json)


def _print_restore(report: "RestoreReport", *, json: bool) -> None:
    _print(asdict(report), json=json)
    if report.differences:
        raise BackupError(f"{report.database} differs from {report.backup}: {'; '.join(report.differences)}")
