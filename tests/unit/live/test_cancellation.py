"""A cancellation that got lost is repeated, and one that was heard is not."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import waiting

from pipelines.live.cancellation import repeat_lost_cancellations

PATIENCE_SECONDS = 0.2


async def deaf() -> None:
    """Goes on after its first cancellation."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)


async def at_the_same_moment() -> None:
    """What Python 3.11 forgets: what is waited for is done as the wait is cancelled."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    done = loop.create_future()

    def both() -> None:
        done.set_result(None)
        task.cancel()

    loop.call_later(0.05, both)
    await asyncio.wait_for(done, 60)
    await asyncio.sleep(3600)


@pytest.mark.parametrize("work", [deaf, at_the_same_moment])
def test_a_lost_cancellation_is_repeated(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        repeat_lost_cancellations(PATIENCE_SECONDS)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())  # type: ignore[arg-type]
            await asyncio.sleep(0.01)
            if work is deaf:
                task.cancel()

    asyncio.run(asyncio.wait_for(main(), waiting.TIMEOUT_SECONDS))


def test_a_group_whose_body_loses_a_cancellation_still_ends() -> None:
    async def fails() -> None:
        raise KeyError("lost")

    async def main() -> None:
        repeat_lost_cancellations(PATIENCE_SECONDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await deaf()

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        asyncio.run(asyncio.wait_for(main(), waiting.TIMEOUT_SECONDS))


def test_the_loop_ends_although_a_task_loses_its_cancellation() -> None:
    async def main() -> "asyncio.Task[None]":
        repeat_lost_cancellations(PATIENCE_SECONDS)
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0.01)
        return task

    assert asyncio.run(main()).cancelled()


def test_an_orderly_shutdown_is_not_interrupted() -> None:
    said = []

    async def ends() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(PATIENCE_SECONDS / 2)
            said.append("goodbye")

    async def main() -> None:
        repeat_lost_cancellations(PATIENCE_SECONDS)
        task = asyncio.create_task(ends())
        await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert said == ["goodbye"]
