"""Who goes first: what answers within milliseconds before what can wait."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

import psutil

T = TypeVar("T")
#: Of the server's process that works for whoever gives way.
BACKEND_NICENESS = 10


def give_way() -> None:
    """Let everybody else have the processor first, from now on: this thread, and those that it starts.

    Where that is not allowed, as in some sandboxes, everything goes on as it is.
    """
    with suppress(OSError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.nice(19)


class Background(Protocol):
    """Does work on another thread, and returns what that returns."""

    def __call__(self, work: Callable[[], T]) -> T:
        """Wait for it; what it raises is raised here."""


@contextmanager
def in_background() -> Iterator[Background]:
    """What does work on a thread that gives way.

    A class once left cannot be entered again without privileges, so the caller's own thread keeps its class. Where the
    system has no classes for threads, the work is done as everything is.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="background", initializer=_give_way_alone) as executor:

        def do(work: Callable[[], T]) -> T:
            return executor.submit(work).result()

        yield do


def _give_way_alone() -> None:
    if hasattr(os, "SCHED_IDLE"):
        give_way()


def slow_down(process_id: int) -> None:
    """Let another process go after others, where that is ours to do."""
    with suppress(psutil.Error):
        process = psutil.Process(process_id)
        process.nice(max(BACKEND_NICENESS, process.nice()))
