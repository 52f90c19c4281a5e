"""Reads on behalf of many clients: a single-flight cache of database queries, and a file watcher."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent import futures
from pathlib import Path
from typing import Generic, TypeVar

from pipelines.atomic_files import file_signature
from pipelines.errors import ServerUnavailableError
from pipelines.live.probability_reader import read_limited

Result = TypeVar("Result")
POLL_SECONDS = 0.1


class SingleFlightCache(Generic[Result]):
    """Runs a blocking call in a thread, one at a time; callers share its result, until it is `fresh_seconds` old.

    The thread is a daemon: one that hangs delays neither the callers nor the end of the program.
    """

    def __init__(self, call: Callable[[], Result], *, fresh_seconds: float) -> None:
        self._call = call
        self._fresh_seconds = fresh_seconds
        self._future: asyncio.Future[Result] | None = None
        self._completed_at = 0.0

    async def get(self, timeout_seconds: float) -> Result:
        """The result, or the error that was raised. Raises ServerUnavailableError after `timeout_seconds`."""
        future = self._future
        if future is None or (future.done() and time.monotonic() - self._completed_at > self._fresh_seconds):
            source: futures.Future[Result] = futures.Future()
            future = self._future = asyncio.wrap_future(source)
            future.add_done_callback(self._on_done)
            threading.Thread(target=self._run, args=(source,), daemon=True, name="single flight").start()
        done, _ = await asyncio.wait([future], timeout=timeout_seconds)
        if not done:
            raise ServerUnavailableError(f"the database has not answered within {timeout_seconds:g} s")
        return future.result()

    def _run(self, source: "futures.Future[Result]") -> None:
        try:
            source.set_result(self._call())
        except Exception as error:  # noqa: BLE001 (the callers receive it)
            source.set_exception(error)

    def _on_done(self, future: "asyncio.Future[Result]") -> None:
        self._completed_at = time.monotonic()
        future.exception()  # marks it as retrieved: all callers may have timed out


class FileWatcher:
    """Notifies its listeners of each replacement of a file.

    Each listener polls ten times a second, which costs less than one event, instead of subscribing to the kernel's
    events: polling works before the file or its folder exist, after the folder was created again, and on every file
    system.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False

    def close(self) -> None:
        """End the iteration of every listener, within POLL_SECONDS."""
        self._closed = True

    async def contents(self) -> AsyncGenerator[bytes | None, None]:
        """The file's content now, and after each replacement; None while there is no file.

        A slow listener may miss versions, but never the newest.
        """
        seen: object = "nothing yet"
        while not self._closed:
            signature = file_signature(self._path)
            if signature == seen:
                await asyncio.sleep(POLL_SECONDS)
            else:
                seen = signature
                yield read_limited(self._path)
