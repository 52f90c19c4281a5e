"""What many clients ask at once, done once: questions to the database, and watching a file."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from pipelines.errors import ServerUnavailableError

Answer = TypeVar("Answer")
POLL_SECONDS = 0.1


class SingleFlightCache(Generic[Answer]):
    """A blocking question, asked in a thread of its own, one at a time; its answer serves all who ask meanwhile, and
    for `fresh_seconds` after.

    The thread is a daemon: one that hangs delays neither an answer nor the program's end.
    """

    def __init__(self, ask: Callable[[], Answer], *, fresh_seconds: float) -> None:
        self._ask = ask
        self._fresh_seconds = fresh_seconds
        self._future: asyncio.Future[Answer] | None = None
        self._answered_at = 0.0

    async def get(self, patience_seconds: float) -> Answer:
        """The answer, or the error it raised; raises ServerUnavailableError when it takes longer than the patience."""
        future = self._future
        if future is None or (future.done() and time.monotonic() - self._answered_at > self._fresh_seconds):
            future = self._future = asyncio.get_running_loop().create_future()
            threading.Thread(target=self._work, args=(future,), daemon=True, name="question").start()
        done, _ = await asyncio.wait([future], timeout=patience_seconds)
        if not done:
            raise ServerUnavailableError(f"the database has not answered within {patience_seconds:g} s")
        return future.result()

    def _work(self, future: "asyncio.Future[Answer]") -> None:
        settle: Callable[[], None]
        try:
            answer = self._ask()
        except Exception as error:  # noqa: BLE001 (whoever asked gets it)
            failure = error
            settle = lambda: future.set_exception(failure)  # noqa: E731
        else:
            settle = lambda: future.set_result(answer)  # noqa: E731
        with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            future.get_loop().call_soon_threadsafe(self._settle, future, settle)

    def _settle(self, future: "asyncio.Future[Answer]", settle: Callable[[], None]) -> None:
        self._answered_at = time.monotonic()
        settle()
        future.exception()  # marked as seen: nobody may be left to see it


class FileWatcher:
    """Tells its listeners each time a file is replaced, by one task for all of them, while there are any.

    It looks ten times a second rather than asking the kernel: that works before the file or its folder exist, after
    the folder was made anew, and on any file system.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: bytes | None = None
        self._version = 0
        self._changed = asyncio.Event()
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def close(self) -> None:
        """End what every listener listens to, for good."""
        self._closed = True
        self._changed.set()

    async def contents(self) -> AsyncGenerator[bytes | None, None]:
        """The file's content at once, then each time it was replaced; None while there is no file.

        A slow listener misses what was replaced meanwhile, never the newest.
        """
        self._listeners += 1
        try:
            if self._task is None:
                self._look(stamp := self._stamp())
                self._task = asyncio.create_task(self._poll(stamp))
            seen = None
            while not self._closed:
                changed = self._changed
                if seen != self._version:
                    seen = self._version
                    yield self._content
                else:
                    await changed.wait()
        finally:
            self._listeners -= 1
            if self._listeners == 0 and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _poll(self, stamp: object) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            found = self._stamp()
            if found != stamp:
                stamp = found
                self._look(found)

    def _look(self, stamp: object) -> None:
        try:
            self._content = None if stamp is None else self._path.read_bytes()
        except OSError:
            self._content = None
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
