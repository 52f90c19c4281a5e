"""Commands of markets: import of recordings, and what is stored."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings, reading_settings
from pipelines.cli.market_backfill import backfill
from pipelines.cli.market_simulation import simulate
from pipelines.deployment import migrated_database, reading_database

if TYPE_CHECKING:
    from pipelines.ingestion.markets.importing import ImportReport

app = typer.Typer(
    no_args_is_help=True, help="Import recordings of markets, list what is stored of them, simulate an exchange."
)
app.command()(simulate)
app.command()(backfill)
SymbolOption = Annotated[str | None, typer.Option("--symbol", help="Symbol in capitals, such as BTC.")]


@app.command("import")
def import_markets(
    path: Annotated[Path, typer.Argument(help="Parquet, CSV or JSON lines file, or a folder of one recording.")],
    symbol: Annotated[
        str | None, typer.Option(help="Symbol of series that no configured symbol has, such as KXBTC15M.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how the files are understood, store nothing; needs no database.")
    ] = False,
    json: Json = False,
) -> None:
    """Import recorded markets, quotes and minute candles, and print what was stored.

    The shape of a file is recognised by its columns; docs/markets.md lists the shapes. Importing a recording again
    changes nothing; corrected candles replace the stored ones. Rows that cannot be used are rejected and counted with
    their reason. Files that cannot be understood with certainty, or contradict what is stored, are refused whole, with
    exit code 1 and what was seen. All of a recording is stored in one transaction.

    Examples: `strikecast markets import ~/kxbtcd`, `strikecast markets import ~/kxbtc15m --symbol BTC --dry-run`
    """
    settings = command_settings([] if symbol is None else [symbol])
    from pipelines.ingestion.markets.importing import import_recording, preview_recording

    files = path.expanduser().absolute()
    series = {name: owner for owner, known in settings.symbols.items() for name in known.series}
    if dry_run:
        report = preview_recording(files, series, symbol)
    else:
        with migrated_database(settings, console.log) as database:
            report = import_recording(database, files, series, symbol, console.log)
    if json:
        console.print_json(report.as_json())
    else:
        _print(report)


@app.command("list")
def list_markets(symbol: SymbolOption = None, json: Json = False) -> None:
    """List the series of which markets are stored, with events, quotes and candles.

    `unsettled`: markets past their close without a final result. Times are those of quotes and candles, UTC.

    Example: `strikecast markets list --symbol BTC`
    """
    from pipelines.storage.markets.markets import summarize
    from pipelines.storage.postgres.reading import read

    settings = reading_settings([] if symbol is None else [symbol])
    with reading_database(settings, console.log) as database:
        found = read(database, "markets", lambda connection: summarize(connection, symbol))
    if json:
        console.print_json({"series": found})
        return
    numbers = ("events", "markets", "unsettled", "quotes", "candles")
    names = ("exchange", "series", "symbol", "settlement", *numbers, "first", "last")
    rows = [
        [one.exchange, one.series, one.symbol, one.settlement]
        + [f"{getattr(one, name):,}" for name in numbers]
        + ["" if at is None else f"{at:%F %H:%M}" for at in (one.first_at, one.last_at)]
        for one in found
    ]
    console.print_table(names, rows, numbers=numbers)


def _print(report: "ImportReport") -> None:
    counts = {
        **_counts("markets", report.markets),
        **_counts("quotes", report.quotes),
        "quotes_same_as_before": report.quotes_unchanged,
        "quotes_superseded": report.superseded,
        **_counts("candles", report.candles),
        "candles_repeated": report.repeated,
        "candles_derived": report.candles_derived,
        "index_values_not_stored": report.index_rows,
    }
    console.print_facts(
        {
            "exchange": report.exchange,
            "symbol": ", ".join(report.symbols),
            "files": tuple(f"{one['name']}: {one['rows']:,} rows of {one['kind']}" for one in report.files),
            "rows_read": report.rows_read,
            "rows_rejected": report.rows_rejected,
            **{name: number for name, number in counts.items() if number},
        }
    )
    console.print_lines(
        *(f"rejected {one.rows:,} rows of {one.file}: {one.reason} ({one.example})" for one in report.rejected),
        *(f"skipped {name}: {reason}" for name, reason in report.skipped),
        *(
            ["nothing was stored: --dry-run"]
            if report.is_dry_run
            else [f"score the model against them: `strikecast edge {symbol} --store`" for symbol in report.symbols]
        ),
    )


def _counts(what: str, counts: object) -> dict[str, int]:
    return {f"{what}_{name}": number for name, number in vars(counts).items()}
