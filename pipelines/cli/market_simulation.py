"""`strikecast markets simulate`."""

from typing import Annotated

import typer

from pipelines.cli import console
from pipelines.cli.arguments import command_settings


def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 selects a free one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the basis, the quotes and the incidents.")] = 0,
    symbols: Annotated[
        list[str] | None, typer.Option("--symbol", help="Symbol; repeatable; by default all that have series.")
    ] = None,
) -> None:
    """Serve a simulated exchange on the stored prices, in the shapes of the real one, until Ctrl-C.

    `strikecast up` does so where `markets.source` is simulated. Nothing can be traded on it.

    Example: `strikecast markets simulate --port 8322 --symbol BTC`
    """
    from pipelines.markets.simulation.process import Simulation

    Simulation(command_settings(symbols), port, seed, symbols, console.log, console.print_lines).run()
