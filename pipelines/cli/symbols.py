"""Commands that add, remove and list symbols."""

from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, Symbol, command_settings, reading_settings
from pipelines.configuration.sections import BUILT_IN_SYMBOLS
from pipelines.configuration.settings_file import config_file
from pipelines.domain.configuration.names import valid_symbol
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.prices.decimals import strike_text
from pipelines.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Add, remove and list symbols.")
TAKE_OVER = "a running system takes the change over within a minute"


@app.command()
def add(
    symbol: Symbol,
    strike_tier: Annotated[float, typer.Option(help="Distance between adjacent strikes of its hourly markets, USD.")],
    market: Annotated[
        str | None, typer.Option(help="Market on the exchange, such as SOL/USDT; by default SYMBOL/`exchange.quote`.")
    ] = None,
    settlement: Annotated[
        SettlementRule | None, typer.Option(help="What its markets settle on; by default the mean of 60 seconds.")
    ] = None,
    json: Json = False,
) -> None:
    """Add a symbol to the settings file, or change its settings, and register its Dagster partition.

    Example: `strikecast symbol add SOL --strike-tier 1 --market SOL/USDT`
    """
    from pipelines.service.instance import prepared_instance, register_symbol
    from pipelines.service.symbols import configure_symbol

    settings = command_settings()
    if not valid_symbol(symbol):
        raise SettingsError(f"{symbol!r} is not a symbol: use capital letters and digits, such as SOL")
    with prepared_instance(settings, console.log):
        configured = configure_symbol(symbol, strike_tier, market, settlement)
        register_symbol(symbol)
    facts = {
        "symbol": symbol,
        "strike_tier_usd": configured.strike_tier_usd,
        "settlement": str(configured.settlement),
        "settings_file": str(config_file()),
    }
    console.print_outcome(
        facts,
        f"{symbol}: strikes {strike_text(configured.strike_tier_usd)} USD apart, settled by {configured.settlement}, "
        f"in {config_file()}",
        f"next: `strikecast ingest {symbol} PATH` or `strikecast ingest {symbol} --from-exchange --since DATE`, then "
        f"`strikecast build {symbol}`; {TAKE_OVER}",
        json=json,
    )


@app.command()
def remove(symbol: Symbol, json: Json = False) -> None:
    """Remove a symbol from the settings file; everything that is stored of it stays.

    Example: `strikecast symbol remove SOL`
    """
    from pipelines.service.symbols import remove_symbol

    tier_usd = command_settings([symbol]).tier_usd(symbol)
    remove_symbol(symbol)
    console.print_outcome(
        {"symbol": symbol, "strike_tier_usd": tier_usd, "settings_file": str(config_file())},
        f"{symbol}: removed from {config_file()}; {TAKE_OVER}",
        "its bars, ticks, generations, scores, reports and Dagster's history stay; "
        f"`strikecast symbol add {symbol} --strike-tier {strike_text(tier_usd)}` brings it back",
        json=json,
    )


@app.command(name="list")
def list_symbols(json: Json = False) -> None:
    """List the configured symbols; `strikecast status` shows what is stored of them."""
    settings = reading_settings()
    rows = [
        {
            "symbol": symbol,
            "strike_tier_usd": values.strike_tier_usd,
            "settlement": str(values.settlement),
            "market": settings.market_of(symbol),
            "built_in": symbol in BUILT_IN_SYMBOLS,
        }
        for symbol, values in settings.symbols.items()
    ]
    if json:
        console.print_json(rows)
    else:
        names = ("symbol", "strikes, USD apart", "settlement", "market", "built in")
        lines = [
            (
                row["symbol"],
                strike_text(values.strike_tier_usd),
                row["settlement"],
                row["market"],
                "yes" if row["built_in"] else "no",
            )
            for row, values in zip(rows, settings.symbols.values(), strict=True)
        ]
        console.print_table(names, lines, numbers={names[1]})
