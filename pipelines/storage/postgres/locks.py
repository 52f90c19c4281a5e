"""Advisory locks that more than one repository uses."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

#: Excludes backups, publications, migrations and dropping of tables from each other.
MAINTENANCE_LOCK = 7_319_001
#: Held, with the hash of a Dagster run's id, by the process of that run.
RUN_LOCK = 7_319_003


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
    await connection.execute(SQL["try_run_lock"], [RUN_LOCK, run_id])


@contextmanager
def hold_run_lock(database: Database, run_id: str) -> Iterator[None]:
    """Mark a Dagster run as alive within the context; without effect when no server answers for 10 s."""
    retrying = Retrying(
        retry=retry_if_exception_type(DatabaseError), wait=wait_fixed(0.5), stop=stop_after_delay(10), reraise=True
    )
    with ExitStack() as stack:
        with suppress(DatabaseError):
            # Closed, not committed: the run must not fail when the server has stopped meanwhile.
            connection = stack.enter_context(closing(retrying(database.open, "run")))
            connection.execute(SQL["try_run_lock"], [RUN_LOCK, run_id])
        yield


def is_run_lock_held(connection: Connection, run_id: str) -> bool:
    """Whether a process holds the lock of a Dagster run."""
    return bool(read_value(connection, SQL["run_lock_is_held"], {"class": RUN_LOCK, "run_id": run_id}))
