"""What is logged of the failures of a source."""

import asyncio

from pipelines.errors import MarketError
from pipelines.sources.retries import Retrier, RetryPolicy


async def no_wait(_: float) -> None:
    """Wait for nothing."""
    await asyncio.sleep(0)


def logged(*answers: str | None, max_failures: int = 100) -> list[str]:
    """The log of calls whose attempts fail with these texts, or succeed."""
    lines: list[str] = []
    left = iter(answers)

    async def attempt() -> None:
        if (failure := next(left)) is not None:
            raise MarketError(failure)

    async def run() -> None:
        policy = RetryPolicy(max_failures=max_failures, pause_seconds=0)
        retrier = Retrier("quotes", MarketError, lines.append, policy, sleep=no_wait)
        for _ in range(answers.count(None)):
            await retrier.call(attempt)

    asyncio.run(run())
    return lines


def test_the_same_failure_is_logged_once() -> None:
    assert logged("timed out", "timed out", "timed out", None) == ["timed out", "quotes: delivers again"]


def test_another_failure_is_logged() -> None:
    assert logged("timed out", "refused", "refused", None) == ["timed out", "refused", "quotes: delivers again"]


def test_the_same_failure_after_a_success_is_logged() -> None:
    assert logged("timed out", None, "timed out", None) == ["timed out", "quotes: delivers again"] * 2


def test_a_pause_that_is_repeated_is_logged_once() -> None:
    found = logged(*["timed out"] * 5, None, max_failures=2)
    assert found == ["timed out", "timed out (paused for 0 s after 2 failures)", "quotes: delivers again"]
