"""Calls timed one by one, in milliseconds."""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
MILLISECONDS = 1_000.0
#: Between two calls on the server, of what a call takes: others get at least two thirds of a core and of the server.
PAUSES = 2.0


def timed(work: Callable[[T], object], each: Iterable[T], pauses: float = PAUSES) -> list[float]:
    """Milliseconds that `work` takes with each of its arguments; after a call nothing for `pauses` times as long."""
    samples = []
    for argument in each:
        began = time.perf_counter()
        work(argument)
        seconds = time.perf_counter() - began
        samples.append(MILLISECONDS * seconds)
        time.sleep(pauses * seconds)
    return samples
