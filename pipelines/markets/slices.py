"""Long work in slices, so that the event loop can do other work between them."""

import asyncio
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
#: Work that yields after each of many small steps, and returns its result.
Steps = Generator[None, None, T]
#: Steps of a slice. Reading a market takes 25 us: a slice takes less than a millisecond.
STEPS = 25


def finish(steps: Steps[T]) -> T:
    """The result, at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def finish_in_slices(steps: Steps[T]) -> T:
    """The result, with other work of the event loop after each slice."""
    while True:
        try:
            for _ in range(STEPS):
                next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)
