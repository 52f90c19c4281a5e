"""Lost cancellations are repeated, and effective ones are not."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import waiting

from pipelines.live.cancellation import repeat_lost_cancellations

GRACE_SECONDS = 0.2


async def ignores_first_cancellation() -> None:
    """Continues after its first cancellation."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)


async def loses_cancellation() -> None:
    """The case that Python 3.11 loses: the awaited future completes as the wait is cancelled."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    future = loop.create_future()

    def both() -> None:
        future.set_result(None)
        task.cancel()

    loop.call_later(0.05, both)
    await asyncio.wait_for(future, 60)
    await asyncio.sleep(3600)


@pytest.mark.parametrize("work", [ignores_first_cancellation, loses_cancellation])
def test_a_lost_cancellation_is_repeated(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        repeat_lost_cancellations(GRACE_SECONDS)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
            if work is ignores_first_cancellation:
                task.cancel()

    asyncio.run(asyncio.wait_for(main(), waiting.TIMEOUT_SECONDS))


def test_a_group_whose_body_loses_a_cancellation_still_ends() -> None:
    async def fails() -> None:
        raise KeyError("lost")

    async def main() -> None:
        repeat_lost_cancellations(GRACE_SECONDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await ignores_first_cancellation()

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        asyncio.run(asyncio.wait_for(main(), waiting.TIMEOUT_SECONDS))


def test_the_loop_ends_although_a_task_loses_its_cancellation() -> None:
    async def main() -> "asyncio.Task[None]":
        repeat_lost_cancellations(GRACE_SECONDS)
        task = asyncio.create_task(ignores_first_cancellation())
        await asyncio.sleep(0.01)
        return task

    assert asyncio.run(main()).cancelled()


def test_an_orderly_shutdown_is_not_interrupted() -> None:
    completed = []

    async def shuts_down() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(GRACE_SECONDS / 2)
            completed.append(True)

    async def main() -> None:
        repeat_lost_cancellations(GRACE_SECONDS)
        task = asyncio.create_task(shuts_down())
        await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert completed == [True]
