"""Repeat a call until it succeeds: growing random waits, a circuit breaker, and one log line per new failure."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pybreaker import STATE_OPEN, CircuitBreaker, CircuitBreakerError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pipelines.errors import StrikecastError
from pipelines.log import Log

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """When a source is retried.

    It has stalled after `stall_seconds` without an answer. Attempts are `max_wait_seconds` apart at most, with full
    jitter (up to 0.2, 0.4, 0.8 ... s); after `max_failures` in a row, the next one follows `open_seconds` later.
    """

    stall_seconds: float = 10.0
    max_failures: int = 5
    open_seconds: int = 10
    max_wait_seconds: float = 5.0


def _ignore() -> None:
    """The default of `on_change`."""


@dataclass
class Retrier:
    """Repeats calls that fail with `error`. `failure`: of the last attempt, None after a successful one.

    `name`: what delivers again, in the log line. `on_change`: called when `failure` has changed. `sleep`: waits for a
    number of seconds.
    """

    name: str
    error: type[StrikecastError]
    log: Log
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    on_change: Callable[[], None] = _ignore
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    failure: str | None = field(default=None, init=False)
    _logged: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._breaker = CircuitBreaker(
            fail_max=self.policy.max_failures,
            reset_timeout=self.policy.open_seconds,
            throw_new_error_on_trip=False,
        )
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type((self.error, CircuitBreakerError)),
            wait=wait_random_exponential(multiplier=0.2, max=self.policy.max_wait_seconds),
            before_sleep=self._record_failure,
            sleep=self.sleep,
        )

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds. Raises only what is not an `error`."""
        result: T = await self._retrying(self._try, attempt)
        if self.failure is not None:
            self.failure = self._logged = None
            self.log(f"{self.name}: delivers again")
            self.on_change()
        return result

    async def _try(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """One attempt. Raises CircuitBreakerError while the circuit is open."""
        with self._breaker.calling():
            return await attempt()

    def _record_failure(self, state: RetryCallState) -> None:
        """Keep the newest failure; log it when its text is not that of the last one logged since a success."""
        assert state.outcome is not None
        error = state.outcome.exception()
        if isinstance(error, CircuitBreakerError):
            return
        self.failure = str(error)
        if self._breaker.current_state == STATE_OPEN:
            self.failure += f" (paused for {self.policy.open_seconds} s after {self.policy.max_failures} failures)"
        if self.failure != self._logged:
            self._logged = self.failure
            self.log(self.failure)
        self.on_change()
