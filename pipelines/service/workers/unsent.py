"""Messages that the broker did not accept, sent again while the host runs; without workers, Dagster is not loaded."""

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

    ended = Event()
    with dg.DagsterInstance.get() as instance:
        launcher: Any = instance.run_launcher
        repeat("messages to workers", launcher.send_unsent, lambda: ended.wait(SEND_SECONDS), log)
        try:
            yield
        finally:
            ended.set()
