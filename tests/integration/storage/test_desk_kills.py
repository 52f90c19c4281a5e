"""A desk that is killed at random moments, or loses its connection, ends as one that was left alone, to the cent."""

import asyncio
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import desk_drill
import pytest
from desk_inputs import BEGAN, EAGER, random_inputs
from desk_sessions import dump_tables, save_in_steps, start_session
from server_folders import server_folder
from waiting import wait_until

from pipelines.domain.desk.desk import apply_all
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.storage.desk import reads
from pipelines.storage.desk.codec import dump_state
from pipelines.storage.desk.store import read_state
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.schema import migrate

INPUTS = 400


def start(database: Database, kills: int, seed: int) -> "subprocess.Popen[str]":
    """A process that trades, with so many kills in all."""
    command = [sys.executable, str(Path(desk_drill.__file__)), database.url, str(kills), str(INPUTS), str(seed)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def undisturbed(database: Database, campaign: str, inputs: list[DeskInput]) -> DeskState:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    asyncio.run(save_in_steps(database, start_session(database), state, inputs, 40))
    return state


def rows(connection: Connection, campaign: str) -> dict[str, list[tuple[Any, ...]]]:
    """Events, ledger and trades without the campaign's name."""
    dumped = dump_tables(connection, campaign)
    return {name: [row[1:] for row in dumped[name]] for name in ("desk_event", "desk_ledger", "desk_trade")}


def compare(database: Database, seed: int, killed: str) -> None:
    """Compare all that two desks have saved."""
    inputs, left_alone = random_inputs(seed, INPUTS), f"left alone {seed}"
    expected = undisturbed(database, left_alone, inputs)
    with database.connect("test", Role.READER, autocommit=True) as connection:
        found = read_state(connection, killed)
        assert found is not None
        found.campaign = expected.campaign
        assert dump_state(found) == dump_state(expected)
        assert rows(connection, killed) == rows(connection, left_alone)
        assert list(reads.read_inputs(connection, killed, 0)) == inputs
        assert reads.read_balances(connection, killed) == expected.book.balances
        assert reads.read_unbalanced(connection, killed) == []


@pytest.mark.parametrize("kills", [30, pytest.param(1_000, marks=pytest.mark.soak)])
def test_a_killed_desk_ends_as_one_that_was_left_alone(database: Database, kills: int) -> None:
    with start(database, kills, seed=kills) as process:
        output, problem = process.communicate(timeout=600)
    assert process.returncode == 0, problem
    drills: list[dict[str, Any]] = json.loads(output)
    assert sum(each["killed"] + each["disconnected"] for each in drills) >= kills
    assert sum(each["killed"] for each in drills) > kills / 4
    assert sum(each["disconnected"] for each in drills) > kills / 4
    for each in drills:
        compare(database, each["seed"], each["campaign"])


@pytest.mark.parametrize("crashes", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_a_desk_goes_on_after_its_server_was_killed(crashes: int) -> None:
    """Commits of the last second may be lost, each as a whole."""
    with server_folder() as folder, EmbeddedServer(folder / "pg").running() as url:
        server, database, seed = EmbeddedServer(folder / "pg"), Database(url), 2
        migrate(database)
        for crash in range(1, crashes + 1):
            with start(database, 0, seed) as process, database.connect("test", Role.READER, autocommit=True) as reader:
                until = crash * INPUTS // (crashes + 1)
                wait_until(partial(has_saved, reader, seed, until), f"the desk to save {until} inputs")
                server.kill()
                process.wait(timeout=60)
            server.restart_if_stopped()
            assert_consistent(database, seed)
        with start(database, 0, seed) as process:
            assert process.wait(timeout=120) == 0
        compare(database, seed, desk_drill.campaign_of(seed))


def has_saved(connection: Connection, seed: int, inputs: int) -> bool:
    state = read_state(connection, desk_drill.campaign_of(seed))
    return state is not None and state.inputs >= inputs


def assert_consistent(database: Database, seed: int) -> None:
    """Compare what is saved with a replay of as many inputs."""
    campaign = desk_drill.campaign_of(seed)
    with database.connect("test", Role.READER, autocommit=True) as connection:
        state = read_state(connection, campaign)
        assert state is not None
        replayed = DeskState.opened(campaign, EAGER, BEGAN)
        events = apply_all(replayed, random_inputs(seed, state.inputs))
        assert dump_state(state) == dump_state(replayed)
        assert [one.kind for one in reads.read_events(connection, campaign, limit=100_000)[-2::-1]] == [
            event.kind for event in events
        ]
        assert reads.read_balances(connection, campaign) == state.book.balances
