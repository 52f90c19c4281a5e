"""The type of a function that takes one line for the operator: progress, or a failure that is tried again.

`heartbeat` reports what lasts.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

Log = Callable[[str], None]


@contextmanager
def heartbeat(log: Log, every_seconds: float = 5.0) -> Iterator[Log]:
    """Yield a function that takes what is being done; it is logged with its duration while it lasts.

    A thread logs it, so that a call that returns late is reported as well.
    """
    doing, since, ended = "starting", time.monotonic(), Event()

    def start(what: str) -> None:
        nonlocal doing, since
        doing, since = what, time.monotonic()

    def report() -> None:
        while not ended.wait(every_seconds):
            log(f"{doing} ({time.monotonic() - since:.0f} s)")

    thread = Thread(target=report, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield start
    finally:
        ended.set()
        thread.join()
