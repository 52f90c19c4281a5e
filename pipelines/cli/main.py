"""The `strikecast` command."""

import signal
import sys
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pipelines.cli import audit as cli_audit
from pipelines.cli import backup as cli_backup
from pipelines.cli import console
from pipelines.cli import live as cli_live
from pipelines.cli import maintenance as cli_maintenance
from pipelines.cli import prices as cli_prices
from pipelines.cli.arguments import Json, Symbol, command_settings
from pipelines.deployment import configured_database, migrated_database, prepared_instance, running_server
from pipelines.domain.configuration.model import Profile
from pipelines.errors import NoDataError, SettingsError, StrikecastError
from pipelines.processes.priority import lower_priority
from pipelines.service.log_setup import command_log

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Hourly strike probabilities from one-minute bars.\n\nTry `strikecast sample BTC`, `strikecast build BTC`, "
    "`strikecast ladder BTC --price 95000 --ttc 900 --momentum 0.02`, then `strikecast up`.",
)
export_app = typer.Typer(no_args_is_help=True, help="Write tables as files.")
import_app = typer.Typer(no_args_is_help=True, help="Import files of the original system.")
app.add_typer(export_app, name="export")
app.add_typer(import_app, name="import")
app.add_typer(cli_prices.app)
app.add_typer(cli_live.app)
app.add_typer(cli_maintenance.app)
app.add_typer(cli_backup.app, name="backup")
app.add_typer(cli_audit.app, name="audit")


def main() -> None:
    """Run the command line: a StrikecastError is printed as one line with exit code 1; Ctrl-C is exit code 130."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell starts background jobs with it ignored
        signal.signal(number, _interrupt)
    if {" ".join(sys.argv[1:2]), " ".join(sys.argv[1:3])} & cli_maintenance.LOW_PRIORITY_COMMANDS:
        lower_priority()
    try:
        app()
    except StrikecastError as error:
        command_log.error("%s", error)
        console.progress.print(f"strikecast: {error}", style="bold red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Stop a command in order, on SIGTERM as on SIGINT."""
    raise KeyboardInterrupt


@app.command()
def up(port: Annotated[int | None, typer.Option(help="Port of the UI; 0 takes any free one.")] = None) -> None:
    """Run the system in the foreground: database, migrations, Dagster's UI and daemon, and the live session.

    Ctrl-C stops everything. Example: `strikecast up --port 3001`
    """
    from pipelines.cli import up as commands

    commands.up(command_settings(ui_port=port))


@app.command()
def demo(
    prices: Annotated[Path | None, typer.Option(help="Folder of price files; by default bars are generated.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Refresh for ten seconds, then stop everything.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the UI; 0 takes any free one.")] = None,
) -> None:
    """From nothing to live probabilities: prices, build, live refresh, UI. Example: `strikecast demo --once`"""
    from pipelines.cli import up as commands

    commands.demo(command_settings(ui_port=port, prices=prices), once=once)


@app.command()
def migrate() -> None:
    """Create or upgrade the database's schema and roles."""
    from pipelines.storage.postgres import schema

    settings = command_settings()
    with running_server(settings, console.log) as database:
        before = schema.migrate(database)
        change = "is current" if before.is_current else f"migrated from {before.found or 'nothing'} to {before.needed}"
        console.result.print(f"schema of {database.describe()} {change}")


@app.command()
def build(
    symbols: Annotated[list[str] | None, typer.Argument(help="Symbols; by default all that have bars.")] = None,
    profile: Annotated[
        Profile | None, typer.Option(help="sound: the corrected method; source: the original's numbers.")
    ] = None,
) -> None:
    """Rebuild momentum, fingerprints and lookups from the stored bars through Dagster; check and publish them.

    Example: `strikecast build BTC ETH --profile sound`
    """
    settings = command_settings(symbols)
    from pipelines.service import builds

    with prepared_instance(settings, console.log) as database:
        symbols = symbols or builds.symbols_with_bars(settings, database)
        if not symbols:
            raise NoDataError("no symbol has bars: run `strikecast ingest SYMBOL PATH` or `strikecast sample SYMBOL`")
        for symbol in symbols:
            builds.build_symbol(symbol, profile, console.log)


@app.command()
def rollback(
    symbol: Symbol,
    model: Annotated[str | None, typer.Option(help="Model; by default the champion.")] = None,
) -> None:
    """Publish the previous generation again, in one step. Example: `strikecast rollback BTC`"""
    from pipelines.storage.models.champions import read_champion
    from pipelines.storage.models.generations import roll_back
    from pipelines.storage.postgres.connection import Role

    with migrated_database(command_settings([symbol]), console.log) as database:
        with database.connect("rollback", Role.PIPELINE) as connection:
            name = model or read_champion(connection, symbol).champion
            previous, published = roll_back(connection, symbol, name)
        console.result.print(f"{symbol}: {name} generation {previous} -> {published}")


@app.command()
def score(
    symbol: Symbol,
    start: Annotated[
        datetime | None, typer.Option("--from", help="First forecast, UTC; by default a year before the newest bar.")
    ] = None,
    stop: Annotated[datetime | None, typer.Option("--to", help="End of the forecasts (exclusive), UTC.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Model to score; repeatable; momentum_source is the source profile."),
    ] = None,
    train_to: Annotated[
        datetime | None, typer.Option(help="Fit once on the bars up to then, UTC, and do not refit.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Minutes between forecasts.")] = 5,
    fold_months: Annotated[
        int | None,
        typer.Option(min=1, help="Months per fold, each with a full refit at its start; by default one fold."),
    ] = None,
    json: Json = False,
) -> None:
    """Score the models out of sample on stored bars: Brier, log loss, skill, calibration by volatility.

    Example: `strikecast score BTC --from 2025-07-17 --to 2026-07-17`
    """
    settings = command_settings([symbol])
    from pipelines.evaluation import score_runs as scoring

    with migrated_database(settings, console.log) as database:
        report = scoring.score_stored(
            database,
            symbol,
            models or list(scoring.DEFAULT_MODELS),
            settings.model,
            start,
            stop,
            every_minutes=every,
            fold_months=fold_months,
            train_to=train_to,
            log=console.log,
        )
    if json:
        console.print_json(report.as_json())
    else:
        console.print_scores(report)


@app.command()
def promote(
    symbol: Symbol,
    model: Annotated[str, typer.Option(help="Challenger to promote.")],
) -> None:
    """Make another model the champion if it is better out of sample; refused otherwise.

    Example: `strikecast promote BTC --model student_t`
    """
    from pipelines.domain.models.registry import model_named

    settings = command_settings([symbol])
    try:
        model_named(model)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    from pipelines.service.job_runner import run_job

    with prepared_instance(settings, console.log):
        run_job("promote", symbol, {"champion_change": {"model": model}}, console.log)
    console.result.print(f"{symbol}: {model} is the champion")


@app.command()
def ladder(
    symbol: Symbol,
    price: Annotated[float, typer.Option(min=0.0, help="Price now, USD.")],
    ttc: Annotated[float, typer.Option(min=0.0, help="Seconds to the market's close.")],
    momentum: Annotated[
        float | None, typer.Option(help="Momentum score, percent; by default the baseline bucket.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model: standardised, momentum, ...; by default the champion.")
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(help="Volatility, percent per square root of a minute; by default that after the newest bar."),
    ] = None,
    json: Json = False,
) -> None:
    """Print the probability of each of 21 strikes.

    Example: `strikecast ladder BTC --price 95000 --ttc 900 --momentum 0.02 --model momentum`
    """
    from pipelines.storage.models.ladders import ladder_payload

    settings = command_settings([symbol])
    with migrated_database(settings, console.log) as database:
        payload = ladder_payload(database, symbol, settings.tier_usd(symbol), price, ttc, momentum, model, sigma)
    if json:
        console.print_json(payload)
    else:
        console.result.print(console.ladder_table(symbol, payload))


@export_app.command("fingerprints")
def export_fingerprints(symbol: Symbol, folder: Annotated[Path, typer.Argument(help="Folder to write to.")]) -> None:
    """Write the published fingerprints as 62 CSV files in the original's shape.

    Example: `strikecast export fingerprints BTC ./out`
    """
    from pipelines.evaluation import fingerprint_files
    from pipelines.storage.models.generations import active_generation, read_version
    from pipelines.storage.models.tables import read_fingerprints
    from pipelines.storage.postgres.connection import Role

    with migrated_database(command_settings([symbol]), console.log) as database:
        with database.connect("export", Role.READER) as connection:
            version = read_version(connection, active_generation(connection, symbol))
            tables = read_fingerprints(connection, version)
        paths = fingerprint_files.export_fingerprints(tables, symbol, folder)
        console.result.print(f"{len(paths)} files of generation {version.generation} ({version.profile}) in {folder}")


@import_app.command("fingerprints")
def import_fingerprints(
    symbol: Symbol,
    folder: Annotated[Path, typer.Argument(help="Folder of exported CSV files, 1 to 62 of them.")],
    publish: Annotated[bool, typer.Option("--publish", help="Publish the generation.")] = False,
    json: Json = False,
) -> None:
    """Store exported fingerprints as a generation with a lookup, and report parity cell by cell.

    Example: `strikecast import fingerprints BTC ./old`
    """
    from pipelines.evaluation.fingerprint_files import read_fingerprint_files
    from pipelines.evaluation.parity import import_tables

    settings = command_settings([symbol])
    imported = read_fingerprint_files(folder, symbol)
    with migrated_database(settings, console.log) as database:
        report = import_tables(database, symbol, imported, publish_it=publish)
    if json:
        console.print_json(report)
    else:
        console.print_import(report)


@app.command()
def status(json: Json = False) -> None:
    """Show settings (without secrets), symbols, generations and the live session."""
    from pipelines.service.status import describe_settings, read_status

    settings = command_settings()
    if settings.database_url is None and not settings.embedded_dir.exists():
        state: dict[str, object] = {"settings": describe_settings(settings), "database": "not created yet"}
    else:
        with running_server(settings) as database:
            state = read_status(settings, database)
    if json:
        console.print_json(state)
    else:
        console.print_status(state)


@app.command()
def env() -> None:
    """Print the variables that Dagster's own commands need: `eval "$(strikecast env)"; dagster run list`

    They need a running server; `strikecast dagster` starts the embedded one.
    """
    import shlex

    from pipelines.deployment import dagster_environment

    settings = command_settings()
    for name, value in dagster_environment(settings, configured_database(settings)).items():
        console.print_lines(f"export {name}={shlex.quote(value)}")


@app.command()
def dagster(
    arguments: Annotated[list[str], typer.Argument(metavar="-- ARGS...", help="A Dagster command and its options.")],
) -> None:
    """Run one of Dagster's own commands with the environment set and the embedded server running.

    Examples: `strikecast dagster -- run list`; from a checkout while `up` is not running, `strikecast dagster -- dev`
    """
    from pipelines.service.supervisor import run_dagster_command

    with prepared_instance(command_settings(), console.log):
        code = run_dagster_command(arguments)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
