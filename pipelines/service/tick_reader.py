"""Read what Dagster recorded of its ticks, every two seconds, over a connection that is kept."""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread

from pipelines.errors import ServerUnavailableError
from pipelines.storage.monitoring.dagster_state import TickState, read_ticks
from pipelines.storage.postgres.connection import Connection, Database, DriverError, translate_errors

#: A check of a child process may take five seconds.
TIMEOUT_SECONDS = 4.0
APPLICATION = "up ticks"


class TickReader:
    """Reads on a thread of its own, since a server that hangs answers neither with an error nor in time."""

    def __init__(self, database: Database) -> None:
        """`database`: Dagster's."""
        self._database = database
        self._connection: Connection | None = None
        self._lock = Lock()

    def __call__(self) -> Sequence[TickState]:
        """All schedules, sensors and daemons. Raises DatabaseError; ServerUnavailableError after TIMEOUT_SECONDS."""
        result: Future[Sequence[TickState]] = Future()
        Thread(target=self._read, args=(result,), name="ticks", daemon=True).start()
        try:
            return result.result(TIMEOUT_SECONDS)
        except TimeoutError as error:
            where = self._database.describe()
            raise ServerUnavailableError(f"the database at {where} took longer than {TIMEOUT_SECONDS:g} s") from error

    def _read(self, result: Future[Sequence[TickState]]) -> None:
        with self._lock:
            try:
                with translate_errors(self._database):
                    if self._connection is None:
                        self._connection = self._database.open(APPLICATION)
                    result.set_result(read_ticks(self._connection))
            except Exception as error:  # noqa: BLE001 (raised by the caller)
                broken, self._connection = self._connection, None
                if broken is not None:
                    with suppress(DriverError):
                        broken.close()
                result.set_exception(error)
