"""Advisory locks that more than one repository uses.

Any login of a database may take any advisory lock, and so hold up everything that waits for it. Where the server lets
us, only the roles that need them may execute the functions that take one (`restrict_locks`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

import psycopg
from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from pipelines.errors import BuildError, DatabaseError, SupersededError
from pipelines.log import Log
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)

#: Excludes backups, publications, migrations and dropping of tables from each other.
MAINTENANCE_LOCK = 7_319_001
#: Held, with the hash of a Dagster run's id, by the process of that run.
RUN_LOCK = 7_319_003
#: Held, with the hash of a symbol, by a Dagster run of it.
SYMBOL_LOCK = 7_319_005
#: Held while Dagster's database is migrated.
DAGSTER_MIGRATION_LOCK = 7_319_006
#: The longest run of a symbol, a scoring of five years, takes a minute.
SYMBOL_WAIT_SECONDS = 3_600


@dataclass(frozen=True)
class LockHolder:
    """A connection that holds a lock. `is_own`: its login is a member of a role that takes locks, as ours is."""

    role: str
    application: str
    address: str
    pid: int
    is_own: bool

    def __str__(self) -> str:
        text = f"role {self.role}, application {self.application!r}, from {self.address}, process {self.pid}"
        return text if self.is_own else f"{text}; {foreign_remedy(self.pid)}"


def foreign_remedy(pid: int) -> str:
    """What to do about a connection that is not strikecast's and holds one of its locks."""
    return (
        f"it is not strikecast's: end it with pg_terminate_backend({pid}); `strikecast migrate` by a superuser keeps "
        "other logins from these locks"
    )


def lock_holders(connection: Connection, key: int, name: str | None = None) -> list[LockHolder]:
    """Other connections that hold a lock: of one key, or of a key and the hash of a name."""
    ids = {"class_id": 0, "sub_id": 1, "key": key} if name is None else {"class_id": key, "sub_id": 2, "key": 0}
    return read_rows(connection, LockHolder, SQL["lock_holders"], {**ids, "name": name})


def describe_holders(connection: Connection, key: int, name: str | None = None) -> str:
    """Holders of a lock, to be added to a message."""
    return "; ".join(f"held by {one}" for one in lock_holders(connection, key, name)) or "its holder has just ended"


def restrict_locks(connection: Connection) -> bool:
    """Let only the roles that need advisory locks take one in this database; False where the login may not do that.

    Without effect when it was done before. Needs autocommit, and the roles.
    """
    if not read_value(connection, SQL["advisory_locks_are_open"]):
        return True
    if not read_value(connection, SQL["login_is_superuser"]):
        return False
    connection.execute(SQL["restrict_advisory_locks"])
    return True


def locks_are_restricted(connection: Connection) -> bool:
    """Whether only roles that need them may take advisory locks in this database."""
    return not read_value(connection, SQL["advisory_locks_are_open"])


def lock_symbol(connection: Connection, writer: str, symbol: str) -> None:
    """Exclude other transactions of a writer, such as `strikecast.ingest`, for a symbol until this one ends."""
    connection.execute(SQL["lock_symbol"], [writer, symbol])


def acquire(connection: Connection, lock: int) -> None:
    """Acquire a session-level lock; raises DatabaseError with its holder after the connection's lock timeout."""
    _wait(connection, "advisory_lock", lock)


def acquire_shared_until_commit(connection: Connection, lock: int) -> None:
    """Acquire a lock, shared with others of its kind, until the transaction ends; raises as `acquire`."""
    _wait(connection, "shared_transaction_lock", lock)


def _wait(connection: Connection, statement: str, lock: int) -> None:
    try:
        with connection.transaction():  # of a transaction in progress, only this part is undone
            connection.execute(SQL[statement], [lock])
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"another process holds lock {lock} ({describe_holders(connection, lock)}): try again when it has finished"
        ) from error


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


@contextmanager
def hold_symbol_lock(database: Database, symbol: str, log: Log = lambda _: None) -> Iterator[None]:
    """Exclude other runs of a symbol within the context, in a run of many symbols; waits as `hold_run_lock` does."""
    with closing(database.open("run")) as connection:
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
    return any(one.is_own for one in lock_holders(connection, RUN_LOCK, run_id))


def require_run_lock(connection: Connection, run_id: str, holder: int) -> None:
    """Raise SupersededError unless `holder`, the server's process of another connection, holds the lock of a run."""
    if holder not in {one.pid for one in lock_holders(connection, RUN_LOCK, run_id)}:
        raise SupersededError(
            f"run {run_id} has lost its lock in the database: it counts as ended, so it stores nothing"
        )


def try_run_lock(connection: Connection, run_id: str) -> bool:
    """Take the lock of a run for as long as the connection lives; False where another process holds it."""
    return bool(read_value(connection, SQL["try_lock"], [RUN_LOCK, run_id]))
