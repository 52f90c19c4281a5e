"""Commands that run the maintenance jobs, and `query`, `alerts` and `psql`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import DryRun, Json, command_settings
from pipelines.deployment import migrated_database
from pipelines.errors import SettingsError

app = typer.Typer()
#: Commands that run at the lowest CPU and I/O priority.
LOW_PRIORITY_COMMANDS = frozenset({"retention", "vacuum", "archive", "logs", "backup create"})


def _print_plan(title: str, lines: Sequence[tuple[str, str, str]]) -> None:
    console.result.print(
        console.rows_table(title, ("action", "object", "reason"), lines) if lines else f"{title}: nothing to do"
    )


@app.command()
def retention(dry_run: DryRun = False, json: Json = False) -> None:
    """Delete expired snapshots, ticks, answers, generations, quarantined rows, audits and runs. Daily at 02:00 UTC.

    Example: `strikecast retention --dry-run`
    """
    from pipelines.maintenance import retention as job

    settings, now = command_settings(), datetime.now(UTC)
    with migrated_database(settings, console.log) as database:
        report = None if dry_run else job.run(settings, database, now, console.log)
        plan = report.plan if report else job.plan(settings, database, now)
    if json:
        console.print_json(report or plan)
        return
    _print_plan("retention", plan.lines())
    if report:
        counts = (f"{table:32} {count:>12,}" for table, count in report.rows.items() if count)
        console.print_lines(*counts, *report.skipped)


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

    settings, now = command_settings(), datetime.now(UTC)
    with migrated_database(settings, console.log) as database:
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
        for change in report.changes:
            console.print_lines(
                f"{change.name:48} dead rows {change.dead_rows_before:>9,} -> {change.dead_rows_after:>9,}, "
                f"bytes {change.bytes_before:>13,} -> {change.bytes_after:>13,}"
            )
        console.print_lines(*report.skipped, *(f"dead rows are held back by {one}" for one in report.held_back_by))


@app.command()
def archive(dry_run: DryRun = False, json: Json = False) -> None:
    """Move old months of bars to Parquet files; `strikecast ingest` restores them. On the 1st at 02:30 UTC.

    Example: `strikecast archive --dry-run`
    """
    from pipelines.maintenance import archive as job

    settings, now = command_settings(), datetime.now(UTC)
    with migrated_database(settings, console.log) as database:
        report = None if dry_run else job.run(settings, database, now, console.log)
        plan = report.plan if report else job.plan(settings, database, now)
    if json:
        console.print_json(report or plan)
    else:
        _print_plan("archive", plan.lines())


@app.command()
def query(
    statement: Annotated[str, typer.Argument(help="A SELECT on `price`, the bars of database and archive.")],
    json: Json = False,
) -> None:
    """Query all bars, archived or not, in DuckDB's SQL.

    Example: `strikecast query "SELECT symbol, year(opened_at), count(*) FROM price GROUP BY ALL ORDER BY ALL"`
    """
    from pipelines.storage.postgres.connection import Role
    from pipelines.storage.prices.archive import query_prices

    settings = command_settings()
    with migrated_database(settings, console.log) as database, database.connect("query", Role.READER) as connection:
        names, rows = query_prices(connection, settings.archive_dir, statement)
    if json:
        console.print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        console.result.print(console.rows_table(None, names, rows))


@app.command()
def logs(dry_run: DryRun = False, json: Json = False) -> None:
    """Rotate, compress and delete log files without losing lines. Daily at 01:15 UTC.

    Example: `strikecast logs --dry-run`
    """
    from pipelines.maintenance import log_rotation as job

    settings, now = command_settings(), datetime.now(UTC)
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
        for name, size in report.before.items():
            console.print_lines(f"{name:24} {size:>14,} -> {report.after.get(name, 0):>14,} bytes")


@app.command()
def alerts(
    test: Annotated[bool, typer.Option("--test", help="Send a test message to every URL of the settings.")] = False,
    json: Json = False,
) -> None:
    """List the active alerts with the runbook's heading for each.

    Exit code 1 when there is one, 2 when problems are not looked for, because `strikecast up` or its watchdog does not
    run: then the list may be incomplete.

    Example: `strikecast alerts --test`
    """
    from pipelines.errors import FeedError
    from pipelines.monitoring.alert_delivery import deliver, read_state, read_watch

    settings = command_settings()
    if test:
        count = len(settings.alerts.urls)
        if not count:
            raise SettingsError("alerts.urls is empty: alerts go to logs/alerts.jsonl and the daemon's log only")
        message = "If you can read this, alerts are delivered."
        if deliver(settings, "strikecast: test", message, range(count), console.log):
            raise FeedError("a URL did not accept the message: see above")
        console.result.print(f"sent to {count} URLs")
        return
    now = datetime.now(UTC)
    active = read_state(settings, now).active.values()
    unwatched = read_watch(settings).missing(now)
    if json:
        console.print_json(list(active))
    elif active or not unwatched:  # "nothing to do" would be a false all-clear
        _print_plan("alerts", [(f"{one.began_at:%F %H:%M}", one.message, one.heading) for one in active])
    if unwatched:
        console.progress.print(f"strikecast: {unwatched}", style="bold red", markup=False, soft_wrap=True)
    if active or unwatched:
        raise typer.Exit(1 if active else 2)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, role: Annotated[str, typer.Option(help="Role to use.")] = "strikecast_reader") -> None:
    """Open psql on the database with a read-only role; further options are psql's own.

    Examples: `strikecast psql`, `strikecast psql -c "SELECT * FROM ops.maintenance ORDER BY 1 DESC LIMIT 5"`
    """
    import subprocess

    from pipelines.maintenance.client_programs import client_environment, find_client_programs

    settings = command_settings()
    with migrated_database(settings) as database, client_environment(database) as variables:
        program = find_client_programs(database.server_major) / "psql"
        options = f"{variables.get('PGOPTIONS', '')} -c role={role}".strip()
        result = subprocess.run([program, *context.args], env={**variables, "PGOPTIONS": options}, check=False)
    raise typer.Exit(result.returncode)
