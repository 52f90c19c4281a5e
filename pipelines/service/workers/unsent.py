"""The broker as `strikecast up` sees it; messages that it did not accept are sent again while the host runs.

Without workers, neither Dagster nor Celery is loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from pipelines.log import Log
from pipelines.service.threads import repeat
from pipelines.settings import Settings

#: How often messages are sent that the broker did not accept.
SEND_SECONDS = 15.0


@contextmanager
def sending_unsent(settings: Settings, log: Log) -> Iterator[None]:
    """Within the context, send the messages that the broker did not accept, as soon as it does."""
    if not settings.has_workers:
        yield
        return
    import dagster as dg

    from pipelines.service.workers.start_checks import broker_problem

    problem = broker_problem(settings)
    log("runs with a queue go to workers" if problem is None else f"{problem}; runs for workers wait until it can")
    ended = Event()
    with dg.DagsterInstance.get() as instance:
        launcher: Any = instance.run_launcher
        repeat("messages to workers", launcher.send_unsent, lambda: ended.wait(SEND_SECONDS), log)
        try:
            yield
        finally:
            ended.set()
