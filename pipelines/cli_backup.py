"""`strikecast backup`: making backups, and showing that they restore."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from pipelines import console
from pipelines.cli_arguments import Json, command_settings
from pipelines.errors import BackupError, SettingsError
from pipelines.maintenance.backup import Backup, backups, create, named, plan, rotate, verify
from pipelines.maintenance.restore import RestoreReport, drill, replace, restore
from pipelines.runtime import running_server

app = typer.Typer(
    no_args_is_help=True,
    help="Back up the database, and show that backups restore.\n\nTry `strikecast backup create`, `strikecast backup "
    "drill`, `strikecast backup list`.",
)
Name = Annotated[str | None, typer.Argument(help="Name of the backup; by default the newest sound one.")]


def _now() -> datetime:
    return datetime.now(UTC)


def _shown(backup: Backup) -> dict[str, Any]:
    manifest = backup.manifest
    return {
        "name": backup.folder.name, "database": manifest.database, "snapshot_at": manifest.snapshot_at,
        "bytes": manifest.bytes, "database_bytes": manifest.server_size_bytes, "rows": manifest.rows,
        "tables": len(manifest.tables), "server_version": manifest.server_version, "seconds": manifest.seconds,
        "verified_at": backup.verified_at, "problem": backup.problem,
    }  # fmt: skip


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
        made = create(database, settings.backups_dir, console.say)
    _tell(_shown(made), json=json)


@app.command("list")
def list_(json: Json = False) -> None:
    """Show the backups, newest first."""
    settings = command_settings()
    shown = [_shown(one) for one in backups(settings.backups_dir)]
    if json:
        console.print_json({"folder": str(settings.backups_dir), "backups": shown})
    else:
        console.print_backups(settings.backups_dir, shown)


@app.command("verify")
def verify_(name: Name = None, json: Json = False) -> None:
    """Compare a backup with its SHA-256, and read all its data. Exit code 1 when it is damaged."""
    settings = command_settings()
    found = verify(named(settings.backups_dir, name), _now())
    _tell(_shown(found), json=json)
    if found.problem is not None:
        raise BackupError(f"{found.folder.name} is damaged: {found.problem}")


@app.command("rotate")
def rotate_(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, delete nothing.")] = False,
    json: Json = False,
) -> None:
    """Delete the backups that no rule keeps; the newest sound ones always stay."""
    settings = command_settings()
    folder, policy = settings.backups_dir, settings.backup.policy
    decided = plan(backups(folder), policy, _now()) if dry_run else rotate(folder, policy, _now(), console.say)
    if json:
        console.print_json(asdict(decided))
        return
    for verb, rows in (("keep", decided.keep), ("delete", decided.delete)):
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
    settings = command_settings()
    if (into is None) != replace_it:
        raise SettingsError("restore takes either --into DATABASE or --replace")
    with running_server(settings) as database:
        backup = named(settings.backups_dir, name)
        done = (
            replace(database, backup, _now, console.say)
            if into is None
            else restore(database, backup, into, _now, console.say)
        )
    _tell_restored(done, json=json)


@app.command("drill")
def drill_(name: Name = None, json: Json = False) -> None:
    """Prove that a backup restores: into a scratch database, compared table by table, asked for a ladder, dropped."""
    settings = command_settings()
    with running_server(settings) as database:
        done = drill(settings, database, named(settings.backups_dir, name), _now, console.say)
    _tell_restored(done, json=json)


def _tell_restored(done: RestoreReport, *, json: bool) -> None:
    _tell(asdict(done), json=json)
    if done.differences:
        raise BackupError(f"{done.database} differs from {done.backup}: {'; '.join(done.differences)}")
