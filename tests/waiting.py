"""Waiting for what another process does: with a deadline, never for a fixed time."""

from collections.abc import Callable

from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
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
