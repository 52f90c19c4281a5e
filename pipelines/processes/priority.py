"""Lower the CPU and I/O priority of background work."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

import psutil

T = TypeVar("T")
#: Nice value of a server process that works for a background task.
BACKEND_NICENESS = 10


def lower_priority() -> None:
    """Give this thread, and threads and processes that it starts later, the lowest scheduling priority.

    Has no effect where the system refuses it, as some sandboxes do.
    """
    with suppress(OSError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.nice(19)


class Background(Protocol):
    """Runs a function on another thread and returns its result."""

    def __call__(self, work: Callable[[], T]) -> T:
        """Wait for the result; exceptions are raised in the caller."""


@contextmanager
def in_background() -> Iterator[Background]:
    """Run functions on a thread of the lowest priority, leaving the caller's thread as it is.

    An unprivileged thread cannot raise its priority again. On systems without priorities of single threads the
    functions run at the usual priority.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="background", initializer=_lower_thread_priority) as executor:

        def run(work: Callable[[], T]) -> T:
            return executor.submit(work).result()

        yield run


def _lower_thread_priority() -> None:
    if hasattr(os, "SCHED_IDLE"):
        lower_priority()


def lower_process_priority(process_id: int) -> None:
    """Raise the nice value of another process to at least 10, where permitted."""
    with suppress(psutil.Error):
        process = psutil.Process(process_id)
        process.nice(max(BACKEND_NICENESS, process.nice()))
