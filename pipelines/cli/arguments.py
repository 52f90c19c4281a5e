"""What the modules of the command line share: arguments, and the settings of a command."""

from typing import Annotated

import typer

from pipelines.domain.configuration.names import valid_symbol
from pipelines.errors import SettingsError
from pipelines.service.log_setup import log_commands
from pipelines.settings import Settings, load_settings

Symbol = Annotated[str, typer.Argument(help="Symbol in capitals, such as BTC.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command_settings(symbols: list[str] | None = None, overrides: dict[str, object] | None = None) -> Settings:
    """Settings of a command about `symbols`; raises SettingsError for one that is no symbol or not configured."""
    settings = load_settings(**(overrides or {}))
    log_commands(settings.home)
    for symbol in symbols or []:
        if not valid_symbol(symbol):
            raise SettingsError(f"{symbol!r} is no symbol: capital letters and digits, such as BTC")
        settings.require_symbol(symbol)
    return settings
