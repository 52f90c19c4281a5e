"""Waiting for what another process does: with a deadline, never for a fixed time."""

import time
from collections.abc import Callable

from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

#: Long, because a deadline is only ever reached by what is broken: a machine that is busy otherwise must not reach it.
TIMEOUT_SECONDS = 300.0
HOUR_SECONDS = 3_600


def wait_until(condition: Callable[[], object], what: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Return as soon as `condition` is true; fails the test when it is not within `seconds`."""

    def fail(_: object) -> bool:
        raise AssertionError(f"{what} did not happen within {seconds} s")

    retrying = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.02),
        stop=stop_after_delay(seconds),
        retry_error_callback=fail,
    )
    retrying(condition)


def avoid_hour_boundary(seconds: float = 60.0) -> None:
    """Let the next hour begin if it begins within `seconds`: for claims of one hour, or of one day."""
    wait_until(lambda: time.time() % HOUR_SECONDS < HOUR_SECONDS - seconds, "the next hour", TIMEOUT_SECONDS + seconds)
