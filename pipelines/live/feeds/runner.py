"""Run the sources of a feed: each independently, with retries and a circuit breaker."""

from asyncio import timeout
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    """When a source is retried.

    It has stalled after `stall_seconds` without quotes. Attempts are `max_wait_seconds` apart at most, with full jitter
    (up to 0.2, 0.4, 0.8 ... s); after `max_failures` in a row, the next one follows `open_seconds` later.
    """

    stall_seconds: float = 10.0
    max_failures: int = 5
    open_seconds: int = 10
    max_wait_seconds: float = 5.0


@dataclass
class SourceRunner:
    """Runs one source. `deliver` receives (symbol, tick) pairs and their arrival (aware UTC)."""

    source: Source
    validators: Mapping[str, QuoteValidator]
    metrics: SessionMetrics
    deliver: Callable[[Sequence[tuple[str, Tick]], datetime], None]
    log: Log
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    _failure: str | None = None

    def __post_init__(self) -> None:
        self._breaker = CircuitBreaker(
            fail_max=self.policy.max_failures,
            reset_timeout=self.policy.open_seconds,
            throw_new_error_on_trip=False,
        )
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type((FeedError, CircuitBreakerError)),
            wait=wait_random_exponential(multiplier=0.2, max=self.policy.max_wait_seconds),
            before_sleep=self._record_failure,
        )

    def problems(self, symbol: str) -> list[str]:
        """Messages about this source's prices of a symbol."""
        if symbol not in self.source.symbols:
            return []
        return [problem for problem in (self._failure, self.validators[symbol].problem) if problem is not None]

    async def run(self) -> None:
        """Deliver ticks forever. Raises only what `deliver` raises."""
        while True:
            quotes: Sequence[Quote] = await self._retrying(self._try_quotes)
            if self._failure is not None:
                self.log(f"{self.source.name}: delivers again")
                self._failure = None
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
        """One attempt. Raises FeedError, or CircuitBreakerError while the circuit is open."""
        with self._breaker.calling():
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

    def _record_failure(self, attempt: RetryCallState) -> None:
        """Keep the newest failure for `problems`; log the first in a row, and the opening of the circuit."""
        assert attempt.outcome is not None
        error = attempt.outcome.exception()
        if isinstance(error, CircuitBreakerError):
            return
        is_first, is_open = self._failure is None, self._breaker.current_state == STATE_OPEN
        self._failure = str(error)
        if is_open:
            self._failure += f" (paused for {self.policy.open_seconds} s after {self.policy.max_failures} failures)"
        if is_first or is_open:
            self.log(self._failure)
