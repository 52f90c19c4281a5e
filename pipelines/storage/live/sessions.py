"""The record of live sessions, and the advisory lock that makes one of them the leader."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import conninfo
from psycopg.rows import dict_row

from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role, translate_errors
from pipelines.storage.postgres.locks import acquire_async, acquire_run_lock, release_all_async
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: The session that holds this lock is the leader, the only one that writes.
SESSION_LOCK = 7_319_002
#: A network that is cut is noticed within seconds; the kernel's default is two hours.
KEEPALIVES = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5_000}


@dataclass(frozen=True)
class LockState:
    """Holder of the session lock (None: free), number of waiting sessions, and the newest session in state running.

    `hands_over_at` is aware UTC; `heartbeat_age_seconds` by the server's clock.
    """

    holder_pid: int | None
    waiting: int
    session: int | None
    run_id: str | None
    hands_over_at: datetime | None
    heartbeat_age_seconds: float | None


async def read_lock_state(connection: AsyncConnection) -> LockState:
    """The session lock now."""
    cursor = await connection.execute(SQL["session_lock_state"], {"lock": SESSION_LOCK})
    row = await cursor.fetchone()
    assert row is not None
    return LockState(*row)


def lock_state(connection: Connection) -> LockState:
    """As `read_lock_state`, without asyncio."""
    row = connection.execute(SQL["session_lock_state"], {"lock": SESSION_LOCK}).fetchone()
    assert row is not None
    return LockState(*row)


def session_is_alive(connection: Connection) -> bool:
    """Whether some session holds the lock; a killed process loses it with its connection."""
    return lock_state(connection).holder_pid is not None


@asynccontextmanager
async def leader_connection(database: Database, application: str, run_id: str | None) -> AsyncIterator[AsyncConnection]:
    """The autocommit connection that will hold the session lock; it also marks the Dagster run as alive.

    Commits do not wait for the disk, so that a slow disk cannot stop the heartbeat: a server crash may lose the last
    second's rows. The server checks that the client is alive, so that a killed session leaves the queue for the lock.
    """
    with translate_errors(database):
        where = conninfo.make_conninfo(database.conninfo(application, Role.LIVE), **KEEPALIVES)
        connection = await AsyncConnection.connect(where, autocommit=True)
    async with connection:
        await connection.execute(SQL["session_settings"])
        if run_id is not None:
            await acquire_run_lock(connection, run_id)
        yield connection
        with suppress(psycopg.Error):
            await release_all_async(connection)


async def try_session_lock(connection: AsyncConnection) -> bool:
    """Take the session lock if it is free."""
    return await (await connection.execute(SQL["try_session_lock"], [SESSION_LOCK])).fetchone() == (True,)


async def wait_for_session_lock(connection: AsyncConnection) -> None:
    """Take the session lock once its holder gives it back or is gone."""
    await acquire_async(connection, SESSION_LOCK)


async def set_timeouts(connection: AsyncConnection, statement: str, lock: str) -> None:
    """Set the statement and lock timeouts of a connection, such as `3s`; `0` is no limit."""
    await connection.execute(SQL["set_timeouts"], [statement, lock])


async def terminate_backend(connection: AsyncConnection, pid: int) -> None:
    """End another connection of the same login."""
    await connection.execute(SQL["terminate_backend"], [pid])


async def start_session(
    connection: AsyncConnection, symbols: Sequence[str], run_id: str | None, feed: str, hands_over_at: datetime
) -> tuple[int, datetime]:
    """Record a session as running; its number, and when it started (aware UTC)."""
    parameters = {"run_id": run_id, "symbols": list(symbols), "feed": feed, "hands_over_at": hands_over_at}
    row = await (await connection.execute(SQL["start_session"], parameters)).fetchone()
    assert row is not None
    return row[0], row[1]


async def mark_others_crashed(connection: AsyncConnection, session: int) -> list[int]:
    """Record as crashed every other session in state running; their numbers."""
    cursor = await connection.execute(SQL["crash_dead_sessions"], {"session_id": session})
    return [number for (number,) in await cursor.fetchall()]


async def database_identity(connection: AsyncConnection) -> str:
    """An identifier of this database, in which session numbers count up."""
    row = await (await connection.execute(SQL["database_identity"])).fetchone()
    assert row is not None
    return str(row[0])


async def heartbeat(connection: AsyncConnection, session: int, refreshes: int) -> bool:
    """Record that a session is alive; False when it is no longer in state running."""
    parameters = {"session_id": session, "cycles": refreshes}
    cursor = await connection.execute(SQL["session_heartbeat"], parameters, prepare=True)
    return await cursor.fetchone() is not None


async def end_session(connection: AsyncConnection, session: int, refreshes: int, reason: str) -> None:
    """Record a session as stopped."""
    parameters = {"session_id": session, "cycles": refreshes, "status": "stopped", "ended_because": reason}
    await connection.execute(SQL["end_session"], parameters)


async def latest_totals(connection: AsyncConnection) -> Mapping[str, Any] | None:
    """The counts in the newest snapshot of any live session; None when there is none."""
    row = await (await connection.execute(SQL["latest_totals"])).fetchone()
    return None if row is None else dict(row[0])


def current_session(connection: Connection) -> dict[str, Any] | None:
    """The newest session's record, and whether a session holds the lock (`alive`); None before the first session."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(SQL["current_session"]).fetchone()
    return None if found is None else {**found, "alive": session_is_alive(connection)}


def symbol_status(connection: Connection, symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Bars, quarantined rows, champion and published generation of each symbol, for `strikecast status`."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SQL["status"], [list(symbols)]).fetchall()
