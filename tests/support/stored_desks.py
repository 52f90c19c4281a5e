"""A desk's course, saved as the live session saves it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from desk_sessions import start_session
from sample_desks import course, opened

from pipelines.domain.desk.desk import apply_all
from pipelines.domain.desk.state import DeskState
from pipelines.storage.desk.store import save
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

#: Inputs of one save.
TOGETHER = 5


def store_course(database: Database, campaign: str, until: datetime, hours: int) -> DeskState:
    """Save the course of so many hours before `until`, a few inputs at a time; the state at its end."""

    def store() -> DeskState:
        return asyncio.run(_store(database, start_session(database), campaign, until, hours))

    # In a thread of its own: a browser that is open already has an event loop in this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(store).result()


async def _store(database: Database, session: int, campaign: str, until: datetime, hours: int) -> DeskState:
    state, inputs = opened(until, hours, campaign), list(course(until, hours))
    target = database.conninfo("test", Role.LIVE)
    async with await AsyncConnection.connect(target, autocommit=True) as connection:
        await save(connection, session, state, [], [], SnapshotType.INITIAL)
        for start in range(0, len(inputs), TOGETHER):
            given = inputs[start : start + TOGETHER]
            await save(connection, session, state, given, apply_all(state, given), SnapshotType.ON_TRADE)
    return state
