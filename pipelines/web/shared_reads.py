"""Reads on behalf of many clients: a single-flight cache of database queries, limited reads, and a file watcher."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent import futures
from http import HTTPStatus
from pathlib import Path
from typing import Generic, TypeVar

from starlette.exceptions import HTTPException

from pipelines.atomic_files import file_signature
from pipelines.errors import DatabaseError, NoDataError, ServerUnavailableError, SettingsError, SharedFilesError
from pipelines.live.probability_reader import read_limited
from pipelines.storage.postgres.connection import DriverError, full_message

Result = TypeVar("Result")
Value = TypeVar("Value")
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


class LimitedReads:
    """Runs blocking calls in threads, at most `limit` at a time; errors become responses. `what`: the calls, plural."""

    def __init__(self, limit: int, timeout_seconds: float, what: str) -> None:
        self._limit = limit
        self._timeout_seconds = timeout_seconds
        self._what = what
        self._running = threading.BoundedSemaphore(limit)

    async def __call__(self, call: Callable[[], Value]) -> Value:
        """The result. Raises HTTPException for an error of ours or of the database, and after the timeout."""
        if not self._running.acquire(blocking=False):
            raise HTTPException(503, f"{self._limit} {self._what} are in progress, which is the limit: try again")

        def limited() -> Value:
            try:
                return call()
            finally:
                self._running.release()

        try:
            return await SingleFlightCache(limited, fresh_seconds=0).get(self._timeout_seconds)
        except SettingsError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from error
        except NoDataError as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
        except (DatabaseError, SharedFilesError) as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except DriverError as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, f"the database: {full_message(error)}") from error


class FileWatcher:
    """Notifies its listeners of each replacement of one of its files.

    Each listener polls ten times a second, which costs less than one event, instead of subscribing to the kernel's
    events: polling works before a file or its folder exist, after the folder was created again, and on every file
    system.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._closed = False

    def close(self) -> None:
        """End the iteration of every listener, within POLL_SECONDS."""
        self._closed = True

    async def contents(self) -> AsyncGenerator[tuple[Path, bytes | None], None]:
        """Each file with its content now, then those that are replaced; the content is None while there is no file.

        A slow listener may miss versions, but never the newest.
        """
        seen: dict[Path, object] = {}
        while not self._closed:
            changed = [path for path in self._paths if path not in seen or file_signature(path) != seen[path]]
            if not changed:
                await asyncio.sleep(POLL_SECONDS)
            for path in changed:
                seen[path] = file_signature(path)
                yield path, read_limited(path)
