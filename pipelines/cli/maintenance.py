"""The jobs of maintenance by hand: the same plans and the same work as at night."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings
from pipelines.deployment import migrated_database
from pipelines.errors import SettingsError

app = typer.Typer()
#: Nobody waits for these within seconds.
IN_THE_BACKGROUND = frozenset({"retention", "vacuum", "archive", "logs", "backup create"})
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and why, change nothing.")]


def _tell_plan(lines: Sequence[tuple[str, str, str]], title: str) -> None:
    if lines:
        console.result.print(console.plan_table(title, lines))
    else:
        console.result.print(f"{title}: nothing to do")


def _tell_rows(rows: Mapping[str, int], left: Sequence[str]) -> None:
    for table, count in rows.items():
        if count:
            console.result.print(f"{table:32} {count:>12,}")
    for one in left:
        console.result.print(one, markup=False, soft_wrap=True)


@app.command()
def retention(dry_run: DryRun = False, json: Json = False) -> None:
    """Remove what is old: snapshots, ticks, answers, generations, refused rows, audits, runs. Daily at 02:00 UTC.

    Example: `strikecast retention --dry-run`
    """
    from pipelines.maintenance import retention as job

    settings = command_settings()
    with migrated_database(settings, console.log) as database:
        if dry_run:
            decided = job.plan(settings, database, datetime.now(UTC))
            if json:
                console.print_json(asdict(decided))
            else:
                _tell_plan(decided.lines(), "retention")
            return
        report = job.run(settings, database, datetime.now(UTC), console.log)
    if json:
        console.print_json(asdict(report))
        return
    _tell_plan(report.plan.lines(), "retention")
    _tell_rows(report.rows, report.left)


@app.command()
def vacuum(
    urgent: Annotated[bool, typer.Option("--urgent", help="Only what cannot wait for Sunday.")] = False,
    reindex: Annotated[bool, typer.Option("--reindex", help="Build bloated indexes anew, too.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Vacuum the tables that need it, of both databases. Sundays at 01:00 UTC, urgent ones daily.

    Example: `strikecast vacuum --dry-run`
    """
    from pipelines.maintenance import vacuum as job

    settings = command_settings()
    now = datetime.now(UTC)
    with migrated_database(settings, console.log) as database:
        if dry_run:
            plans = job.plan(settings, database, now, urgent_only=urgent, reindex=reindex)
            report = None
        else:
            report = job.run(settings, database, now, console.log, urgent_only=urgent, reindex=reindex)
            plans = report.plans
    if json:
        console.print_json({name: asdict(one) for name, one in plans.items()} if report is None else asdict(report))
        return
    for name, decided in plans.items():
        _tell_plan(decided.lines(), f"vacuum of {name}")
    for change in report.changes if report else ():
        console.result.print(
            f"{change.name:48} dead rows {change.dead_rows_before:>9,} -> {change.dead_rows_after:>9,}, "
            f"bytes {change.bytes_before:>13,} -> {change.bytes_after:>13,}"
        )
    for why in report.left if report else ():
        console.result.print(why, markup=False, soft_wrap=True)
    for who in report.held_back_by if report else ():
        console.result.print(f"dead rows are held back by {who}", markup=False, soft_wrap=True)


@app.command()
def archive(dry_run: DryRun = False, json: Json = False) -> None:
    """Move old months of bars into Parquet files; `strikecast ingest` brings them back. On the 1st at 02:30 UTC.

    Example: `strikecast archive --dry-run`
    """
    from pipelines.maintenance import archive as job

    settings = command_settings()
    with migrated_database(settings, console.log) as database:
        if dry_run:
            decided = job.plan(settings, database, datetime.now(UTC))
            report = None
        else:
            report = job.run(settings, database, datetime.now(UTC), console.log)
            decided = report.plan
    if json:
        console.print_json(asdict(report or decided))
        return
    _tell_plan(decided.lines(), "archive")


@app.command()
def query(
    question: Annotated[str, typer.Argument(help="A SELECT on `price`: every bar, of database and archive.")],
    json: Json = False,
) -> None:
    """Ask all bars, archived or not, in DuckDB's SQL.

    Example: `strikecast query "SELECT symbol, year(opened_at), count(*) FROM price GROUP BY ALL ORDER BY ALL"`
    """
    from pipelines.maintenance.archive import query_prices

    settings = command_settings()
    with migrated_database(settings, console.log) as database:
        names, rows = query_prices(settings, database, question)
    if json:
        console.print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        console.result.print(console.rows_table(names, rows))


@app.command()
def logs(dry_run: DryRun = False, json: Json = False) -> None:
    """Rotate, compress and delete logs, none of which is cut while it is written to. Daily at 01:15 UTC.

    Example: `strikecast logs --dry-run`
    """
    from pipelines.maintenance import log_rotation as job

    settings = command_settings()
    now = datetime.now(UTC)
    if dry_run:
        decided = job.plan(settings, now)
        report = None
    else:
        with migrated_database(settings, console.log) as database:
            report = job.run(settings, database, now, console.log)
        decided = report.plan
    if json:
        console.print_json(asdict(report or decided))
        return
    _tell_plan(decided.lines(), "logs")
    if report is not None:
        for family, size in report.before.items():
            console.result.print(f"{family:24} {size:>14,} -> {report.after.get(family, 0):>14,} bytes")


@app.command()
def alerts(
    test: Annotated[bool, typer.Option("--test", help="Send a test message to every address of the settings.")] = False,
    json: Json = False,
) -> None:
    """Show what is wrong and was told, with the page of the runbook for it. Exit code 1 when something is.

    Example: `strikecast alerts --test`
    """
    from pipelines.errors import FeedError
    from pipelines.monitoring.alert_delivery import deliver, read_state

    settings = command_settings()
    if test:
        if not settings.alerts.urls:
            raise SettingsError("alerts.urls is empty: alerts go to logs/alerts.jsonl and to the daemon's log only")
        everyone = range(len(settings.alerts.urls))
        if deliver(settings, "strikecast: a test", "If you can read this, alerts reach you.", everyone, console.log):
            raise FeedError("not every address took the message")
        console.result.print(f"sent to {len(settings.alerts.urls)} addresses")
        return
    lasting = read_state(settings, datetime.now(UTC)).active.values()
    if json:
        console.print_json([asdict(one) for one in lasting])
    else:
        _tell_plan([(f"{one.began_at:%F %H:%M}", one.message, one.heading) for one in lasting], "alerts")
    if lasting:
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context, role: Annotated[str, typer.Option(help="Role to work as.")] = "strikecast_reader"
) -> None:
    """Open psql on the database, embedded or not, as a role that reads; psql's own options follow.

    Examples: `strikecast psql`, `strikecast psql -c "SELECT * FROM ops.maintenance ORDER BY 1 DESC LIMIT 5"`
    """
    import subprocess

    from pipelines.maintenance.client_programs import client_environment, find_client_programs

    settings = command_settings()
    with migrated_database(settings) as database, client_environment(database) as variables:
        program = find_client_programs(database.server_major) / "psql"
        options = f"{variables.get('PGOPTIONS', '')} -c role={role}".strip()
        done = subprocess.run([program, *context.args], env={**variables, "PGOPTIONS": options}, check=False)
    raise typer.Exit(done.returncode)
