"""The limit of requests."""

import asyncio

import pytest

from pipelines.markets.rate_limit import RateLimit


def starts(per_second: float, count: int) -> list[float]:
    async def run() -> list[float]:
        limit, found = RateLimit(per_second), list[float]()

        async def one() -> None:
            await limit.wait()
            found.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(one() for _ in range(count)))
        return found

    return asyncio.run(run())


@pytest.mark.parametrize(("per_second", "count", "window"), [(20.0, 35, 20), (4.5, 6, 4), (0.9, 2, 1)])
def test_no_second_has_more_requests_than_permitted(per_second: float, count: int, window: int) -> None:
    found = starts(per_second, count)
    assert len(found) == count
    for earlier, later in zip(found, found[window:], strict=False):
        assert later - earlier > window / per_second - 0.02


def test_a_wait_that_is_cancelled_does_not_stop_others() -> None:
    async def run() -> None:
        limit = RateLimit(1.0)
        await limit.wait()
        waiting = asyncio.create_task(limit.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await limit.wait()

    asyncio.run(run())
