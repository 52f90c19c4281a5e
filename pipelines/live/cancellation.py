"""Cancellations that got lost are repeated.

Before Python 3.12 `asyncio.wait_for` forgets that it was cancelled when what it waits for is done at the same moment
(python/cpython#86296), and psycopg's pool waits by it. A loop that was told to end then goes on, and whoever waits for
its end waits for ever: a session that was overtaken at the hour was seen to stay that way. The task itself still knows
that it was cancelled, and is told once more.
"""

import asyncio

#: What is cancelled has this long to end: a session's last words take half of it.
PATIENCE_SECONDS = 3.0
LOOK_SECONDS = 0.5


def repeat_lost_cancellations(patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Cancel each task of the running loop again that was cancelled so long ago and has not ended, until the loop ends.

    By a timer rather than a task: the loop's own end, too, cancels tasks once and waits for them.
    """
    loop = asyncio.get_running_loop()
    told: dict[asyncio.Task[object], float] = {}

    def look() -> None:
        nonlocal told
        now = loop.time()
        told = {task: told.get(task, now) for task in asyncio.all_tasks(loop) if task.cancelling()}
        for task, since in told.items():
            if now - since >= patience_seconds:
                task.cancel()
                told[task] = now
        loop.call_later(LOOK_SECONDS, look)

    look()
