"""A desk that is killed at random moments, as a process: `python desk_drill.py URL KILLS INPUTS SEED`.

It replays random inputs in a child process, which saves as the live desk does, each time as a new live session. The
child is killed by SIGKILL, or loses its connection, and is started again until the inputs are used up; then other
inputs are taken, until there were KILLS in all. The children do not wait for the session lock, so that a save of a killed one
may still be running when its successor starts. Writes, for each sequence of inputs, its campaign, seed and counts.
"""

import asyncio
import json
import os
import random
import signal
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import NoReturn

from desk_inputs import BEGAN, EAGER, random_inputs

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.errors import SupersededError
from pipelines.storage.desk.store import load, save
from pipelines.storage.live.sessions import leader_connection, take_leadership
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, OperationalError

#: Inputs after which a desk without events is saved; the live one is each minute.
QUIET = 10
#: Longest life of a child, seconds: long enough for a few saves, so that every replay ends.
LONGEST_LIFE = 0.15
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'strikecast live session'"
)


@dataclass
class Drill:
    """What was done to the desk of one campaign."""

    campaign: str
    seed: int
    killed: int = 0
    disconnected: int = 0

    @property
    def kills(self) -> int:
        return self.killed + self.disconnected


def campaign_of(seed: int) -> str:
    """The campaign with the inputs of a seed."""
    return f"killed {seed}"


async def trade(connection: AsyncConnection, campaign: str, inputs: list[DeskInput]) -> None:
    """Go on from the saved state to the end of the inputs."""
    leadership = await take_leadership(connection, ["BTC"], None, "replay", datetime.now(UTC))
    state = await load(connection, campaign)
    if state is None:
        state = DeskState.opened(campaign, EAGER, BEGAN)
        await save(connection, leadership.session, state, [], [], SnapshotType.INITIAL)
    given: list[DeskInput] = []
    events: list[DeskEvent] = []
    while state.inputs < len(inputs):
        given.append(inputs[state.inputs])
        events += apply(state, given[-1])
        if events or len(given) == QUIET or state.inputs == len(inputs):
            kind = SnapshotType.ON_TRADE if events else SnapshotType.PERIODIC
            await save(connection, leadership.session, state, given, events, kind)
            given, events = [], []


async def trade_to_the_end(database: Database, campaign: str, inputs: list[DeskInput]) -> None:
    """As `trade`, again after each lost connection."""
    while True:
        try:
            async with leader_connection(database, None) as connection:
                await trade(connection, campaign, inputs)
                return
        except (OperationalError, SupersededError):
            continue


def child(database: Database, campaign: str, inputs: list[DeskInput]) -> NoReturn:
    """Trade, and leave without the parent's cleanup."""
    asyncio.run(trade_to_the_end(database, campaign, inputs))
    os._exit(0)


def drill(database: Database, control: Connection, done: Drill, inputs: list[DeskInput], most: int) -> None:
    """Kill and restart a desk until it has used all inputs; it is left alone after `most` kills."""
    rng = random.Random(done.seed)  # noqa: S311
    while True:
        process = get_context("fork").Process(target=child, args=(database, done.campaign, inputs))
        process.start()
        assert process.pid is not None
        while done.kills < most:
            process.join(rng.uniform(0, LONGEST_LIFE))
            if process.exitcode is not None:
                break
            if rng.random() < 0.5:
                os.kill(process.pid, signal.SIGKILL)
                done.killed += 1
                break
            done.disconnected += any(row[0] for row in control.execute(TERMINATE))
        process.join()
        if process.exitcode == 0:
            return
        assert process.exitcode == -signal.SIGKILL, f"the desk ended with {process.exitcode}"


def main(url: str, kills: int, inputs: int, seed: int) -> None:
    """Drill until there were `kills`; with 0, only trade."""
    database, drills = Database(url), list[Drill]()
    if not kills:
        asyncio.run(trade_to_the_end(database, campaign_of(seed), random_inputs(seed, inputs)))
    with database.connect("drill", None, autocommit=True) as control:
        while (left := kills - sum(each.kills for each in drills)) > 0:
            drills.append(Drill(campaign_of(seed + len(drills)), seed + len(drills)))
            drill(database, control, drills[-1], random_inputs(drills[-1].seed, inputs), left)
    sys.stdout.write(json.dumps([asdict(each) for each in drills]))


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
