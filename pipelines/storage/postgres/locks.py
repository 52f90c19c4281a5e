"""Advisory locks that more than one repository uses."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from pipelines.errors import BuildError, DatabaseError
from pipelines.log import Log
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

#: Excludes backups, publications, migrations and dropping of tables from each other.
MAINTENANCE_LOCK = 7_319_001
#: Held, with the hash of a Dagster run's id, by the process of that run.
RUN_LOCK = 7_319_003
#: Held, with the hash of a symbol, by a Dagster run of it.
SYMBOL_LOCK = 7_319_005
#: The longest run of a symbol, a scoring of five years, takes a minute.
SYMBOL_WAIT_SECONDS = 3_600


def lock_symbol(connection: Connection, writer: str, symbol: str) -> None:
    """Exclude other transactions of a writer, such as `strikecast.ingest`, for a symbol until this one ends."""
    connection.execute(SQL["lock_symbol"], [writer, symbol])


def acquire(connection: Connection, lock: int) -> None:
    """Acquire a session-level lock; waits for it."""
    connection.execute(SQL["advisory_lock"], [lock])


async def acquire_async(connection: AsyncConnection, lock: int) -> None:
    """As `acquire`, for asyncio."""
    await connection.execute(SQL["advisory_lock"], [lock])


def release(connection: Connection, lock: int) -> None:
    """Release a session-level lock."""
    connection.execute(SQL["release_advisory_lock"], [lock])


def release_all(connection: Connection) -> None:
    """Release every session-level lock of a connection.

    After closing a connection, its locks last until its server process notices; the next run may have started by then.
    """
    connection.execute(SQL["release_advisory_locks"])


async def release_all_async(connection: AsyncConnection) -> None:
    """As `release_all`, for asyncio."""
    await connection.execute(SQL["release_advisory_locks"])


async def acquire_run_lock(connection: AsyncConnection, run_id: str) -> None:
    """Mark a Dagster run as alive for as long as the connection lives."""
    await connection.execute(SQL["try_lock"], [RUN_LOCK, run_id])


@contextmanager
def hold_run_lock(
    database: Database, run_id: str, symbol: str | None = None, log: Log = lambda _: None
) -> Iterator[None]:
    """Mark a Dagster run as alive within the context; without effect when no server answers for 10 s.

    Runs of the same symbol, those of commands too, wait for each other: otherwise one would publish or compare what the
    other is writing. Raises BuildError when another run holds the symbol for SYMBOL_WAIT_SECONDS.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(DatabaseError), wait=wait_fixed(0.5), stop=stop_after_delay(10), reraise=True
    )
    with ExitStack() as stack:
        with suppress(DatabaseError):
            # Closed, not committed: the run must not fail when the server has stopped meanwhile.
            connection = stack.enter_context(closing(retrying(database.open, "run")))
            connection.execute(SQL["try_lock"], [RUN_LOCK, run_id])
            if symbol is not None:
                _wait_for_symbol(connection, symbol, log)
        yield


def _wait_for_symbol(connection: Connection, symbol: str, log: Log) -> None:
    def is_locked() -> bool:
        row = connection.execute(SQL["try_lock"], [SYMBOL_LOCK, symbol]).fetchone()
        return bool(row and row[0])

    if is_locked():
        return
    log(f"waiting for another run of {symbol} to end")
    retrying = Retrying(retry=retry_if_result(lambda locked: not locked), wait=wait_fixed(0.5))
    try:
        retrying.copy(stop=stop_after_delay(SYMBOL_WAIT_SECONDS))(is_locked)
    except RetryError as error:
        raise BuildError(
            f"another run of {symbol} has not ended within {SYMBOL_WAIT_SECONDS // 60} minutes: see its page in the UI"
        ) from error


def is_run_lock_held(connection: Connection, run_id: str) -> bool:
    """Whether a process holds the lock of a Dagster run."""
    return bool(read_value(connection, SQL["run_lock_is_held"], {"class": RUN_LOCK, "run_id": run_id}))
