"""Run the sources of a feed: each independently, with retries and a circuit breaker."""

from asyncio import timeout
from collections.abc import Callable, Mapping, Sequence
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
    """When a source is retried.

    It has stalled after `stall_seconds` without quotes. Attempts are `max_wait_seconds` apart at most, with full jitter
    (up to 0.2, 0.4, 0.8 ... s); after `max_failures` in a row, the next one follows `open_seconds` later.
    """

    stall_seconds: float = 10.0
    max_failures: int = 5
    open_seconds: int = 10
    max_wait_seconds: float = 5.0


DEFAULT_POLICY = RetryPolicy()


class SourceRunner:
    """Runs one source. `deliver` receives (symbol, tick) pairs and their arrival (aware UTC)."""

    def __init__(
        self,
        source: Source,
        validators: Mapping[str, QuoteValidator],
        metrics: SessionMetrics,
        deliver: Callable[[Sequence[tuple[str, Tick]], datetime], None],
        log: Log,
        policy: RetryPolicy = DEFAULT_POLICY,
    ) -> None:
        self._source = source
        self._validators = validators
        self._metrics = metrics
        self._deliver = deliver
        self._log = log
        self._policy = policy
        self._breaker = CircuitBreaker(
            fail_max=policy.max_failures,
            reset_timeout=policy.open_seconds,
            name=source.name,
            throw_new_error_on_trip=False,
        )
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type((FeedError, CircuitBreakerError)),
            wait=wait_random_exponential(multiplier=0.2, max=policy.max_wait_seconds),
            before_sleep=self._record_failure,
        )
        self._failure: str | None = None

    def problems(self, symbol: str) -> list[str]:
        """Messages about this source's prices of a symbol."""
        if symbol not in self._source.symbols:
            return []
        return [problem for problem in (self._failure, self._validators[symbol].problem) if problem is not None]

    async def run(self) -> None:
        """Deliver ticks forever. Raises only what `deliver` raises."""
        while True:
            quotes: Sequence[Quote] = await self._retrying(self._try_quotes)
            if self._failure is not None:
                self._log(f"{self._source.name}: delivers again")
                self._failure = None
            now = datetime.now(UTC)
            ticks = []
            for quote in quotes:
                tick = self._validators[quote.symbol].validate(quote, now)
                if tick is None:
                    self._metrics.refused_quotes += 1
                else:
                    ticks.append((quote.symbol, tick))
            if ticks:
                self._deliver(ticks, now)

    async def _try_quotes(self) -> Sequence[Quote]:
        """One attempt. Raises FeedError, or CircuitBreakerError while the circuit is open."""
        with self._breaker.calling():
            try:
                async with timeout(self._policy.stall_seconds):
                    return await self._source.quotes()
            except TimeoutError:
                failure = FeedError(f"{self._source.name}: no quote for {self._policy.stall_seconds:g} s")
            except FeedError as error:
                failure = error
            self._metrics.source_failures += 1
            await self._source.reset()
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
            policy = self._policy
            self._failure += f" (paused for {policy.open_seconds} s after {policy.max_failures} failures)"
        if is_first or is_open:
            self._log(self._failure)
