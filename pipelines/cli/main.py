"""The `strikecast` command."""

import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pipelines.cli import audit as cli_audit
from pipelines.cli import backup as cli_backup
from pipelines.cli import config as cli_config
from pipelines.cli import console
from pipelines.cli import desk as cli_desk
from pipelines.cli import desk_backtest as cli_desk_backtest
from pipelines.cli import edge as cli_edge
from pipelines.cli import exports as cli_exports
from pipelines.cli import files as cli_files
from pipelines.cli import ladder as cli_ladder
from pipelines.cli import live as cli_live
from pipelines.cli import maintenance as cli_maintenance
from pipelines.cli import markets as cli_markets
from pipelines.cli import prices as cli_prices
from pipelines.cli import query as cli_query
from pipelines.cli import scores as cli_scores
from pipelines.cli import symbols as cli_symbols
from pipelines.cli import worker as cli_worker
from pipelines.cli.arguments import Json, Symbol, command_settings, reading_settings
from pipelines.cli.encoding import replace_unencodable
from pipelines.cli.versions import print_versions
from pipelines.configuration.settings_file import default_home
from pipelines.deployment import (
    configured_database,
    existing_database,
    has_database,
    running_server,
    scoring_databases,
)
from pipelines.domain.configuration.model import Profile
from pipelines.errors import NoDataError, SettingsError, StrikecastError, single_line
from pipelines.processes.priority import lower_priority, raise_niceness
from pipelines.service.log_setup import command_log, open_command_log

#: Commands whose runs are those of Dagster's builds, with the same priority.
BUILD_COMMANDS = frozenset({"build", "ingest", "score"})

UiPort = Annotated[int | None, typer.Option(help="Port of the Dagster UI; 0 takes any free one.")]
PagePort = Annotated[int | None, typer.Option(help="Port of the page; by default 8321, or with --port 0 any free one.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Hourly strike probabilities from one-minute bars.\n\nTry `strikecast sample BTC`, `strikecast build BTC`, "
    "`strikecast ladder BTC --price 95000 --ttc 900 --momentum 0.02`, then `strikecast up`.",
)
app.add_typer(cli_ladder.app)
app.add_typer(cli_exports.export_app, name="export")
app.add_typer(cli_exports.import_app, name="import")
app.add_typer(cli_prices.app)
app.add_typer(cli_live.app)
app.add_typer(cli_maintenance.app)
app.add_typer(cli_query.app)
app.add_typer(cli_scores.app)
app.add_typer(cli_edge.app)
app.add_typer(cli_backup.app, name="backup")
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_symbols.app, name="symbol")
app.add_typer(cli_files.app, name="files")
app.add_typer(cli_config.app, name="config")
app.add_typer(cli_markets.app, name="markets")
cli_desk.app.add_typer(cli_desk_backtest.app)
app.add_typer(cli_desk.app, name="desk")
app.command()(cli_worker.worker)


def main() -> None:
    """Run the command line.

    An error of ours or of the system, such as a full disk, is one line and exit code 1. So is any other error, with
    exit code 70; its traceback is in the log. Ctrl-C is exit code 130.
    """
    replace_unencodable()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell starts background jobs with it ignored
        signal.signal(number, _interrupt)
    command = {" ".join(sys.argv[1:2]), " ".join(sys.argv[1:3])}
    if command & cli_maintenance.LOW_PRIORITY_COMMANDS:
        lower_priority()
    elif command & BUILD_COMMANDS:
        raise_niceness()
    try:
        app()
    except StrikecastError as error:
        _end(str(error), 1)
    except OSError as error:
        _end(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 (the edge of the process, which fails)
        open_command_log(default_home())
        command_log.exception("unexpected error")
        place = traceback.extract_tb(error.__traceback__)[-1]
        _end(
            f"unexpected {type(error).__name__}: {single_line(str(error), 500)} ({Path(place.filename).name}, line "
            f"{place.lineno}); the traceback is in logs/commands.jsonl of the home folder",
            70,
        )


def _end(message: str, code: int) -> None:
    message = single_line(message)
    command_log.error("%s", message)
    console.progress.print(f"strikecast: {message}", style="bold red", markup=False, soft_wrap=True)
    sys.exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Stop a command in order, on SIGTERM as on SIGINT."""
    raise KeyboardInterrupt


@app.callback()
def strikecast(
    version: Annotated[
        bool, typer.Option("--version", callback=print_versions, is_eager=True, help="Print the versions, and end.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def up(port: UiPort = None, page_port: PagePort = None) -> None:
    """Run the system in the foreground: database, migrations, Dagster, the live session, and the page of the ladders.

    Processes that end or hang are replaced. Ctrl-C stops everything. Example: `strikecast up --port 3001`
    """
    from pipelines.cli import up as commands

    commands.up(command_settings(ui_port=port, page_port=page_port))


@app.command()
def demo(
    prices: Annotated[Path | None, typer.Option(help="Folder of price files; by default bars are generated.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Refresh for ten seconds, then stop everything.")] = False,
    port: UiPort = None,
    page_port: PagePort = None,
) -> None:
    """From nothing to live probabilities: prices, build, live refresh, UI, page. Example: `strikecast demo --once`

    Where `markets.source` is not set, its markets are those of the simulated exchange, on which the paper desk trades
    with small thresholds (campaign `demo`) where nothing is set in `[desk]`.
    """
    from pipelines.cli import up as commands

    settings = command_settings(ui_port=port, page_port=page_port, prices=prices)
    for select in (commands.select_simulated_markets, commands.select_demo_desk):
        if select(settings):
            settings = command_settings(ui_port=port, page_port=page_port, prices=prices)
    commands.demo(settings, once=once)


@app.command()
def migrate(json: Json = False) -> None:
    """Create or upgrade the schema and roles, and Dagster's database, and register the symbols with bars in Dagster."""
    from pipelines.service.instance import prepared_instance
    from pipelines.storage.postgres import schema

    settings = command_settings()
    with running_server(settings, console.log) as database:
        before = schema.migrate(database)
        with prepared_instance(settings, console.log):
            pass
        change = "is current" if before.is_current else f"migrated from {before.found or 'nothing'} to {before.needed}"
        facts = {"database": database.describe(), "before": before.found, "after": before.needed}
        console.print_outcome(facts, f"schema of {database.describe()} {change}", json=json)


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
    from pipelines.service.instance import prepared_instance, symbols_with_bars

    with prepared_instance(settings, console.log) as database:
        symbols = symbols or symbols_with_bars(settings, database)
        if not symbols:
            raise NoDataError("no symbol has bars: run `strikecast ingest SYMBOL PATH` or `strikecast sample SYMBOL`")
        for symbol in symbols:
            builds.build_symbol(symbol, profile, console.log)


@app.command()
def rollback(
    symbol: Symbol,
    model: Annotated[str | None, typer.Option(help="Model; by default the champion.")] = None,
    json: Json = False,
) -> None:
    """Publish the previous generation again, in one step. Example: `strikecast rollback BTC`"""
    from pipelines.storage.models.champions import read_champion
    from pipelines.storage.models.generations import roll_back
    from pipelines.storage.postgres.connection import Role

    with existing_database(command_settings([symbol]), console.log) as database:
        with database.connect("rollback", Role.PIPELINE) as connection:
            name = model or read_champion(connection, symbol).champion
            previous, published = roll_back(connection, symbol, name)
        facts = {"symbol": symbol, "model": name, "before": previous, "after": published}
        console.print_outcome(facts, f"{symbol}: {name} generation {previous} -> {published}", json=json)


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
    store: Annotated[
        bool, typer.Option("--store", help="Store the scores in analytics.score; needs the role strikecast_pipeline.")
    ] = False,
    json: Json = False,
) -> None:
    """Score the models out of sample on stored bars: Brier, log loss, skill, calibration by volatility.

    `strikecast scores` lists what is stored.

    Examples: `strikecast score BTC --from 2025-07-17 --to 2026-07-17`, `strikecast score BTC --store`
    """
    settings = reading_settings([symbol])
    from pipelines.evaluation import score_runs as scoring

    until = None if stop is None else stop.replace(tzinfo=UTC)
    with scoring_databases(settings, console.log, store=store, needed_at=until) as (database, source):
        report = scoring.score_stored(
            source,
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
        number = scoring.store_report(database, report) if store else None
    if json:
        console.print_json({**report.as_json(), **({} if number is None else {"score_run_id": number})})
    else:
        console.print_scores(report)
        console.print_lines(
            *([] if number is None else [f"stored as score run {number}: `strikecast scores {symbol}`"])
        )


@app.command()
def promote(
    symbol: Symbol,
    model: Annotated[str, typer.Option(help="Challenger to promote.")],
    json: Json = False,
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
    from pipelines.service.instance import prepared_instance
    from pipelines.service.job_runner import run_job

    with prepared_instance(settings, console.log):
        run_job("promote", symbol, {"champion_change": {"model": model}}, console.log)
    console.print_outcome({"symbol": symbol, "champion": model}, f"{symbol}: {model} is the champion", json=json)


@app.command()
def status(
    settings: Annotated[bool, typer.Option("--settings", help="The same as `strikecast config show`.")] = False,
    json: Json = False,
) -> None:
    """Show whether the system is up, its symbols with their generations and files, and the live session.

    Examples: `strikecast status`, `strikecast status --settings`
    """
    from pipelines.service.status import describe_settings, read_status, replica_state

    found = reading_settings()
    if settings:
        cli_config.show_settings(found, json=json)
        return
    if not has_database(found):
        state: dict[str, object] = {"settings": describe_settings(found), "database": "not created yet"}
        state |= replica_state(found)
    else:
        with running_server(found) as database:
            state = read_status(found, database)
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

    settings = reading_settings()
    for name, value in dagster_environment(settings, configured_database(settings)).items():
        console.print_lines(f"export {name}={shlex.quote(value)}")


@app.command()
def dagster(
    arguments: Annotated[list[str], typer.Argument(metavar="-- ARGS...", help="A Dagster command and its options.")],
) -> None:
    """Run one of Dagster's own commands with the environment set and the embedded server running.

    Examples: `strikecast dagster -- run list`; from a checkout while `up` is not running, `strikecast dagster -- dev`
    """
    from pipelines.service.instance import prepared_instance
    from pipelines.service.supervisor import run_dagster_command

    with prepared_instance(command_settings(), console.log):
        code = run_dagster_command(arguments)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
