"""The exchange feed: one source per symbol, over a websocket if the exchange has one, else by polling."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pipelines.configuration.sections import ExchangeSettings, Transport
from pipelines.domain.prices.ticks import Quote
from pipelines.errors import FeedError
from pipelines.ingestion.exchange import (
    Client,
    as_feed_error,
    load_markets,
    new_client,
    require_market,
    utc_from_ms,
)
from pipelines.live.feeds.base import Feed, Source


class ExchangeFeed(Feed):
    """Tickers of `markets` (symbol -> market, such as BTC/USD). Raises SettingsError for an unknown exchange."""

    def __init__(self, settings: ExchangeSettings, markets: Mapping[str, str]) -> None:
        self.name = settings.name
        self.max_repeat = timedelta(seconds=settings.max_repeat_seconds)
        self._client = new_client(settings)
        has_websocket = settings.transport is Transport.WEBSOCKET and self._client.has.get("watchTicker")
        source_type = WebsocketSource if has_websocket else PollingSource
        self.sources = [source_type(settings, symbol, market, self._client) for symbol, market in markets.items()]

    async def prepare(self) -> None:
        """Load the exchange's markets."""
        with suppress(FeedError):
            await load_markets(self._client, self.name)

    async def close(self) -> None:
        """Close all connections."""
        for source in self.sources:
            await source.reset()
        await self._client.close()


class _MarketSource(Source):
    """A symbol's market; all symbols share `client`, which keeps the exchange's rate limit."""

    def __init__(self, settings: ExchangeSettings, symbol: str, market: str, client: Client) -> None:
        self.name = f"{settings.name} {symbol}"
        self.symbols = (symbol,)
        self._settings = settings
        self._market = market
        self._client = client
        self._undated: tuple[str, datetime] | None = None

    async def _require_market(self) -> None:
        if not self._client.markets:
            await load_markets(self._client, self._settings.name)
        require_market(self._client, self._settings.name, self._market)

    def _quote(self, ticker: Mapping[str, object]) -> Quote:
        """The last price of a ticker. Raises FeedError when it has none."""
        price, quoted_at_ms = ticker.get("last"), ticker.get("timestamp")
        if not isinstance(price, int | float):
            raise FeedError(f"{self.name}: the ticker has no last price")
        if isinstance(quoted_at_ms, int | float):
            quoted_at = utc_from_ms(quoted_at_ms)
        else:
            quoted_at = self._first_received_at(str(ticker))
        return Quote(self.symbols[0], float(price), quoted_at)

    def _first_received_at(self, ticker: str) -> datetime:
        """When a ticker without a time was first received: one with the same volume, bid and ask is a repetition."""
        if self._undated is None or self._undated[0] != ticker:
            self._undated = ticker, datetime.now(UTC)
        return self._undated[1]


class PollingSource(_MarketSource):
    """Requests the ticker every `poll_seconds`."""

    _due = 0.0

    async def quotes(self) -> Sequence[Quote]:
        """Request the ticker once."""
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + self._settings.poll_seconds, time.monotonic())
        await self._require_market()
        with as_feed_error(self.name):
            return [self._quote(await self._client.fetch_ticker(self._market))]


class WebsocketSource(_MarketSource):
    """Receives each change over its own websocket, so that a stalled one can be closed without the others."""

    starts_early = True
    _socket: Client | None = None

    async def quotes(self) -> Sequence[Quote]:
        """Wait for the next change of the ticker."""
        await self._require_market()
        if self._socket is None:
            self._socket = new_client(self._settings)
            self._socket.set_markets_from_exchange(self._client)
        with as_feed_error(self.name):
            return [self._quote(await self._socket.watch_ticker(self._market))]

    async def reset(self) -> None:
        """Close the socket; the next call of `quotes` opens a new one."""
        socket, self._socket = self._socket, None
        if socket is not None:
            with suppress(FeedError), as_feed_error(self.name):
                await socket.close()
