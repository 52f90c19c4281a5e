"""The series of the simulated exchange that the settings want."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from pipelines.errors import SettingsError
from pipelines.markets.simulation.series import Series, SeriesKind
from pipelines.settings import Settings

#: The fee multiplier of series of ranges; that of others is 1.
RANGE_MULTIPLIER = Decimal("0.5")


def configured_series(settings: Settings, symbols: Sequence[str] | None = None) -> tuple[Series, ...]:
    """The series of `symbols`, by default of all; the fee terms of the last one change.

    Raises SettingsError when there are none, and for strikes that the simulated exchange cannot have.
    """
    wanted = [symbol for symbol in settings.symbols if not symbols or symbol in symbols]
    named = [(symbol, ticker) for symbol in wanted for ticker in settings.symbols[symbol].series]
    repeated = sorted({ticker for _, ticker in named if sum(other == ticker for _, other in named) > 1})
    if repeated:
        raise SettingsError(f"series {', '.join(repeated)}: listed more than once in [symbols.NAME] series")
    if not named:
        raise SettingsError(f"no series of {', '.join(wanted)}: list them in [symbols.NAME] series, such as KXBTCD")
    found = [Series(ticker, symbol, _tier(settings, symbol)) for symbol, ticker in named]
    found = [replace(one, fee_multiplier=RANGE_MULTIPLIER) if one.kind is SeriesKind.RANGE else one for one in found]
    return (*found[:-1], replace(found[-1], fee_change=True))


def _tier(settings: Settings, symbol: str) -> Decimal:
    return Decimal(repr(settings.symbols[symbol].strike_tier_usd))
