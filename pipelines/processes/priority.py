"""Lower the CPU and I/O priority of background work."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

import psutil

from pipelines.storage.postgres.connection import Connection

T = TypeVar("T")
#: Nice value of builds, and of the server processes that work for a background task.
NICENESS = 10
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


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


def raise_niceness(process_id: int | None = None) -> None:
    """Raise the nice value of a process, by default of this one, to at least NICENESS, where permitted.

    A build is not in the idle class of `lower_priority`: on a machine with other work it would not end.
    """
    with suppress(psutil.Error):
        process = psutil.Process(process_id)
        process.nice(max(NICENESS, process.nice()))


def raise_backend_niceness(connection: Connection) -> None:
    """As `raise_niceness`, of the server process of a connection if it runs on this machine."""
    if is_local(connection):
        raise_niceness(connection.info.backend_pid)


def is_local(connection: Connection) -> bool:
    """Whether the process of this connection is visible, which it is not in another container or on another machine."""
    host = connection.info.host or ""
    if not host.startswith("/") and host not in LOOPBACK:
        return False
    with suppress(psutil.Error):
        return psutil.Process(connection.info.backend_pid).name().startswith("postgres")
    return False
