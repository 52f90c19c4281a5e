"""The exchange feed: one source per symbol, over a websocket where there is one, else by polling."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from pipelines.domain.prices.ticks import Quote, Tick
from pipelines.errors import FeedError
from pipelines.ingestion.exchange import (
    Client,
    as_feed_error,
    load_markets,
    new_client,
    require_market,
    utc_from_ms,
)
from pipelines.live.feeds.base import Source
from pipelines.settings import ExchangeSettings, Transport


class ExchangeFeed:
    """Tickers of `markets` (symbol -> market, such as BTC/USD). Raises SettingsError for an unknown exchange."""

    def __init__(self, settings: ExchangeSettings, markets: Mapping[str, str]) -> None:
        self.name = settings.name
        self._client = new_client(settings)
        watches = settings.transport is Transport.WEBSOCKET and self._client.has.get("watchTicker")
        self.sources: Sequence[Source] = [
            _Watched(settings, symbol, market, self._client)
            if watches
            else _Polled(settings, symbol, market, self._client)
            for symbol, market in markets.items()
        ]

    async def prepare(self) -> None:
        """Load the exchange's markets; a failure shows with the first price that is wanted."""
        with suppress(FeedError):
            await load_markets(self._client, self.name)

    def warm_up(self, symbol: str, now: datetime) -> Iterable[Tick]:
        """None: what was before is in `price_log`, or unknown."""
        del symbol, now
        return ()

    async def close(self) -> None:
        """Close all connections."""
        for source in self.sources:
            await source.reset()
        await self._client.close()


@dataclass
class _Market:
    """A symbol on the exchange; `client` is shared by all symbols, and keeps the exchange's rate limit."""

    settings: ExchangeSettings
    symbol: str
    market: str
    client: Client

    @property
    def name(self) -> str:
        return f"{self.settings.name} {self.symbol}"

    @property
    def symbols(self) -> Sequence[str]:
        return (self.symbol,)

    async def ready(self) -> None:
        """Know the market."""
        if not self.client.markets:
            await load_markets(self.client, self.settings.name)
        require_market(self.client, self.settings.name, self.market)

    def quote(self, ticker: Mapping[str, object]) -> Quote:
        """The last price of a ticker. Raises FeedError when it has none."""
        price, stated = ticker.get("last"), ticker.get("timestamp")
        if not isinstance(price, int | float):
            raise FeedError(f"{self.name}: the ticker has no last price")
        return Quote(self.symbol, float(price), utc_from_ms(stated) if isinstance(stated, int | float) else None)


@dataclass
class _Polled(_Market):
    """Asks for the ticker at a steady pace."""

    starts_early: ClassVar[bool] = False
    _due: float = 0.0

    async def quotes(self) -> Sequence[Quote]:
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + self.settings.poll_seconds, time.monotonic())
        await self.ready()
        with as_feed_error(self.name):
            return [self.quote(await self.client.fetch_ticker(self.market))]

    async def reset(self) -> None:
        """Nothing is kept between two requests."""


@dataclass
class _Watched(_Market):
    """Hears of each change over a websocket of its own, so that one that stalls can be closed alone."""

    starts_early: ClassVar[bool] = True
    _socket: Client | None = None

    async def quotes(self) -> Sequence[Quote]:
        await self.ready()
        if self._socket is None:
            self._socket = new_client(self.settings)
            self._socket.set_markets_from_exchange(self.client)
        with as_feed_error(self.name):
            return [self.quote(await self._socket.watch_ticker(self.market))]

    async def reset(self) -> None:
        """Close the socket; the next price opens a new one."""
        socket, self._socket = self._socket, None
        if socket is not None:
            with suppress(FeedError), as_feed_error(self.name):
                await socket.close()
