"""The markets that the settings select; apart from `markets`, since their import takes about a second."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pipelines.domain.markets.board import MarketSource
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.live.markets import LiveMarkets

#: Makes the markets of a session from its refreshers by symbol; None without a source of markets.
MarketsFactory = Callable[[Mapping[str, SymbolRefresher], Log], "LiveMarkets | None"]


def no_markets(refreshers: Mapping[str, SymbolRefresher], log: Log) -> None:
    """The factory of a session without markets."""
    del refreshers, log


def markets_factory(settings: Settings) -> MarketsFactory:
    """The factory of the source that `settings.markets` selects."""
    if settings.markets.source is MarketSource.NONE:
        return no_markets

    def make(refreshers: Mapping[str, SymbolRefresher], log: Log) -> "LiveMarkets":
        from pipelines.live.desk import DeskPlan
        from pipelines.live.markets import LiveMarkets, MarketPlan
        from pipelines.markets.address import market_url
        from pipelines.markets.client import MarketClient
        from pipelines.markets.polling import poll_settings

        plan = MarketPlan(
            settings.markets.source,
            settings.series,
            lambda: market_url(settings),
            lambda url: MarketClient(poll_settings(settings.markets, url)),
            DeskPlan(settings.desk_campaign, settings.desk.rules) if settings.desk_is_enabled else None,
        )
        return LiveMarkets(plan, refreshers, log)

    return make
