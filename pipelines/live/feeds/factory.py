"""The feed that the settings select."""

from collections.abc import Callable, Sequence

from pipelines.configuration.sections import FeedKind
from pipelines.live.feeds.base import Feed
from pipelines.live.feeds.replay import LOOP_BARS, Recording, ReplayFeed
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import latest_bars

#: Makes a session's feed; the connection reads stored bars.
FeedFactory = Callable[[Connection], Feed]


def replay_factory(symbols: Sequence[str], speed: float = 1.0, ticks_per_second: float = 1.0) -> FeedFactory:
    """A replay of the newest stored day of each symbol that has bars."""

    def make(connection: Connection) -> Feed:
        recordings = {}
        for symbol in symbols:
            if bars := latest_bars(connection, symbol, LOOP_BARS):
                opens, closes = tuple(bar.open for bar in bars), tuple(bar.close for bar in bars)
                recordings[symbol] = Recording(tuple(bar.opened_at for bar in bars), opens, closes, speed)
        return ReplayFeed(recordings, ticks_per_second)

    return make


def feed_factory(settings: Settings) -> FeedFactory:
    """The factory of the feed that `settings.feed` selects."""
    match settings.feed:
        case FeedKind.REPLAY:
            return replay_factory(list(settings.symbols), settings.replay.speed, settings.replay.ticks_per_second)
        case FeedKind.EXCHANGE:
            from pipelines.live.feeds.exchange import ExchangeFeed

            markets = {symbol: settings.market_of(symbol) for symbol in settings.symbols}
            return lambda _: ExchangeFeed(settings.exchange, markets)
        case FeedKind.EXTERNAL:
            return lambda _: Feed()
