"""The probability files, and who may write them.

A session that was paused and overtaken still holds its memory and its open files when it wakes up. So the folder has a
fence, `.session`, with the number of the session that may write; every write looks at it under a file lock.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from pipelines.errors import AlreadyRunningError, SupersededError

FENCE = ".session"
#: The lock is held for as long as a rename takes. Whoever holds it for longer is paused or dead slow.
LOCK_PATIENCE_SECONDS = 1.0
#: A process's start time is told by the clock, which may have been set meanwhile.
CLOCK_STEP_SECONDS = 1.0


def probabilities_path(folder: Path, symbol: str) -> Path:
    """Where a symbol's probabilities are: `{sym}_live_probabilities.json`."""
    return folder / f"{symbol.lower()}_live_probabilities.json"


@dataclass(frozen=True)
class Writer:
    """A session as the fence knows it: `database` says where its number comes from, `pid` and `started` who it is."""

    session: int
    database: str
    pid: int
    started: float


class ProbabilityFileWriter:
    """The files of one session. Nothing can be written before `claim`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._fence = os.open(folder / FENCE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._claim: bytes | None = None

    def close(self) -> None:
        """Give the fence's file back."""
        os.close(self._fence)

    def claim(self, session: int, database: str) -> None:
        """Shut out all sessions before this one. Raises SupersededError when a later one of the same database has.

        A holder of the lock that does not let go is a session that was overtaken in mid-write: it is ended, since it
        could finish its write at any time. Raises AlreadyRunningError when that is not possible.
        """
        process = psutil.Process()
        writer = Writer(session, database, process.pid, process.create_time())
        try:
            self._write_claim(writer)
        except BlockingIOError:
            self._end_holder(session, database)
            self._write_claim(writer)

    def write(self, symbol: str, payload: Mapping[str, Any]) -> None:
        """Replace a symbol's file in one step: a reader sees the old content or the new one, whole.

        Not synced to disk: after a power cut the next second's file is worth more than the last one's. Raises
        SupersededError when another session has claimed the folder, OSError when the file cannot be written now.
        """
        self._require_claim()
        path = probabilities_path(self.folder, symbol)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_bytes(orjson.dumps(payload, option=orjson.OPT_INDENT_2))
        try:
            with self._locked():
                self._require_claim()
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _write_claim(self, writer: Writer) -> None:
        claim = orjson.dumps(asdict(writer))
        with self._locked():
            before = self._read()
            if before is not None and before.database == writer.database and before.session > writer.session:
                raise SupersededError(f"session {writer.session} woke up after session {before.session} had taken over")
            os.pwrite(self._fence, claim, 0)
            os.ftruncate(self._fence, len(claim))
        self._claim = claim

    def _require_claim(self) -> None:
        if self._claim is None or os.pread(self._fence, 4096, 0) != self._claim:
            raise SupersededError("another session writes the probability files now")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file lock. Raises BlockingIOError when another process does not let go of it."""
        try:
            fcntl.flock(self._fence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Retrying(
                retry=retry_if_exception_type(BlockingIOError),
                wait=wait_fixed(0.002),
                stop=stop_after_delay(LOCK_PATIENCE_SECONDS),
                reraise=True,
            )(fcntl.flock, self._fence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.flock(self._fence, fcntl.LOCK_UN)

    def _end_holder(self, session: int, database: str) -> None:
        """End the process that claimed the fence before us, and does not let go of it."""
        holder = self._read()
        ours_to_end = holder is not None and (holder.database != database or holder.session < session)
        if holder is None or not ours_to_end or not _end(holder):
            raise AlreadyRunningError(
                f"{self.folder / FENCE} has been locked for {LOCK_PATIENCE_SECONDS:g} s by {holder or 'a process'}, "
                "which cannot be ended from here: end it"
            )

    def _read(self) -> Writer | None:
        with suppress(ValueError, TypeError):
            return Writer(**orjson.loads(os.pread(self._fence, 4096, 0)))
        return None


def _end(holder: Writer) -> bool:
    """End the process that claimed the fence; False when it is not on this machine, or not ours to end."""
    with suppress(psutil.Error):
        process = psutil.Process(holder.pid)
        same = abs(process.create_time() - holder.started) <= CLOCK_STEP_SECONDS
        if same and holder.pid != os.getpid():
            process.kill()
            process.wait(timeout=LOCK_PATIENCE_SECONDS)
            return True
    return False


def remove_leftovers(folder: Path, older_than_seconds: float = 60.0) -> None:
    """Remove partial files that killed sessions left behind."""
    for partial in folder.glob(".*_live_probabilities.json.*.partial"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > older_than_seconds:
                partial.unlink()
