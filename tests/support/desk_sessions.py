"""Live sessions that save a desk, and what they have saved."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from pipelines.domain.desk.desk import apply_all
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.storage.desk.store import save
from pipelines.storage.live.sessions import set_timeouts, take_leadership
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role

TABLES = ("desk_inputs", "desk_event", "desk_ledger", "desk_trade")


def start_session(database: Database, lock_timeout: str = "5s") -> int:
    """Record a live session as running, and all others as crashed, as the start of one does."""

    async def start() -> int:
        target = database.conninfo("test", Role.LIVE)
        async with await AsyncConnection.connect(target, autocommit=True) as connection:
            await set_timeouts(connection, "30s", lock_timeout)
            leadership = await take_leadership(connection, ["BTC"], None, "replay", datetime.now(UTC))
        return leadership.session

    return asyncio.run(start())


async def save_in_steps(
    database: Database, session: int, state: DeskState, inputs: Sequence[DeskInput], step: int
) -> None:
    """Apply inputs, and save after each `step` of them."""
    async with await AsyncConnection.connect(database.conninfo("test", Role.LIVE), autocommit=True) as connection:
        for start in range(0, len(inputs), step):
            given = inputs[start : start + step]
            await save(connection, session, state, given, apply_all(state, given), SnapshotType.PERIODIC)


def dump_tables(connection: Connection, campaign: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of a campaign by table, and its number of snapshots."""
    dumped = {}
    for table in TABLES:
        statement = sql.SQL("SELECT * FROM live_data.{} WHERE campaign = %s ORDER BY 1, 2, 3").format(
            sql.Identifier(table)
        )
        dumped[table] = connection.execute(statement, [campaign]).fetchall()
    statement = sql.SQL("SELECT count(*) FROM live_data.session_snapshots WHERE session_id = %s")
    dumped["snapshots"] = connection.execute(statement, [f"desk:{campaign}"]).fetchall()
    return dumped
