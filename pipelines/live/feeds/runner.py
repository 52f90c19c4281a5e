"""Running a feed's sources: each by itself, retried, and left alone for a while when it keeps failing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pybreaker import STATE_OPEN, CircuitBreaker, CircuitBreakerError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pipelines.domain.prices.ticks import Quote, QuoteValidator, Tick
from pipelines.errors import FeedError
from pipelines.live.feeds.base import Source
from pipelines.live.metrics import SessionMetrics
from pipelines.log import Log


@dataclass(frozen=True)
class RetryPolicy:
    """Without a word for `stall_seconds` a source has stalled; after `failures` in a row it is left alone for
    `open_seconds`; between two attempts it waits with full jitter, up to 0.2, 0.4, 0.8 ... `longest_wait_seconds`.
    """

    stall_seconds: float = 10.0
    failures: int = 5
    open_seconds: int = 10
    longest_wait_seconds: float = 5.0


Deliver = Callable[[Sequence[tuple[str, Tick]], datetime], Awaitable[None]]


class SourceRunner:
    """One source of one session. `deliver` gets (symbol, tick) and when they arrived (aware UTC)."""

    def __init__(
        self,
        source: Source,
        gates: dict[str, QuoteValidator],
        metrics: SessionMetrics,
        deliver: Deliver,
        log: Log,
        patience: RetryPolicy = RetryPolicy(),
    ) -> None:
        self._source = source
        self._gates = gates
        self._metrics = metrics
        self._deliver = deliver
        self._log = log
        self._patience = patience
        self._breaker = CircuitBreaker(
            fail_max=patience.failures,
            reset_timeout=patience.open_seconds,
            name=source.name,
            throw_new_error_on_trip=False,
        )
        self._backoff = wait_random_exponential(multiplier=0.2, max=patience.longest_wait_seconds)
        self._failing: str | None = None

    def problems(self, symbol: str) -> list[str]:
        """What is wrong with this source's prices of a symbol, in plain words."""
        if symbol not in self._source.symbols:
            return []
        return [problem for problem in (self._failing, self._gates[symbol].problem) if problem is not None]

    async def run(self) -> None:
        """Deliver prices for ever. Only what `deliver` raises ends it."""
        while True:
            quotes = await self._next()
            if self._failing is not None:
                self._log(f"{self._source.name}: delivers again")
                self._failing = None
            now = datetime.now(UTC)
            ticks = []
            for quote in quotes:
                tick = self._gates[quote.symbol].validate(quote, now)
                if tick is None:
                    self._metrics.refused_quotes += 1
                else:
                    ticks.append((quote.symbol, tick))
            if ticks:
                await self._deliver(ticks, now)

    async def _next(self) -> Sequence[Quote]:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((FeedError, CircuitBreakerError)), wait=self._backoff, before_sleep=self._note
        ):
            with attempt, self._breaker.calling():
                return await self._ask()
        raise AssertionError("retries for ever")

    async def _ask(self) -> Sequence[Quote]:
        try:
            async with asyncio.timeout(self._patience.stall_seconds):
                return await self._source.quotes()
        except TimeoutError:
            failure = FeedError(f"{self._source.name}: nothing came for {self._patience.stall_seconds:g} s")
        except FeedError as error:
            failure = error
        self._metrics.source_failures += 1
        await self._source.reset()
        raise failure

    def _note(self, attempt: RetryCallState) -> None:
        """Keep the newest failure for the file; say the first of a row, and that the source is left alone."""
        assert attempt.outcome is not None
        error = attempt.outcome.exception()
        if isinstance(error, CircuitBreakerError):
            return  # nobody was asked
        first = self._failing is None
        self._failing = str(error)
        if self._breaker.current_state == STATE_OPEN:
            patience = self._patience
            self._failing += f" (left alone for {patience.open_seconds} s after {patience.failures} failures)"
        if first or self._breaker.current_state == STATE_OPEN:
            self._log(self._failing)
