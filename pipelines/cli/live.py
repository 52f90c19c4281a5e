"""Commands of the live session: refresh, watch and serve the probability files."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import command_settings, reading_settings
from pipelines.deployment import migrated_database
from pipelines.domain.markets.board import MarketSource
from pipelines.errors import NoDataError, SettingsError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.live.strike_table_reader import TableName

app = typer.Typer()


@app.command()
def live(
    once: Annotated[bool, typer.Option("--once", help="Refresh once, then stop.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the running session to end, and take over.")] = False,
) -> None:
    """Refresh the probability files in the foreground, without Dagster. Example: `strikecast live --once`"""
    from pipelines.live.feeds.factory import feed_factory
    from pipelines.live.market_factory import markets_factory
    from pipelines.live.outdated import SettingsWatch
    from pipelines.live.session import LiveSession

    settings = command_settings()
    with migrated_database(settings, console.log) as database:
        session = LiveSession(
            database,
            settings.output_dir,
            settings.tiers_usd,
            feed_factory(settings),
            by_probability=settings.by_probability,
            rules=settings.rules,
            make_markets=markets_factory(settings),
            wait=wait,
            log=console.log,
            is_outdated=SettingsWatch(settings, console.log).has_changed,
        )
        with suppress(KeyboardInterrupt):
            session.run(once=once)
        if once and not session.metrics.cycles:
            raise NoDataError("nothing was refreshed: no symbol has a price")


@app.command()
def watch(
    symbol: Annotated[
        str | None, typer.Argument(help="Symbol in capitals; by default the first configured one that has a price.")
    ] = None,
    market: Annotated[bool, typer.Option("--market", help="The strike table of the symbol's first series.")] = False,
    series: Annotated[str | None, typer.Option(help="The strike table of this series, such as KXBTC15M.")] = None,
) -> None:
    """Watch a ladder in the terminal, refreshed each second, until Ctrl-C; reads the files only, no database.

    With --market or --series, the strike table: quotes of YES in cents, probabilities of YES in percent, and the edge
    of the better side after the fee. Ages are by this machine's clock, so a file that is not written never looks fresh.
    Without a terminal, it is printed once.

    Examples: `strikecast watch BTC`, `strikecast watch BTC --market`
    """
    from pipelines.cli import watch as watching
    from pipelines.live.probability_reader import first_with_price, read_view

    settings = reading_settings([] if symbol is None else [symbol])
    folder = settings.output_dir
    chosen = symbol or first_with_price(folder, list(settings.symbols), datetime.now(UTC))
    if not market and series is None:
        watching.watch(lambda now: read_view(folder, chosen, now), watching.screen, console.result)
        return
    from pipelines.cli.watch_market import market_screen
    from pipelines.live.strike_table_reader import read_table

    name = _table_name(settings, chosen, series)
    watching.watch(lambda now: read_table(folder, name, now), market_screen, console.result)


def _table_name(settings: Settings, symbol: str, series: str | None) -> "TableName":
    """A symbol's strike table, by default of its first series. Raises SettingsError when it is not configured.

    Without a source in the settings, a file is read if there is one: a demonstration has a source of its own.
    """
    from pipelines.live.strike_table_reader import table_names

    names = table_names({symbol: settings.symbols[symbol].series})
    if not names:
        raise SettingsError(f"{symbol} has no strike table: name its series in [symbols.{symbol}], such as KXBTCD")
    found = names[0] if series is None else next((name for name in names if name.series == series), None)
    if found is None:
        raise SettingsError(f"{symbol} has no series {series!r}; it has {', '.join(name.series for name in names)}")
    if settings.markets.source is MarketSource.NONE and not found.path(settings.output_dir).exists():
        raise SettingsError('there are no strike tables: source in [markets] is "none"')
    return found


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; loopback serves this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")] = 8321,
) -> None:
    """Serve a read-only page of the ladders, JSON, server-sent events and `/health`, until Ctrl-C.

    Example: `strikecast serve --port 8321`
    """
    from pipelines.web.server import serve as serve_pages

    serve_pages(reading_settings(), host, port, console.log)
