"""Run the sources of a feed: each independently, with retries and pauses."""

from asyncio import timeout
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipelines.domain.prices.ticks import Quote, QuoteValidator, Tick
from pipelines.errors import FeedError
from pipelines.live.feeds.base import Source
from pipelines.live.metrics import SessionMetrics
from pipelines.log import Log
from pipelines.sources.retries import Retrier, RetryPolicy


@dataclass
class SourceRunner:
    """Runs one source. `deliver` receives (symbol, tick) pairs and their arrival (aware UTC)."""

    source: Source
    validators: Mapping[str, QuoteValidator]
    metrics: SessionMetrics
    deliver: Callable[[Sequence[tuple[str, Tick]], datetime], None]
    log: Log
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        self._retrier = Retrier(self.source.name, FeedError, self.log, self.policy)

    def problems(self, symbol: str) -> list[str]:
        """Messages about this source's prices of a symbol."""
        if symbol not in self.source.symbols:
            return []
        return [problem for problem in (self._retrier.failure, self.validators[symbol].problem) if problem is not None]

    async def run(self) -> None:
        """Deliver ticks forever. Raises only what `deliver` raises."""
        while True:
            quotes = await self._retrier.call(self._try_quotes)
            now = datetime.now(UTC)
            ticks = []
            for quote in quotes:
                tick = self.validators[quote.symbol].validate(quote, now)
                if tick is None:
                    self.metrics.refused_quotes += 1
                else:
                    ticks.append((quote.symbol, tick))
            if ticks:
                self.deliver(ticks, now)

    async def _try_quotes(self) -> Sequence[Quote]:
        """One attempt. Raises FeedError."""
        try:
            async with timeout(self.policy.stall_seconds):
                return await self.source.quotes()
        except TimeoutError:
            failure = FeedError(f"{self.source.name}: no quote for {self.policy.stall_seconds:g} s")
        except FeedError as error:
            failure = error
        self.metrics.source_failures += 1
        await self.source.reset()
        raise failure
