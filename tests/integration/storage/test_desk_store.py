"""Saving the paper desk: all or nothing, once, by the session that leads; loading gives what was saved."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from itertools import count
from typing import TypeVar

import psycopg
import pytest
from desk_inputs import BEGAN, EAGER, random_inputs
from desk_sessions import dump_tables, save_in_steps, start_session
from paper_desk import T, board, market, seconds

from pipelines.domain.desk.desk import apply, apply_all
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.inputs import DeskInput, SwitchInput
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.desk.state import DeskState
from pipelines.errors import NoDataError, StateError, SupersededError
from pipelines.storage.desk import reads
from pipelines.storage.desk.codec import dump_state
from pipelines.storage.desk.store import load, read_state, save
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role

Result = TypeVar("Result")
INPUTS = random_inputs(9, 600)
_campaigns = count()


@pytest.fixture
def campaign() -> str:
    return f"campaign {next(_campaigns)}, ürün"


@pytest.fixture
def session(database: Database) -> int:
    return start_session(database)


@pytest.fixture
def reader(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.READER, autocommit=True) as connection:
        yield connection


def as_live(database: Database, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Run `work` on an autocommit connection of the live role."""

    async def connected() -> Result:
        target = database.conninfo("test", Role.LIVE)
        async with await AsyncConnection.connect(target, autocommit=True) as connection:
            return await work(connection)

    return asyncio.run(connected())


def save_now(
    database: Database, session: int, state: DeskState, inputs: list[DeskInput], events: list[DeskEvent]
) -> None:
    as_live(database, lambda live: save(live, session, state, inputs, events, SnapshotType.ON_TRADE))


def save_steps(database: Database, session: int, state: DeskState, inputs: list[DeskInput], step: int) -> None:
    """Apply inputs, and save after each `step` of them."""
    asyncio.run(save_in_steps(database, session, state, inputs, step))


def test_a_state_is_loaded_as_it_was_saved(database: Database, session: int, campaign: str, reader: Connection) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    save_steps(database, session, state, INPUTS, 50)
    assert state.active
    assert state.ended
    for loaded in (as_live(database, lambda live: load(live, campaign)), read_state(reader, campaign)):
        assert loaded == state
        assert loaded is not None
        assert dump_state(loaded) == dump_state(state)


def test_a_campaign_without_snapshots_is_none(database: Database, campaign: str, reader: Connection) -> None:
    assert as_live(database, lambda live: load(live, campaign)) is None
    assert read_state(reader, campaign) is None


def test_a_new_campaign_can_be_saved_before_its_first_input(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    save_now(database, session, state, [], [])
    save_now(database, session, state, [], [])
    assert read_state(reader, campaign) == state
    assert reads.read_balances(reader, campaign) == state.book.balances


def test_inputs_replayed_from_a_saved_state_give_the_later_one(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    save_steps(database, session, state, INPUTS, 50)
    earlier = reads.read_state_before(reader, campaign, 230)
    assert earlier.inputs == 200
    journal = list(reads.read_inputs(reader, campaign, 225))
    assert journal == INPUTS[225:]
    apply_all(earlier, reads.read_inputs(reader, campaign, earlier.inputs))
    assert dump_state(earlier) == dump_state(state)
    assert list(reads.read_inputs(reader, campaign, 600)) == []


def test_deleted_inputs_are_reported_not_skipped(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    save_steps(database, session, state, INPUTS[:30], 10)
    with database.connect("test", Role.OWNER) as owner:
        owner.execute("DELETE FROM live_data.desk_inputs WHERE campaign = %s AND first_input = 11", [campaign])
    with pytest.raises(NoDataError, match="inputs 11 to 20 are not stored"):
        list(reads.read_inputs(reader, campaign, 0))
    with pytest.raises(NoDataError, match="no saved state of input 5 or before"):
        reads.read_state_before(reader, campaign, 5)


def test_the_ledger_balances_and_equals_the_book(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    save_steps(database, session, state, INPUTS, 50)
    assert reads.read_balances(reader, campaign) == state.book.balances
    assert reads.read_unbalanced(reader, campaign) == []
    gain = sum((trade.gain_usd for trade in reads.read_trades(reader, campaign, limit=10_000)), Decimal(0))
    held = sum((trade.cost_usd for trade in state.trades()), Decimal(0))
    assert EAGER.capital_usd + gain == state.book.cash_usd + held


def test_an_early_close_is_stored_with_the_trade(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    state = DeskState.opened(campaign, DeskRules(), T)
    early = T + seconds(2)
    for given in (board(), board(market(early), at=early, closes_at=early)):
        save_now(database, session, state, [given], apply(state, given))
    assert [row.closes_at for row in reads.read_trades(reader, campaign, limit=10)] == [early]


def test_a_failure_in_the_middle_leaves_nothing(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    save_steps(database, session, state, INPUTS[:100], 50)
    before, saved = dump_tables(reader, campaign), dump_state(state)
    with database.connect("test", Role.OWNER) as owner:
        owner.execute(
            "ALTER TABLE live_data.metrics_snapshots ADD CONSTRAINT broken CHECK (trades_opened < 0) NOT VALID"
        )
    try:
        with pytest.raises(psycopg.errors.CheckViolation, match="broken"):
            save_steps(database, session, state, INPUTS[100:200], 100)
    finally:
        with database.connect("test", Role.OWNER) as owner:
            owner.execute("ALTER TABLE live_data.metrics_snapshots DROP CONSTRAINT broken")
    assert dump_tables(reader, campaign) == before
    loaded = read_state(reader, campaign)
    assert loaded is not None
    assert dump_state(loaded) == saved


def test_statements_of_other_tasks_on_the_same_connection_are_not_undone_with_a_save(
    database: Database, session: int, campaign: str
) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)

    async def both(live: AsyncConnection) -> list[BaseException | None]:
        heartbeats = (
            live.execute("UPDATE live_data.session SET cycles = cycles + 1 WHERE session_id = %s", [session])
            for _ in range(20)
        )
        failing = save(live, session, state, [SwitchInput(BEGAN, True, "x")], [], SnapshotType.PERIODIC)
        found = await asyncio.gather(failing, *heartbeats, return_exceptions=True)
        return [one if isinstance(one, BaseException) else None for one in found]

    failed, *others = as_live(database, both)
    assert isinstance(failed, StateError)
    assert others == [None] * 20
    with database.connect("test", Role.READER) as connection:
        [(cycles,)] = connection.execute("SELECT cycles FROM live_data.session WHERE session_id = %s", [session])
    assert cycles == 20


def test_inputs_that_were_saved_cannot_be_saved_again(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    """As when the connection is lost after the commit, and the desk does not load its state."""
    state = DeskState.opened(campaign, EAGER, BEGAN)
    events = apply_all(state, INPUTS[:50])
    save_now(database, session, state, INPUTS[:50], events)
    before = dump_tables(reader, campaign)
    with pytest.raises(StateError, match="is saved up to input 50, not 0"):
        save_now(database, session, state, INPUTS[:50], events)
    assert dump_tables(reader, campaign) == before


def test_a_superseded_session_cannot_save(database: Database, session: int, campaign: str, reader: Connection) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    save_steps(database, session, state, INPUTS[:50], 50)
    before = dump_tables(reader, campaign)
    successor = start_session(database)
    with pytest.raises(SupersededError, match=f"session {session} is not recorded as running"):
        save_steps(database, session, state, INPUTS[50:60], 10)
    assert dump_tables(reader, campaign) == before
    resumed = as_live(database, lambda live: load(live, campaign))
    assert resumed is not None
    save_steps(database, successor, resumed, INPUTS[50:60], 10)
    assert dump_state(resumed) == dump_state(state)


def test_a_successor_waits_for_a_save_in_progress(
    database: Database, session: int, campaign: str, reader: Connection
) -> None:
    """A save that has begun is seen by the desk of the next session, because that session starts after it."""
    state = DeskState.opened(campaign, EAGER, BEGAN)
    events = apply_all(state, INPUTS[:50])

    async def saved_while_superseded(live: AsyncConnection) -> None:
        async with live.transaction():  # not committed yet
            await save(live, session, state, INPUTS[:50], events, SnapshotType.ON_TRADE)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await asyncio.to_thread(start_session, database, "100ms")

    as_live(database, saved_while_superseded)
    assert read_state(reader, campaign) == state


def test_a_trade_that_ended_long_ago_is_not_lost_silently(database: Database, session: int, campaign: str) -> None:
    state = DeskState.opened(campaign, EAGER, BEGAN)
    events = apply_all(state, INPUTS)
    state.ended.clear()
    with pytest.raises(StateError, match="ended too long ago"):
        save_now(database, session, state, INPUTS, events)


@pytest.mark.parametrize("column", ["config - 'ended'", "config - 'desk'", "jsonb_set(config, '{ended}', '\"AAAA\"')"])
def test_an_incomplete_snapshot_is_not_a_state(
    database: Database, session: int, campaign: str, reader: Connection, column: str
) -> None:
    save_now(database, session, DeskState.opened(campaign, EAGER, BEGAN), [], [])
    with database.connect("test", Role.OWNER) as owner:
        owner.execute(
            f"UPDATE live_data.session_snapshots SET config = {column} WHERE session_id = %s", [f"desk:{campaign}"]
        )
    with pytest.raises(StateError, match=r"incomplete|cannot be read"):
        read_state(reader, campaign)
