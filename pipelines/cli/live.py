"""Commands of the live session: refresh, watch and serve the probability files."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import command_settings, reading_settings
from pipelines.deployment import migrated_database
from pipelines.errors import NoDataError

app = typer.Typer()


@app.command()
def live(
    once: Annotated[bool, typer.Option("--once", help="Refresh once, then stop.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the running session to end, and take over.")] = False,
) -> None:
    """Refresh the probability files in the foreground, without Dagster. Example: `strikecast live --once`"""
    from pipelines.live.feeds.factory import feed_factory
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
) -> None:
    """Watch a ladder in the terminal, refreshed each second, until Ctrl-C; reads the files only, no database.

    Ages are by this machine's clock, so a file that is not written never looks fresh. Without a terminal, the ladder is
    printed once. Example: `strikecast watch BTC`
    """
    from pipelines.cli import watch as watching
    from pipelines.live.probability_reader import first_with_price

    settings = reading_settings([] if symbol is None else [symbol])
    chosen = symbol or first_with_price(settings.output_dir, list(settings.symbols), datetime.now(UTC))
    watching.watch(settings.output_dir, chosen, console.result)


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
