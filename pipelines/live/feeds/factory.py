"""The feed that the settings name."""

from collections.abc import Callable, Sequence

from pipelines.live.feeds.base import ExternalFeed, Feed
from pipelines.live.feeds.replay import LOOP_BARS, Recording, ReplayFeed
from pipelines.settings import FeedKind, Settings
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import latest_bars

#: Makes a session's feed; the connection is there for stored history.
FeedFactory = Callable[[Connection], Feed]


def replay_factory(symbols: Sequence[str], speed: float = 1.0, ticks_per_second: float = 1.0) -> FeedFactory:
    """A replay of the newest stored day of each symbol that has bars."""

    def make(connection: Connection) -> Feed:
        bars = {symbol: latest_bars(connection, symbol, LOOP_BARS) for symbol in symbols}
        return ReplayFeed(
            {
                symbol: Recording(tuple(bar.open for bar in found), tuple(bar.close for bar in found), speed)
                for symbol, found in bars.items()
                if found
            },
            ticks_per_second,
        )

    return make


def feed_factory(settings: Settings) -> FeedFactory:
    """What the setting `feed` says."""
    match settings.feed:
        case FeedKind.REPLAY:
            return replay_factory(list(settings.symbols), settings.replay.speed, settings.replay.ticks_per_second)
        case FeedKind.EXCHANGE:
            from pipelines.live.feeds.exchange import ExchangeFeed

            markets = {symbol: settings.market_of(symbol) for symbol in settings.symbols}
            return lambda _: ExchangeFeed(settings.exchange, markets)
        case FeedKind.EXTERNAL:
            return lambda _: ExternalFeed()
