"""Commands that run the maintenance jobs, `alerts` and `psql`."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import DryRun, Json, command_settings, reading_settings
from pipelines.deployment import existing_database, migrated_database
from pipelines.errors import SettingsError

app = typer.Typer()
#: Commands that run at the lowest CPU and I/O priority.
LOW_PRIORITY_COMMANDS = frozenset({"retention", "vacuum", "archive", "logs", "backup create", "markets backfill"})


def _print_plan(title: str, lines: Sequence[tuple[str, str, str]]) -> None:
    if lines:
        console.print_table(("action", "object", "reason"), lines, title=title, prose={"reason"})
    else:
        console.print_lines(f"{title}: nothing to do")


def _print_counts(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of a name and numbers, if it has rows."""
    if rows:
        console.print_table(names, rows, title=title, numbers=names[1:])


@app.command()
def retention(dry_run: DryRun = False, json: Json = False) -> None:
    """Delete expired snapshots, ticks, answers, generations, quarantined rows, audits and runs. Daily at 02:00 UTC.

    Quotes of markets, and markets with their candles, are archived as Parquet files before they are deleted.

    Example: `strikecast retention --dry-run`
    """
    from pipelines.maintenance import retention as job

    settings, now = (reading_settings if dry_run else command_settings)(), datetime.now(UTC)
    with existing_database(settings, console.log) as database:
        report = None if dry_run else job.run(settings, database, now, console.log)
        plan = report.plan if report else job.plan(settings, database, now)
    if json:
        console.print_json(report or plan)
        return
    _print_plan("retention", plan.lines())
    if report:
        counts = [(table, f"{count:,}") for table, count in report.rows.items() if count]
        _print_counts("deleted rows", ("table", "rows"), counts)
        _print_counts("archived", ("file", "rows"), [(one.file, f"{one.rows:,}") for one in report.archived])
        console.print_lines(*report.skipped)


@app.command()
def vacuum(
    urgent: Annotated[bool, typer.Option("--urgent", help="Only what must not wait for Sunday.")] = False,
    reindex: Annotated[bool, typer.Option("--reindex", help="Rebuild bloated indexes, too.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Vacuum the tables that need it, in both databases. Sundays at 01:00 UTC, urgent ones daily.

    Example: `strikecast vacuum --dry-run`
    """
    from pipelines.maintenance import vacuum as job

    settings, now = (reading_settings if dry_run else command_settings)(), datetime.now(UTC)
    with existing_database(settings, console.log) as database:
        if dry_run:
            report, plans = None, job.plan(settings, database, now, urgent_only=urgent, reindex=reindex)
        else:
            report = job.run(settings, database, now, console.log, urgent_only=urgent, reindex=reindex)
            plans = report.plans
    if json:
        console.print_json(report or plans)
        return
    for name, plan in plans.items():
        _print_plan(f"vacuum of {name}", plan.lines())
    if report:
        sizes = [
            (
                change.name,
                f"{change.dead_rows_before:,} -> {change.dead_rows_after:,}",
                f"{change.bytes_before:,} -> {change.bytes_after:,}",
            )
            for change in report.changes
        ]
        _print_counts("sizes", ("table", "dead rows", "bytes"), sizes)
        console.print_lines(*report.skipped, *(f"dead rows are held back by {one}" for one in report.held_back_by))


@app.command()
def archive(dry_run: DryRun = False, json: Json = False) -> None:
    """Move old months of bars to Parquet files; `strikecast ingest` restores them. On the 1st at 02:30 UTC.

    Example: `strikecast archive --dry-run`
    """
    from pipelines.maintenance import archive as job

    settings, now = (reading_settings if dry_run else command_settings)(), datetime.now(UTC)
    with existing_database(settings, console.log) as database:
        report = None if dry_run else job.run(settings, database, now, console.log)
        plan = report.plan if report else job.plan(settings, database, now)
    if json:
        console.print_json(report or plan)
    else:
        _print_plan("archive", plan.lines())


@app.command()
def logs(dry_run: DryRun = False, json: Json = False) -> None:
    """Rotate, compress and delete log files without losing lines. Daily at 01:15 UTC.

    Example: `strikecast logs --dry-run`
    """
    from pipelines.maintenance import log_rotation as job

    settings, now = (reading_settings if dry_run else command_settings)(), datetime.now(UTC)
    if dry_run:
        report, plan = None, job.plan(settings, now)
    else:
        with migrated_database(settings, console.log) as database:
            report = job.run(settings, database, now, console.log)
        plan = report.plan
    if json:
        console.print_json(report or plan)
        return
    _print_plan("logs", plan.lines())
    if report:
        sizes = [(name, f"{size:,}", f"{report.after.get(name, 0):,}") for name, size in report.before.items()]
        _print_counts("sizes", ("log", "bytes before", "bytes after"), sizes)


@app.command()
def alerts(
    test: Annotated[bool, typer.Option("--test", help="Send a test message to every URL of the settings.")] = False,
    json: Json = False,
) -> None:
    """List the active alerts with the runbook's heading for each; deliver missed messages if no other process does.

    Exit code 1 when there is one, 2 when problems are not looked for, because `strikecast up` or its watchdog does not
    run: then the list may be incomplete.

    Example: `strikecast alerts --test`
    """
    from pipelines.errors import FeedError
    from pipelines.monitoring.alert_delivery import read_state, read_watch
    from pipelines.monitoring.alert_sending import deliver_once, send_test

    settings = reading_settings()
    if test:
        count = len(settings.alerts.urls)
        if not count:
            raise SettingsError("alerts.urls is empty: alerts go to logs/alerts.jsonl and the daemon's log only")
        if not send_test(settings, console.log):
            raise FeedError("a URL did not accept the message: see above")
        console.print_outcome({"sent_to": count}, f"sent to {count} URLs", json=json)
        return
    now = datetime.now(UTC)
    active = read_state(settings, now).active.values()
    unwatched = read_watch(settings).missing(now)
    if json:
        console.print_json(list(active))
    elif active:
        rows = [(f"{one.began_at:%F %H:%M}", one.severity, one.message, one.heading) for one in active]
        console.print_table(("since (UTC)", "severity", "problem", "runbook"), rows, prose={"problem", "runbook"})
    elif not unwatched:
        console.print_lines("no problem is active")
    if unwatched:
        console.progress.print(f"strikecast: {unwatched}", style="bold red", markup=False, soft_wrap=True)
    if settings.home.is_dir():
        deliver_once(settings, console.log)
    if active or unwatched:
        raise typer.Exit(1 if active else 2)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, role: Annotated[str, typer.Option(help="Role to use.")] = "strikecast_reader") -> None:
    """Open psql on the database as a login with the rights of a role, by default one that reads.

    The login exists until psql ends. `--role none` uses the login of the settings, with all its rights. Further options
    are psql's own.

    Examples: `strikecast psql`, `strikecast psql -c "SELECT * FROM ops.maintenance ORDER BY 1 DESC LIMIT 5"`
    """
    import subprocess

    from pipelines.maintenance.client_programs import client_environment, find_client_programs
    from pipelines.storage.postgres.connection import Role
    from pipelines.storage.postgres.logins import LoginRefusedError, limited_login

    settings = reading_settings()
    with ExitStack() as stack:
        database = stack.enter_context(existing_database(settings))
        if role != "none":
            if role not in list(Role):
                raise SettingsError(f"{role!r} is no role of strikecast: {', '.join(Role)}, or none")
            try:
                database = stack.enter_context(limited_login(database, [Role(role)]))
            except LoginRefusedError as error:
                raise SettingsError(f"{error}; or use --role none, with all rights of your login") from error
            with database.connect("psql", Role(role)):
                pass  # the login has the role: psql's own error names neither the login nor a remedy
        variables = stack.enter_context(client_environment(database))
        program = find_client_programs(database.server_major) / "psql"
        options = f"{variables.get('PGOPTIONS', '')} -c role={role}".strip()
        result = subprocess.run([program, *context.args], env={**variables, "PGOPTIONS": options}, check=False)
    raise typer.Exit(result.returncode)
