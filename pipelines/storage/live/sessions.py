"""Live sessions: their records in `live_data.session`, and leader election by an advisory lock."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg import conninfo
from psycopg.abc import Params
from psycopg.rows import dict_row

from pipelines.domain.models.freshness import SessionState
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role, translate_errors
from pipelines.storage.postgres.locks import acquire_run_lock, release_all_async
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Application name of a live session's connections.
APPLICATION = "live session"
#: The session that holds this lock is the leader, the only one that writes.
SESSION_LOCK = 7_319_002
#: A broken network is detected within seconds; the kernel's default is two hours.
KEEPALIVES = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5_000}


@dataclass(frozen=True)
class LockState:
    """Holder of the session lock (None: no session), number of waiting sessions, and the newest running session.

    `hands_over_at` is aware UTC; `heartbeat_age_seconds` by the server's clock. `intruder_pid`: a connection that holds
    the lock and is no session, with its description.
    """

    holder_pid: int | None
    waiting: int
    session: int | None
    run_id: str | None
    hands_over_at: datetime | None
    heartbeat_age_seconds: float | None
    intruder_pid: int | None = None
    intruder: str | None = None


@dataclass(frozen=True)
class Leadership:
    """The right to write: the connection that holds the lock, and the session's number and start (aware UTC).

    `crashed`: sessions that were marked as crashed; `database_id`: the database in which `session` counts.
    """

    connection: AsyncConnection
    session: int
    started_at: datetime
    crashed: Sequence[int]
    database_id: str


async def _fetch(
    connection: AsyncConnection, statement: str, parameters: Params | None = None
) -> list[tuple[Any, ...]]:
    return await (await connection.execute(SQL[statement], parameters, prepare=True)).fetchall()


async def read_lock_state_async(connection: AsyncConnection) -> LockState:
    """Read the state of the session lock."""
    [row] = await _fetch(connection, "session_lock_state", {"lock": SESSION_LOCK})
    return LockState(*row)


def read_lock_state(connection: Connection) -> LockState:
    """Read the state of the session lock."""
    [row] = connection.execute(SQL["session_lock_state"], {"lock": SESSION_LOCK}).fetchall()
    return LockState(*row)


def session_lock_is_held(connection: Connection) -> bool:
    """Whether a session holds the lock; a killed process loses it with its connection."""
    return read_lock_state(connection).holder_pid is not None


@asynccontextmanager
async def leader_connection(database: Database, run_id: str | None) -> AsyncIterator[AsyncConnection]:
    """Autocommit connection of a live session, which also marks its Dagster run as alive; releases all locks at exit.

    Commits do not wait for the disk, so that a slow disk cannot delay the heartbeat: a server crash may lose the last
    second's rows. The server checks that the client is alive, so that a killed session leaves the queue for the lock.
    """
    with translate_errors(database):
        target = conninfo.make_conninfo(database.conninfo(APPLICATION, Role.LIVE), **KEEPALIVES)
        connection = await AsyncConnection.connect(target, autocommit=True)
    async with connection:
        await connection.execute(SQL["session_settings"])
        if run_id is not None:
            await acquire_run_lock(connection, run_id)
        yield connection
        with suppress(psycopg.Error):
            await release_all_async(connection)


async def try_session_lock(connection: AsyncConnection) -> bool:
    """Acquire the session lock if it is free."""
    return await _fetch(connection, "try_session_lock", [SESSION_LOCK]) == [(True,)]


async def set_timeouts(connection: AsyncConnection, statement: str, lock: str) -> None:
    """Set a connection's statement and lock timeouts, such as `3s`; `0` disables them."""
    await connection.execute(SQL["set_timeouts"], [statement, lock])


async def terminate_backend(connection: AsyncConnection, pid: int) -> bool:
    """Terminate another connection; False when the login may not, which needs its own role or `pg_signal_backend`."""
    try:
        await connection.execute(SQL["terminate_backend"], [pid])
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


async def take_leadership(
    connection: AsyncConnection, symbols: Sequence[str], run_id: str | None, feed: str, hands_over_at: datetime
) -> Leadership:
    """Record a session as running, and every other one that is recorded so as crashed."""
    parameters = {"run_id": run_id, "symbols": list(symbols), "feed": feed, "hands_over_at": hands_over_at}
    [(session, started_at)] = await _fetch(connection, "start_session", parameters)
    crashed = await _fetch(connection, "mark_sessions_crashed", {"session_id": session})
    [(database_id,)] = await _fetch(connection, "database_identity")
    return Leadership(connection, session, started_at, [number for (number,) in crashed], database_id)


async def record_heartbeat(
    connection: AsyncConnection, session: int, cycles: int, write_failure: str | None = None
) -> bool:
    """Record that a session is alive, and why it cannot write a file; False when it is no longer in state running."""
    parameters = {"session_id": session, "cycles": cycles, "write_failure": write_failure}
    return await _fetch(connection, "session_heartbeat", parameters) != []


async def advance_hand_over(connection: AsyncConnection, session: int) -> None:
    """Let a session hand over as soon as a successor waits; `live_supervisor` then requests one."""
    await connection.execute(SQL["advance_hand_over"], [session])


async def end_session(connection: AsyncConnection, session: int, cycles: int, reason: str) -> None:
    """Record a session as stopped."""
    parameters = {"session_id": session, "cycles": cycles, "ended_because": reason}
    await connection.execute(SQL["end_session"], parameters)


async def latest_totals(connection: AsyncConnection) -> Mapping[str, Any]:
    """The totals in the newest snapshot of any live session; empty when there is none."""
    rows = await _fetch(connection, "latest_totals")
    return rows[0][0] if rows else {}


def latest_session(connection: Connection) -> dict[str, Any] | None:
    """The newest session, with `alive`: whether any session holds the lock. None before the first session."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SQL["latest_session"]).fetchone()
    return None if row is None else {**row, "alive": session_lock_is_held(connection)}


def session_state(connection: Connection) -> SessionState:
    """The newest session as the judgement of a file's freshness sees it."""
    row = latest_session(connection)
    if row is None:
        return SessionState(session_lock_is_held(connection))
    known = {field.name: row[field.name] for field in fields(SessionState) if field.name in row}
    return SessionState(row["alive"], **known)


def symbol_status(connection: Connection, symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Bars, quarantined rows, champion and published generation of each symbol, for `strikecast status`."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SQL["symbol_status"], [list(symbols)]).fetchall()
