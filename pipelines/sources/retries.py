"""Repeat a call until it succeeds: growing random waits, then pauses, and one log line per new failure."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_chain,
    wait_fixed,
    wait_random_exponential,
)

from pipelines.errors import StrikecastError
from pipelines.log import Log

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """When a source is retried.

    It has stalled after `stall_seconds` without an answer. Attempts are `max_wait_seconds` apart at most, with full
    jitter (up to 0.2, 0.4, 0.8 ... s); from `max_failures` in a row on, they are `pause_seconds` apart.
    """

    stall_seconds: float = 10.0
    max_failures: int = 5
    pause_seconds: int = 10
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
        jitter = wait_random_exponential(multiplier=0.2, max=self.policy.max_wait_seconds)
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(self.error),
            wait=wait_chain(*[jitter] * (self.policy.max_failures - 1), wait_fixed(self.policy.pause_seconds)),
            before_sleep=self._record_failure,
            sleep=self.sleep,
        )

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds. Raises only what is not an `error`."""
        result: T = await self._retrying(attempt)
        if self.failure is not None:
            self.failure = self._logged = None
            self.log(f"{self.name}: delivers again")
            self.on_change()
        return result

    def _record_failure(self, state: RetryCallState) -> None:
        """Keep the newest failure; log it when its text is not that of the last one logged since a success."""
        assert state.outcome is not None
        self.failure = str(state.outcome.exception())
        if state.attempt_number >= self.policy.max_failures:
            self.failure += f" (paused for {self.policy.pause_seconds} s after {self.policy.max_failures} failures)"
        if self.failure != self._logged:
            self._logged = self.failure
            self.log(self.failure)
        self.on_change()
