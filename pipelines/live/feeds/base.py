"""What a feed is."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from pipelines.domain.prices.ticks import Quote, Tick


class Source(Protocol):
    """The part of a feed that fails on its own: it is retried on its own, and stops nobody else."""

    @property
    def name(self) -> str:
        """For messages, such as `kraken BTC`."""

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols it has prices of."""

    @property
    def starts_early(self) -> bool:
        """Whether a session that waits for its turn connects already, so that there is no pause when it comes."""

    async def quotes(self) -> Sequence[Quote]:
        """Wait for the next prices, as long as that takes. Raises FeedError when they cannot be had."""

    async def reset(self) -> None:
        """Begin anew after a failure: close what may have stalled."""


class Feed(Protocol):
    """All sources of prices of a session."""

    @property
    def name(self) -> str:
        """Goes into `price_log.source`."""

    @property
    def sources(self) -> Sequence[Source]:
        """Its independent parts."""

    async def prepare(self) -> None:
        """What takes time and can be done before prices are wanted; failures show when they are."""

    def warm_up(self, symbol: str, now: datetime) -> Iterable[Tick]:
        """Ticks before `now` (aware UTC) from which momentum is known at once, oldest first; may be none."""

    async def close(self) -> None:
        """Let go of connections."""


class ExternalFeed:
    """Someone else inserts into `live_data.price_log`."""

    name = "external"
    sources: Sequence[Source] = ()

    async def prepare(self) -> None:
        """Nothing to do."""

    def warm_up(self, symbol: str, now: datetime) -> Iterable[Tick]:
        """None."""
        del symbol, now
        return ()

    async def close(self) -> None:
        """Nothing to do."""
