"""`strikecast backup`: making backups, and showing that they restore."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings
from pipelines.deployment import running_server
from pipelines.domain.maintenance.backups import RotationPlan
from pipelines.errors import BackupError, SettingsError
from pipelines.maintenance.backup import (
    Backup,
    create_backup,
    find_backup,
    list_backups,
    plan,
    rotate_backups,
    verify_backup,
)
from pipelines.maintenance.backup_copies import plan_copies, rotate_copies

if TYPE_CHECKING:
    from pipelines.maintenance.restore import RestoreReport

app = typer.Typer(
    no_args_is_help=True,
    help="Back up the database, and show that backups restore.\n\nTry `strikecast backup create`, `strikecast backup "
    "drill`, `strikecast backup list`.",
)
Name = Annotated[str | None, typer.Argument(help="Name of the backup; by default the newest sound one.")]


def _shown(backup: Backup) -> dict[str, Any]:
    manifest = backup.manifest
    return {
        "name": backup.folder.name,
        "database": manifest.database,
        "snapshot_at": manifest.snapshot_at,
        "bytes": manifest.bytes,
        "database_bytes": manifest.server_size_bytes,
        "rows": manifest.rows,
        "tables": len(manifest.tables),
        "server_version": manifest.server_version,
        "seconds": manifest.seconds,
        "encryption": manifest.encryption,
        "verified_at": backup.verified_at,
        "content_read": None if backup.verified_at is None else backup.content_read,
        "problem": backup.problem,
    }


def _tell(shown: dict[str, Any], *, json: bool) -> None:
    if json:
        console.print_json(shown)
    else:
        console.print_facts(shown)


@app.command("create")
def create_(json: Json = False) -> None:
    """Back the database up: whole, checked and read back, or not at all. Example: `strikecast backup create`"""
    settings = command_settings()
    with running_server(settings) as database:
        made = create_backup(
            database,
            settings.backups_dir,
            console.log,
            compression=settings.backup.compression,
            encrypt_to=settings.backup.encrypt_to,
            copy_to=settings.backup.copy_to,
        )
    _tell(_shown(made), json=json)
    if made.copy_problem is not None:
        raise BackupError(made.copy_problem)


@app.command("list")
def list_(json: Json = False) -> None:
    """Show the backups, newest first."""
    settings = command_settings()
    shown = [_shown(one) for one in list_backups(settings.backups_dir)]
    if json:
        console.print_json({"folder": str(settings.backups_dir), "backups": shown})
    else:
        console.print_backups(settings.backups_dir, shown)


@app.command("verify")
def verify_(name: Name = None, json: Json = False) -> None:
    """Compare a backup with its SHA-256, and read all its data. Exit code 1 when it is damaged."""
    settings = command_settings()
    found = verify_backup(find_backup(settings.backups_dir, name), datetime.now(UTC), settings.backup.identity)
    _tell(_shown(found), json=json)
    if not found.content_read:
        console.log("only its SHA-256 was compared: it is encrypted, and no `identity` is set in [backup]")
    if found.problem is not None:
        raise BackupError(f"{found.folder.name} is damaged: {found.problem}")


@app.command("rotate")
def rotate_(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, delete nothing.")] = False,
    json: Json = False,
) -> None:
    """Delete the backups that no rule keeps, and such copies; the newest sound ones always stay."""
    settings = command_settings()
    folder, policy, now = settings.backups_dir, settings.backup, datetime.now(UTC)
    decided = plan(list_backups(folder), policy, now) if dry_run else rotate_backups(folder, policy, now, console.log)
    rotate_there = plan_copies if dry_run else partial(rotate_copies, log=console.log)
    there = RotationPlan((), ()) if policy.copy_to is None else rotate_there(policy.copy_to, policy, now)
    if json:
        console.print_json(asdict(decided) | {"copies": asdict(there)})
        return
    for verb, rows in (
        ("keep", decided.keep),
        ("delete", decided.delete),
        ("keep copy", there.keep),
        ("delete copy", there.delete),
    ):
        for backup, why in rows:
            console.result.print(f"{verb:6} {backup}: {why}", markup=False, soft_wrap=True)


@app.command("restore")
def restore_(
    name: Name = None,
    into: Annotated[str | None, typer.Option(help="Name of the new database.")] = None,
    replace_it: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the database in use, which is kept renamed.")
    ] = False,
    json: Json = False,
) -> None:
    """Restore a backup into a new database, and compare it with what the backup says of itself.

    Examples: `strikecast backup restore --into yesterday`, `strikecast backup restore NAME --replace`
    """
    from pipelines.maintenance.restore import replace, restore

    settings = command_settings()
    if (into is None) != replace_it:
        raise SettingsError("restore takes either --into DATABASE or --replace")
    with running_server(settings) as database:
        backup = find_backup(settings.backups_dir, name)
        done = (
            replace(database, backup, datetime.now(UTC), console.log, identity=settings.backup.identity)
            if into is None
            else restore(database, backup, into, datetime.now(UTC), console.log, identity=settings.backup.identity)
        )
    _tell_restored(done, json=json)


@app.command("base")
def base_(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; make and delete nothing.")] = False,
    json: Json = False,
) -> None:
    """Take a copy of the whole server for point-in-time recovery, verify it, and delete older ones with their log.

    Examples: `strikecast backup base`, `strikecast backup base --dry-run`
    """
    from pipelines.maintenance.point_in_time_recovery import base_folder, create_base_backup, plan_pruning, prune

    settings = command_settings()
    folder = base_folder(settings)
    if dry_run:
        made, decided = None, plan_pruning(folder, settings.backup.keep_base)
    else:
        with running_server(settings) as database:
            made = create_base_backup(database, folder, datetime.now(UTC), console.log)
            decided = prune(settings, database, console.log)
    if json:
        console.print_json({"made": None if made is None else str(made), **asdict(decided)})
        return
    for verb, rows in (("keep", decided.keep), ("delete", decided.delete)):
        for base, why in rows:
            console.result.print(f"{verb:6} {base}: {why}", markup=False, soft_wrap=True)
    if decided.wal_from is not None and settings.backup.wal_archive is not None:
        console.result.print(f"keep   the log from {decided.wal_from} on", markup=False, soft_wrap=True)


@app.command("drill")
def drill_(
    name: Name = None,
    pitr: Annotated[
        bool, typer.Option("--pitr", help="Restore the newest base backup and the archived log to a given second.")
    ] = False,
    json: Json = False,
) -> None:
    """Prove that a backup restores: into a scratch database, compared table by table, asked for a ladder, dropped.

    Examples: `strikecast backup drill`, `strikecast backup drill --pitr`
    """
    from pipelines.maintenance.point_in_time_recovery import run_pitr_drill
    from pipelines.maintenance.restore import drill

    settings = command_settings()
    if pitr:
        if name is not None:
            raise SettingsError("drill takes either the name of a backup or --pitr")
        with running_server(settings) as database:
            _tell(asdict(run_pitr_drill(settings, database, datetime.now(UTC), console.log)), json=json)
        return
    with running_server(settings) as database:
        done = drill(settings, database, find_backup(settings.backups_dir, name), datetime.now(UTC), console.log)
    _tell_restored(done, json=json)


def _tell_restored(done: "RestoreReport", *, json: bool) -> None:
    _tell(asdict(done), json=json)
    if done.differences:
        raise BackupError(f"{done.database} differs from {done.backup}: {'; '.join(done.differences)}")
