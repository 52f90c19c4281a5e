"""Arguments and settings that the modules of the command line share."""

import os
from typing import Annotated

import typer

from pipelines.configuration.settings_file import HOME_VARIABLE
from pipelines.domain.configuration.names import valid_symbol
from pipelines.errors import NoDataError, SettingsError, StateError
from pipelines.protection.private_files import make_private, restrict_umask
from pipelines.service.log_setup import open_command_log
from pipelines.settings import Settings, load_settings

Symbol = Annotated[str, typer.Argument(help="Symbol in capitals, such as BTC.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan with its reasons, change nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def command_settings(symbols: list[str] | None = None, **overrides: object) -> Settings:
    """Load the settings of a command; an override of None is ignored, the command log is opened, and files are private.

    The home folder is created. Raises SettingsError for an invalid setting, and for a symbol that is malformed or not
    configured, and StateError when the home folder cannot be written.
    """
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    make_private(settings.home)
    if not os.access(settings.home, os.W_OK | os.X_OK):
        problem = "cannot be written" if settings.home.exists() else "cannot be created"
        raise StateError(
            f"the home folder {settings.home} {problem} by the user {os.geteuid()}: run the command as the folder's "
            f"owner, or set {HOME_VARIABLE} to a folder of your own"
        )
    return _opened(settings, symbols)


def reading_settings(symbols: list[str] | None = None) -> Settings:
    """As `command_settings`, for a command that only reads: the home folder may be missing, or another user's."""
    settings = load_settings()
    restrict_umask()
    return _opened(settings, symbols)


def _opened(settings: Settings, symbols: list[str] | None) -> Settings:
    if settings.home.is_dir():
        open_command_log(settings.home)
    for symbol in symbols or []:
        if not valid_symbol(symbol):
            raise SettingsError(f"{symbol!r} is not a symbol: use capital letters and digits, such as BTC")
        settings.require_symbol(symbol)
    return settings


def no_markets(symbol: str, series: str | None) -> NoDataError:
    """The error of a command on stored markets, where there are none."""
    wanted = symbol if series is None else f"{series} on {symbol}"
    return NoDataError(f"no markets of {wanted} are stored: `strikecast markets import PATH` stores recorded ones")
