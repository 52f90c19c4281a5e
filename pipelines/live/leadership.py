"""Who is the session: an advisory lock, the connection that holds it, and what happens when its holder is gone.

All prices, answers, heartbeats and snapshots go through the connection that holds the lock. So a session that lost the
lock cannot write them, however late it wakes up: its connection is gone too.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pipelines.errors import AlreadyRunningError
from pipelines.log import Log
from pipelines.storage.live.sessions import (
    LockState,
    database_identity,
    mark_others_crashed,
    read_lock_state_async,
    set_timeouts,
    start_session,
    terminate_backend,
    try_session_lock,
    wait_for_session_lock,
)
from pipelines.storage.postgres.connection import AsyncConnection, Database

#: A session says that it lives each second. One that is silent for so long hangs, and is replaced.
HANG_SECONDS = 5.0
WATCH_SECONDS = 1.0
#: Of the connection that holds the lock: no statement on it may hold up the heartbeat for long.
STATEMENT_TIMEOUT = "3s"
LOCK_TIMEOUT = "1s"


@dataclass(frozen=True)
class Leadership:
    """The right to write: the connection that holds the lock, and the session's row.

    `dead`: sessions that were found dead; `identity`: of the database, in which `session` counts. Times are aware UTC.
    """

    connection: AsyncConnection
    session: int
    started_at: datetime
    dead: Sequence[int]
    identity: str


async def wait_for_leadership(
    connection: AsyncConnection, database: Database, application: str, *, wait: bool, log: Log
) -> None:
    """Hold the lock, once no other session does. Raises AlreadyRunningError with `wait` false if one does.

    While it waits, a holder that hangs has its connection ended.
    """
    if not await try_session_lock(connection):
        if not wait:
            raise AlreadyRunningError("another live session is running; it refreshes the files every second")
        log("another session is running: waiting to take over")
        await _wait(database, application, connection, log)
    await set_timeouts(connection, STATEMENT_TIMEOUT, LOCK_TIMEOUT)


async def _wait(database: Database, application: str, connection: AsyncConnection, log: Log) -> None:
    await set_timeouts(connection, "0", "0")
    watcher = asyncio.create_task(_replace_what_hangs(database, application, log))
    waiting = asyncio.create_task(wait_for_session_lock(connection))
    try:
        done, _ = await asyncio.wait([watcher, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task  # the lock, or the error that ended either
    finally:
        for task in (watcher, waiting):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _replace_what_hangs(database: Database, application: str, log: Log) -> None:
    """End the holder's connection when it has held the lock without a sign of life for HANG_SECONDS."""
    held_since: dict[int, float] = {}
    # No role: a backend may be ended by the login that it belongs to.
    async with await AsyncConnection.connect(database.conninfo(application, None), autocommit=True) as connection:
        while True:
            state = await read_lock_state_async(connection)
            if state.holder_pid is not None:
                held_since = {state.holder_pid: held_since.get(state.holder_pid, time.monotonic())}
                if _hangs(state, time.monotonic() - held_since[state.holder_pid]):
                    log(f"session {state.session} hangs: its connection is ended")
                    await terminate_backend(connection, state.holder_pid)
                    held_since = {}
            await asyncio.sleep(WATCH_SECONDS)


def _hangs(state: LockState, seen_for_seconds: float) -> bool:
    silent = state.heartbeat_age_seconds is None or state.heartbeat_age_seconds > HANG_SECONDS
    return silent and seen_for_seconds > HANG_SECONDS


async def take_leadership(
    connection: AsyncConnection, symbols: Sequence[str], run_id: str | None, feed: str, hands_over_at: datetime
) -> Leadership:
    """Record the session; those still recorded as running are dead, and marked as crashed."""
    session, started_at = await start_session(connection, symbols, run_id, feed, hands_over_at)
    crashed = await mark_others_crashed(connection, session)
    return Leadership(connection, session, started_at, crashed, await database_identity(connection))
