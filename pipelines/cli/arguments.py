"""Arguments and settings that the modules of the command line share."""

from typing import Annotated

import typer

from pipelines.domain.configuration.names import valid_symbol
from pipelines.errors import SettingsError
from pipelines.service.log_setup import open_command_log
from pipelines.settings import Settings, load_settings

Symbol = Annotated[str, typer.Argument(help="Symbol in capitals, such as BTC.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan with its reasons, change nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command_settings(symbols: list[str] | None = None, **overrides: object) -> Settings:
    """Load the settings of a command; an override of None is ignored, and the command log is opened.

    Raises SettingsError for an invalid setting, and for a symbol that is malformed or not configured.
    """
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    open_command_log(settings.home)
    for symbol in symbols or []:
        if not valid_symbol(symbol):
            raise SettingsError(f"{symbol!r} is not a symbol: use capital letters and digits, such as BTC")
        settings.require_symbol(symbol)
    return settings
