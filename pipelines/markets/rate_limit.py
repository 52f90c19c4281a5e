"""Limit the requests of a client."""

import asyncio
from collections import deque
from math import floor


class RateLimit:
    """At most `per_second` requests in any second, in the order in which they were asked for.

    Requests within the limit do not wait: ccxt's own limiter spaces them evenly, so that each request after an idle
    time waits for 1 / `per_second` seconds, and wakes up each millisecond while it waits.
    """

    def __init__(self, per_second: float) -> None:
        requests = max(1, floor(per_second))
        self._window_seconds = requests / per_second
        self._starts: deque[float] = deque(maxlen=requests)
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Return when the next request may start."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if len(self._starts) == self._starts.maxlen and (left := self._starts[0] + self._window_seconds - now) > 0:
                await asyncio.sleep(left)
            self._starts.append(asyncio.get_running_loop().time())
