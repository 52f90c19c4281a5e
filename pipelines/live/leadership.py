"""Leader election among live sessions, by an advisory lock.

All prices, answers, heartbeats and snapshots go through the connection that holds the lock. A session that lost the
lock has lost its connection too, so it cannot write them, however late it resumes.
"""

import asyncio
import time

from pipelines.errors import AlreadyRunningError, DatabaseError
from pipelines.log import Log
from pipelines.storage.live.sessions import (
    APPLICATION,
    SESSION_LOCK,
    read_lock_state_async,
    set_timeouts,
    terminate_backend,
    try_session_lock,
)
from pipelines.storage.postgres.connection import AsyncConnection, Database
from pipelines.storage.postgres.locks import acquire_async, foreign_remedy

#: A leader sends a heartbeat each second; one without for this long hangs, and is replaced.
HANG_SECONDS = 5.0
CHECK_SECONDS = 1.0
#: Interval between messages about a leader that cannot be disconnected.
INTERVAL_OF_REFUSALS_SECONDS = 60.0
#: Timeouts of the leader's connection: no statement may delay the heartbeat for long.
STATEMENT_TIMEOUT = "3s"
LOCK_TIMEOUT = "1s"


async def acquire_session_lock(connection: AsyncConnection, database: Database, *, wait: bool, log: Log) -> None:
    """Acquire the session lock. While waiting, disconnect a leader that hangs.

    Raises AlreadyRunningError if another session holds the lock and `wait` is false, and DatabaseError if a connection
    holds it that is no session.
    """
    if not await try_session_lock(connection):
        state = await read_lock_state_async(connection)
        if state.intruder_pid is not None:
            if not wait:
                raise DatabaseError(
                    f"no session can start: its lock is held by {state.intruder}; {foreign_remedy(state.intruder_pid)}"
                )
        elif not wait:
            raise AlreadyRunningError("another live session is running; it refreshes the files every second")
        else:
            log("another session is running: waiting to take over")
        await set_timeouts(connection, "0", "0")
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_disconnect_hanging_leader(database, log))
            await acquire_async(connection, SESSION_LOCK)
            watch.cancel()
    await set_timeouts(connection, STATEMENT_TIMEOUT, LOCK_TIMEOUT)


async def _disconnect_hanging_leader(database: Database, log: Log) -> None:
    """Terminate the connection of a leader that has held the lock for HANG_SECONDS without a heartbeat; forever.

    A connection that holds the lock and is no session is terminated at once, if the login may do that.
    """
    holder_pid, seen_at = None, 0.0
    reported: int | None = None
    # Without a role: a connection may be terminated by the login that it belongs to.
    async with await AsyncConnection.connect(database.conninfo(APPLICATION, None), autocommit=True) as connection:
        while True:
            state = await read_lock_state_async(connection)
            if state.holder_pid != holder_pid:
                holder_pid, seen_at = state.holder_pid, time.monotonic()
            if state.intruder_pid not in {None, reported}:
                log(f"the lock of live sessions is held by {state.intruder}, which is no session: disconnecting it")
                if not await terminate_backend(connection, state.intruder_pid):
                    log(f"this login may not disconnect it: {foreign_remedy(state.intruder_pid)}")
                reported = state.intruder_pid
            age = state.heartbeat_age_seconds
            silent = age is None or age > HANG_SECONDS
            if holder_pid is not None and silent and time.monotonic() - seen_at > HANG_SECONDS:
                log(f"session {state.session} hangs: terminating its connection")
                if await terminate_backend(connection, holder_pid):
                    holder_pid = None
                else:
                    log(f"process {holder_pid} belongs to another login, which this one may not disconnect")
                    seen_at = time.monotonic() + INTERVAL_OF_REFUSALS_SECONDS
            await asyncio.sleep(CHECK_SECONDS)
