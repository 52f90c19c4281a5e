"""Waiting for conditions with a timeout, never for a fixed time."""

import time
from collections.abc import Callable

from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

#: Long, since only a defect should reach it, and not a busy machine.
TIMEOUT_SECONDS = 300.0
HOUR_SECONDS = 3_600


def wait_until(condition: Callable[[], object], event: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Return as soon as `condition` is true; fail the test after `seconds`."""

    def fail(_: object) -> bool:
        raise AssertionError(f"{event} did not happen within {seconds} s")

    retrying = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.02),
        stop=stop_after_delay(seconds),
        retry_error_callback=fail,
    )
    retrying(condition)


def avoid_hour_boundary(seconds: float = 60.0) -> None:
    """Wait for the next hour if it begins within `seconds`: for tests that assume one hour or day."""
    wait_until(lambda: time.time() % HOUR_SECONDS < HOUR_SECONDS - seconds, "the next hour", TIMEOUT_SECONDS + seconds)
