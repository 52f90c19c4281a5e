"""Who is the session: an advisory lock, the connection that holds it, and what happens when its holder is gone.

All prices, answers, heartbeats and snapshots go through the connection that holds the lock. So a session that lost the
lock cannot write them, however late it wakes up: its connection is gone too.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import conninfo

from pipelines.errors import AlreadyRunningError
from pipelines.storage.live.sessions import RUN_LOCK, SESSION_LOCK, LockState, read_lock_state
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role, translated
from pipelines.storage.postgres.statements import query

#: A session says that it lives each second. One that is silent for so long hangs, and is replaced.
HANG_SECONDS = 5.0
WATCH_SECONDS = 1.0
#: Of the connection that holds the lock: no statement on it may hold up the heartbeat for long.
STATEMENT_TIMEOUT = "3s"
LOCK_TIMEOUT = "1s"
#: A network that is cut is noticed within seconds; the kernel's default is two hours.
KEEPALIVES = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5_000}


@dataclass(frozen=True)
class Seat:
    """The right to write: the connection that holds the lock, and the session's row.

    `dead`: sessions that were found dead; `identity`: of the database, in which `session` counts. Times are aware UTC.
    """

    connection: AsyncConnection
    session: int
    started_at: datetime
    dead: Sequence[int]
    identity: str


@asynccontextmanager
async def connected(database: Database, application: str, run_id: str | None) -> AsyncIterator[AsyncConnection]:
    """The connection that will hold the lock; with it the run says that its process lives.

    A disk that is slow to sync must not stop the heart, so commits do not wait for it: a server that crashes may lose
    the last second's rows. The server looks whether we still live: one killed while it waits leaves the queue.
    """
    with translated(database):
        where = conninfo.make_conninfo(database.conninfo(application, Role.LIVE), **KEEPALIVES)
        connection = await AsyncConnection.connect(where, autocommit=True)
    async with connection:
        await connection.execute(query("session_settings"))
        if run_id is not None:
            await connection.execute(query("try_run_lock"), [RUN_LOCK, run_id])
        yield connection
        # A closed connection's locks go when the server gets round to it, which may be after a successor's start.
        with suppress(psycopg.Error):
            await connection.execute(query("release_advisory_locks"))


async def take_lock(
    connection: AsyncConnection, database: Database, application: str, *, wait: bool, say: Callable[[str], None]
) -> None:
    """Hold the lock, once no other session does. Raises AlreadyRunningError with `wait` false if one does.

    While it waits, a holder that hangs has its connection ended.
    """
    cursor = await connection.execute(query("try_session_lock"), [SESSION_LOCK])
    if (await cursor.fetchone()) != (True,):
        if not wait:
            raise AlreadyRunningError("another live session is running; it refreshes the files every second")
        say("another session is running: waiting to take over")
        await _wait(database, application, connection, say)
    await connection.execute(query("set_timeouts"), [STATEMENT_TIMEOUT, LOCK_TIMEOUT])


async def _wait(database: Database, application: str, connection: AsyncConnection, say: Callable[[str], None]) -> None:
    await connection.execute(query("set_timeouts"), ["0", "0"])
    watcher = asyncio.create_task(_replace_what_hangs(database, application, say))
    waiting = asyncio.create_task(_lock(connection))
    try:
        done, _ = await asyncio.wait([watcher, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task  # the lock, or the error that ended either
    finally:
        for task in (watcher, waiting):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _lock(connection: AsyncConnection) -> None:
    await connection.execute(query("advisory_lock"), [SESSION_LOCK])


async def _replace_what_hangs(database: Database, application: str, say: Callable[[str], None]) -> None:
    """End the holder's connection when it has held the lock without a sign of life for HANG_SECONDS."""
    held_since: dict[int, float] = {}
    # No role: a backend may be ended by the login that it belongs to.
    async with await AsyncConnection.connect(database.conninfo(application, None), autocommit=True) as connection:
        while True:
            state = await read_lock_state(connection)
            if state.holder_pid is not None:
                held_since = {state.holder_pid: held_since.get(state.holder_pid, time.monotonic())}
                if _hangs(state, time.monotonic() - held_since[state.holder_pid]):
                    say(f"session {state.session} hangs: its connection is ended")
                    await connection.execute(query("terminate_backend"), [state.holder_pid])
                    held_since = {}
            await asyncio.sleep(WATCH_SECONDS)


def _hangs(state: LockState, seen_for_seconds: float) -> bool:
    silent = state.heartbeat_age_seconds is None or state.heartbeat_age_seconds > HANG_SECONDS
    return silent and seen_for_seconds > HANG_SECONDS


async def take_seat(
    connection: AsyncConnection, symbols: Sequence[str], run_id: str | None, feed: str, hands_over_at: datetime
) -> Seat:
    """Record the session; those still recorded as running are dead, and marked as crashed."""
    parameters = {"run_id": run_id, "symbols": list(symbols), "feed": feed, "hands_over_at": hands_over_at}
    row = await (await connection.execute(query("start_session"), parameters)).fetchone()
    assert row is not None
    session, started_at = row
    dead = await (await connection.execute(query("crash_dead_sessions"), {"session_id": session})).fetchall()
    found = await (await connection.execute(query("database_identity"))).fetchone()
    assert found is not None
    return Seat(connection, session, started_at, [number for (number,) in dead], found[0])
