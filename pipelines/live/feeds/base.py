"""Base classes of price feeds."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from pipelines.domain.prices.quote_times import MAX_REPEAT
from pipelines.domain.prices.ticks import Quote, Tick


class Source(ABC):
    """The part of a feed that fails, and is retried, independently of others.

    `name`: for messages, such as `kraken BTC`; `starts_early`: whether a session that waits for the leadership connects
    already, so that its take-over causes no gap.
    """

    name: str
    symbols: Sequence[str]
    starts_early: ClassVar[bool] = False

    @abstractmethod
    async def quotes(self) -> Sequence[Quote]:
        """Wait for the next quotes, without a timeout. Raises FeedError when the source fails."""

    async def reset(self) -> None:  # noqa: B027 (optional)
        """Close connections after a failure; `quotes` opens them again."""


class Feed:
    """All price sources of a session; without sources, as here, another program inserts into `live_data.price_log`.

    `name`: the value of `price_log.source`; `max_repeat`: as for `QuoteValidator`.
    """

    name: str = "external"
    sources: Sequence[Source] = ()
    max_repeat: timedelta = MAX_REPEAT

    async def prepare(self) -> None:
        """Do slow preparations before quotes are needed. A failure is reported by `Source.quotes`."""

    def warm_up(self, symbol: str, now: datetime) -> Sequence[Tick]:
        """Ticks before `now` (aware UTC), oldest first, that make momentum known at once; none by default."""
        del symbol, now
        return ()

    def replayed_at(self, symbol: str, at: datetime) -> datetime | None:
        """When the price of the instant `at` (aware UTC) was a real one, if it is replayed; None otherwise."""
        del symbol, at
        return None

    async def close(self) -> None:
        """Close all connections."""
