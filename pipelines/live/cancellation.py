"""Repeat cancellations that a task lost.

Before Python 3.12 `asyncio.wait_for`, by which psycopg's pool waits, loses a cancellation when the awaited future
completes at the same moment (python/cpython#86296). The task then continues: a session that had been overtaken at the
hour was seen to hang. `Task.cancelling` still counts the cancellation, so that it can be repeated.
"""

import asyncio

#: A cancelled task has this long to end: the shutdown of a session takes half of it.
GRACE_SECONDS = 3.0
CHECK_SECONDS = 0.5


def repeat_lost_cancellations(grace_seconds: float = GRACE_SECONDS) -> None:
    """Cancel tasks of the running loop again that have not ended `grace_seconds` after a cancellation.

    Runs until the loop ends, by a timer instead of a task: at its end, the loop cancels tasks once and waits for them.
    """
    loop = asyncio.get_running_loop()
    cancelled_at: dict[asyncio.Task[object], float] = {}

    def check() -> None:
        nonlocal cancelled_at
        now = loop.time()
        cancelled_at = {task: cancelled_at.get(task, now) for task in asyncio.all_tasks(loop) if task.cancelling()}
        for task, since in cancelled_at.items():
            if now - since >= grace_seconds:
                task.cancel()
                cancelled_at[task] = now
        loop.call_later(CHECK_SECONDS, check)

    check()
