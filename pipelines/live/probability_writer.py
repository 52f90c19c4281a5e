"""Write the probability files and strike tables, fenced so that only the current leader can.

A session that was paused and overtaken resumes with its memory and open files. Therefore the folder holds a fencing
token, `.session`, which names the session that may write; every write checks it under a file lock.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
from pydantic import TypeAdapter
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from pipelines.atomic_files import atomic_write
from pipelines.errors import AlreadyRunningError, SupersededError
from pipelines.protection.private_files import READABLE_FILE, READABLE_FOLDER, open_private

FENCE = ".session"
FILE_SUFFIX = "_live_probabilities.json"
TABLE_SUFFIX = "_strike_table.json"
#: The lock is held for the time of a rename; a process that holds it longer is paused.
LOCK_TIMEOUT_SECONDS = 1.0
RETRYING = Retrying(
    retry=retry_if_exception_type(BlockingIOError),
    wait=wait_fixed(0.002),
    stop=stop_after_delay(LOCK_TIMEOUT_SECONDS),
    reraise=True,
)
#: The start of a process is computed from the system clock, which may have been set since.
CLOCK_TOLERANCE_SECONDS = 1.0
PARTIAL_MAX_AGE_SECONDS = 60.0


def probabilities_path(folder: Path, symbol: str) -> Path:
    """Path of a symbol's file: `{sym}_live_probabilities.json`."""
    return folder / f"{symbol.lower()}{FILE_SUFFIX}"


def strike_table_path(folder: Path, symbol: str, series: str | None = None) -> Path:
    """Path of a strike table: `{sym}_strike_table.json`, with `{sym}_{series}` for further series of the symbol."""
    return folder / f"{'_'.join(filter(None, (symbol, series))).lower()}{TABLE_SUFFIX}"


@dataclass(frozen=True)
class FencingToken:
    """The session that may write, numbered within `database`, and its process: `pid` and `started` (Unix time)."""

    session: int
    database: str
    pid: int
    started: float


_TOKEN = TypeAdapter(FencingToken)


class ProbabilityFileWriter:
    """Writes the files of one session, after `claim`; others may read them, and lock nothing.

    Raises StateError when the token's file belongs to another user.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(READABLE_FOLDER)
        self.folder = folder
        self._fence = open_private(folder / FENCE)
        self._token: bytes | None = None

    def close(self) -> None:
        """Close the token's file."""
        os.close(self._fence)

    def claim(self, session: int, database: str) -> None:
        """Store this session's token, which fences off all earlier sessions.

        A process that keeps the lock is an earlier session, paused in mid-write: it is killed, since it could complete
        its write at any time. Raises SupersededError when a later session of the same database has claimed the folder,
        AlreadyRunningError when the process cannot be killed.
        """
        process = psutil.Process()
        token = FencingToken(session, database, process.pid, process.create_time())
        try:
            self._store_token(token)
        except BlockingIOError:
            self._kill_lock_holder(token)
            self._store_token(token)

    def write(self, symbol: str, payload: Mapping[str, Any]) -> None:
        """Replace a symbol's probability file, as `replace`."""
        self.replace(probabilities_path(self.folder, symbol), payload)

    def replace(self, path: Path, payload: Mapping[str, Any]) -> None:
        """Replace a file of the folder atomically.

        Not synced to disk: after a power failure the file is outdated anyway. Raises SupersededError when another
        session has claimed the folder, OSError when the file cannot be written.
        """
        self._check_token()
        with ExitStack() as lock, atomic_write(path) as partial:
            partial.write_bytes(orjson.dumps(payload, option=orjson.OPT_INDENT_2))
            partial.chmod(READABLE_FILE)
            lock.enter_context(self._lock())
            self._check_token()

    def remove_old_partials(self) -> None:
        """Remove partial files that killed sessions left behind."""
        for partial in self.folder.glob(".*.json.*.partial"):
            with suppress(FileNotFoundError):
                if time.time() - partial.stat().st_mtime > PARTIAL_MAX_AGE_SECONDS:
                    partial.unlink()

    def _store_token(self, token: FencingToken) -> None:
        content = orjson.dumps(asdict(token))
        with self._lock():
            stored = self._read_token()
            if stored is not None and stored.database == token.database and stored.session > token.session:
                raise SupersededError(f"session {stored.session} took over while session {token.session} was paused")
            os.pwrite(self._fence, content, 0)
            os.ftruncate(self._fence, len(content))
        self._token = content

    def _check_token(self) -> None:
        if self._token is None or os.pread(self._fence, 4096, 0) != self._token:
            raise SupersededError("another session writes the probability files now")

    def _read_token(self) -> FencingToken | None:
        with suppress(ValueError):
            return _TOKEN.validate_json(os.pread(self._fence, 4096, 0))
        return None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the file lock. Raises BlockingIOError after LOCK_TIMEOUT_SECONDS."""
        try:  # without the 70 us that tenacity takes: 200 symbols write each second
            fcntl.flock(self._fence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            RETRYING(fcntl.flock, self._fence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.flock(self._fence, fcntl.LOCK_UN)

    def _kill_lock_holder(self, token: FencingToken) -> None:
        stored = self._read_token()
        is_earlier = stored is not None and (stored.database != token.database or stored.session < token.session)
        if stored is None or not is_earlier or not _kill(stored):
            raise AlreadyRunningError(
                f"{self.folder / FENCE} has been locked for {LOCK_TIMEOUT_SECONDS:g} s by {stored or 'a process'}, "
                "which cannot be killed from here: end it"
            )


def _kill(token: FencingToken) -> bool:
    """Kill the token's process; return False if it does not run on this machine, is this one, or may not be killed."""
    with suppress(psutil.Error, ValueError, OverflowError):  # of a pid that cannot be one
        process = psutil.Process(token.pid)
        same = abs(process.create_time() - token.started) <= CLOCK_TOLERANCE_SECONDS
        if same and token.pid != os.getpid():
            process.kill()
            process.wait(timeout=LOCK_TIMEOUT_SECONDS)
            return True
    return False
