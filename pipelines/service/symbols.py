"""Add and remove symbols in the settings file, which keeps its comments and its layout."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tomlkit
import tomlkit.exceptions
from filelock import FileLock

from pipelines.atomic_files import atomic_write
from pipelines.configuration.sections import BUILT_IN_SYMBOLS, SymbolSettings
from pipelines.configuration.settings_file import config_file, read_settings_file
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import SettingsError
from pipelines.settings import load_settings

VARIABLE = "STRIKECAST_SYMBOLS"


def configure_symbol(
    symbol: str, strike_tier_usd: float, market: str | None = None, settlement: SettlementRule | None = None
) -> SymbolSettings:
    """Add a symbol to the settings file, or change it; None keeps the present value. Returns its settings.

    Raises SettingsError for an invalid value, before anything is written.
    """
    optional = {"market": market, "settlement": None if settlement is None else str(settlement)}
    given = {"strike_tier_usd": strike_tier_usd} | {
        name: value for name, value in optional.items() if value is not None
    }
    with _edited_file() as document:
        symbols = document.setdefault("symbols", tomlkit.table(is_super_table=True))
        table = symbols.setdefault(symbol, tomlkit.table())
        table.update(given)
        table.pop("enabled", None)
        return load_settings(symbols={symbol: {**table.unwrap(), "enabled": True}}).symbols[symbol]


def remove_symbol(symbol: str) -> None:
    """Remove a symbol from the settings file, or disable it if it is built in.

    Raises SettingsError when it is not configured, and when it is the last one.
    """
    configured = load_settings()
    configured.require_symbol(symbol)
    if len(configured.symbols) == 1:
        raise SettingsError(f"{symbol} is the only symbol: add another one first, with `strikecast symbol add`")
    with _edited_file() as document:
        if symbol in BUILT_IN_SYMBOLS:
            symbols = document.setdefault("symbols", tomlkit.table(is_super_table=True))
            symbols.setdefault(symbol, tomlkit.table())["enabled"] = False
        else:
            document["symbols"].pop(symbol)


@contextmanager
def _edited_file() -> Iterator[Any]:
    """The parsed settings file, which is replaced on exit unless an error is raised."""
    if any(name.startswith(VARIABLE) for name in os.environ):
        raise SettingsError(f"{VARIABLE} in the environment takes precedence over the settings file: change it there")
    path = config_file().resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        try:
            document = tomlkit.parse(read_settings_file())
        except (tomlkit.exceptions.TOMLKitError, RecursionError) as error:
            raise SettingsError(f"the settings file {path} cannot be changed: {error}") from error
        yield document
        with atomic_write(path, durable=True) as partial:
            partial.write_text(tomlkit.dumps(document), encoding="utf-8")
            if path.is_file():
                shutil.copymode(path, partial)
