"""A desk whose session is killed, stopped, disconnected or terminated: the next one goes on, and never do two trade."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from desk_inputs import EAGER as RULES
from desk_inputs import random_inputs
from desk_sessions import start_session
from live_desks import assert_twin, desk_session, has_event, order, saved_state
from live_markets import exchange_of, prices_each_half_second
from live_sessions import kill
from waiting import avoid_hour_boundary, wait_until

from pipelines.live.desk import DeskPlan, LiveDesk
from pipelines.storage.desk.reads import read_campaigns
from pipelines.storage.desk.store import save
from pipelines.storage.live.sessions import read_lock_state
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

Build = Callable[..., int]


def sessions_of_the_journal(database: Database, campaign: str) -> list[int]:
    """The sessions that saved inputs, in their order."""
    with database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT session_id FROM live_data.desk_inputs WHERE campaign = %s ORDER BY first_input", [campaign]
        ).fetchall()
    return [session for (session,) in rows]


def disconnect(database: Database) -> None:
    """Terminate the leader's connection, as a restart of the server does."""
    with database.connect("test", None) as connection:
        holder = read_lock_state(connection).holder_pid
        connection.execute("SELECT pg_terminate_backend(%s)", [holder])


def status_of(database: Database, campaign: str) -> str:
    with database.connect("test", Role.READER) as connection:
        return next(one.status for one in read_campaigns(connection) if one.campaign == campaign)


@pytest.mark.parametrize("end", ["killed", "disconnected", "stopped", "terminated"])
def test_the_next_session_goes_on_with_the_saved_account(
    database: Database, build: Build, tmp_path: Path, end: str
) -> None:
    avoid_hour_boundary(120)
    symbol, campaign = end.upper(), f"demo-{end}"
    build(symbol, seed=1)
    with (
        exchange_of(symbol) as exchange,
        prices_each_half_second(database, symbol),
        desk_session(database, tmp_path, exchange, campaign) as first,
    ):
        wait_until(has_event(database, campaign, "buy"), "a fill")
        if end == "stopped":  # it hangs: the standby disconnects it and takes over
            os.kill(first.pid, signal.SIGSTOP)
        elif end == "killed":
            kill(first)
        elif end == "terminated":  # in order: it saves the rest
            first.terminate()
            first.wait(60)
            assert status_of(database, campaign) == "stopped"
        else:
            disconnect(database)
        before = saved_state(database, campaign)
        assert before is not None
        with desk_session(database, tmp_path, exchange, campaign) as second:
            order(database, campaign, stopped=True)
            wait_until(has_event(database, campaign, "stop"), "the second session to save")
            if end == "stopped":
                os.kill(first.pid, signal.SIGCONT)
                first.wait(60)
            assert second.poll() is None
            order(database, campaign, stopped=False)
            wait_until(has_event(database, campaign, "start"), "another save")
    state = assert_twin(database, campaign)
    journal = sessions_of_the_journal(database, campaign)
    assert journal == sorted(journal), "two sessions saved in turns"
    assert len(set(journal)) == 2
    assert before.active.keys() <= state.active.keys() | state.ended.keys()


def test_a_save_that_was_interrupted_after_its_commit_is_not_repeated(database: Database) -> None:
    session, given = start_session(database), random_inputs(7, 5)
    table = cast(Any, SimpleNamespace(refresher=SimpleNamespace(session=session)))
    desk = LiveDesk(DeskPlan("demo-interrupted", RULES), "simulated", [table], lambda _: None)

    async def interrupt() -> None:
        target = database.conninfo("test", Role.LIVE)
        async with await AsyncConnection.connect(target, autocommit=True) as connection:
            state = await desk._resume(connection)
            for one in given:
                desk._apply(state, one)
            await save(connection, session, state, desk._inputs, desk._events, SnapshotType.ON_TRADE)
            await desk.stop(connection)

    asyncio.run(interrupt())
    assert status_of(database, "demo-interrupted") == "stopped"
    assert assert_twin(database, "demo-interrupted").inputs == len(given)
