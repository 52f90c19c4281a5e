"""The paper desk of a live session: it hears of the strike tables, the switch and the results, and saves what it did.

Only the leader runs it, after its tables. The desk's memory is worth nothing until it is saved: a save that fails, or
any other failure, drops it, and the desk goes on from the last saved state as after a kill.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.inputs import DeskInput, ResultInput, RulesInput, SwitchInput
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.desk.state import DeskState
from pipelines.errors import StateError
from pipelines.live.desk_inputs import board_input
from pipelines.live.refresh_loop import wait_for
from pipelines.live.strike_tables import Answered, StrikeTable
from pipelines.log import Log
from pipelines.storage.desk.results import read_results_async
from pipelines.storage.desk.store import load, save
from pipelines.storage.desk.switch import read_switch_async
from pipelines.storage.live.state_store import SnapshotType
from pipelines.storage.postgres.connection import AsyncConnection, AsyncPool

#: Least time between two boards of a series, and between looks at the switch.
BOARD_SECONDS = 1.0
SAVE_SECONDS = 60.0
#: Interval at which results are looked for while a trade is past its close, and for trades that were paid.
RESULT_SECONDS = 5.0
REVISION_SECONDS = 60.0
#: A save at the end of a session may take this long; what is not saved then is decided again by the next one.
LAST_SAVE_SECONDS = 0.5
#: Events that are logged; the others are in `live_data.desk_event`.
LOGGED = frozenset(EventKind) - {EventKind.WORK, EventKind.CANCEL, EventKind.END}


@dataclass(frozen=True)
class DeskPlan:
    """The paper account that a session trades for, and its rules."""

    campaign: str
    rules: DeskRules


class LiveDesk:
    """The desk of one session. `exchange`: whose results settle its trades; `tables`: whose markets it trades."""

    def __init__(self, plan: DeskPlan, exchange: str, tables: Sequence[StrikeTable], log: Log) -> None:
        self._plan, self._exchange, self._tables, self._log = plan, exchange, tables, log
        #: Set when a table was refreshed.
        self.wake = asyncio.Event()
        #: Called after each save.
        self.on_success: Callable[[], None] = lambda: None
        self._state: DeskState | None = None
        self._inputs: list[DeskInput] = []
        self._events: list[DeskEvent] = []
        self._due: dict[str, float] = {}
        self._seen: dict[int, Answered] = {}

    async def run(self, connection: AsyncConnection, pool: AsyncPool) -> None:
        """Trade until cancelled, from the last saved state. `connection`: the leader's, by which alone it saves.

        Raises SupersededError when another session may trade, any other error when the memory is to be dropped.
        """
        try:
            state = await self._resume(connection)
            while True:
                await self._advance(state, connection, pool)
                await wait_for(self.wake, BOARD_SECONDS)
                self.wake.clear()
        except Exception:
            self._state = None  # it may be changed in part, or differ from what is saved
            raise

    async def stop(self, connection: AsyncConnection) -> None:
        """Save the rest, after `run` was cancelled and while the session is still recorded as running."""
        state, self._state = self._state, None
        if state is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SAVE_SECONDS):
                try:
                    await self._save(connection, state, SnapshotType.ON_STOP)
                except StateError:  # these inputs are saved already: by a save that was interrupted after its commit
                    self._inputs, self._events = [], []
                    await self._save(connection, state, SnapshotType.ON_STOP)

    async def _advance(self, state: DeskState, connection: AsyncConnection, pool: AsyncPool) -> None:
        """Tell the desk what is new, and save what it did."""
        if self._is_due("switch", BOARD_SECONDS):
            await self._read_switch(pool, state)
        await self._read_results(pool, state)
        for number, table in enumerate(self._tables):
            await asyncio.sleep(0)  # what waits for the event loop goes first
            self._look_at(number, table, state)
        if self._events or self._is_due("save", SAVE_SECONDS):
            await self._save(connection, state, SnapshotType.ON_TRADE if self._events else SnapshotType.PERIODIC)

    async def _resume(self, connection: AsyncConnection) -> DeskState:
        """Drop the memory, and take the saved state, or open the campaign; adopt the rules of the settings."""
        campaign, rules, now = self._plan.campaign, self._plan.rules, datetime.now(UTC)
        self._state, self._inputs, self._events = None, [], []
        self._due, self._seen = {}, {}
        state = await load(connection, campaign)
        if state is None:
            state = DeskState.opened(campaign, rules, now)
            await self._save(connection, state, SnapshotType.INITIAL)
            self._log(f"desk {campaign}: opened with {rules.capital_usd} USD")
        if state.rules != rules:
            self._apply(state, RulesInput(now, rules))
        self._is_due("save", SAVE_SECONDS)
        self._state = state
        return state

    def _apply(self, state: DeskState, given: DeskInput) -> None:
        self._events += apply(state, given)
        self._inputs.append(given)

    async def _read_switch(self, pool: AsyncPool, state: DeskState) -> None:
        """Tell the desk that it was stopped or started since."""
        async with pool.connection() as connection:
            switch = await read_switch_async(connection, state.campaign)
        stopped = switch.reason if switch is not None and switch.stopped else None
        if stopped != state.stopped:
            reason = "" if switch is None else switch.reason
            self._apply(state, SwitchInput(datetime.now(UTC), stopped is not None, reason))

    async def _read_results(self, pool: AsyncPool, state: DeskState) -> None:
        """Tell the desk the results of trades past their close, and those that differ from what was paid."""
        now, tickers = datetime.now(UTC), set[str]()
        unpaid = {trade.ticker for trade in state.trades() if trade.closes_at <= now}
        if unpaid and self._is_due("results", RESULT_SECONDS):
            tickers |= unpaid
        known = {trade.ticker: trade for trade in state.ended.values() if trade.result is not None}
        if known and self._is_due("revisions", REVISION_SECONDS):
            tickers |= known.keys()
        if not tickers:
            return
        async with pool.connection() as connection:
            found = await read_results_async(connection, self._exchange, sorted(tickers))
        for ticker, result, value in found:
            paid = known.get(ticker)
            if ticker not in unpaid and paid is not None and (paid.result, paid.settlement_value) == (result, value):
                continue
            try:
                given = ResultInput(datetime.now(UTC), ticker, result, value)
            except ValueError:  # a payment that contradicts its result: the trade stays, and is reported
                continue
            self._apply(state, given)

    def _look_at(self, number: int, table: StrikeTable, state: DeskState) -> None:
        """Tell the desk of a table that was refreshed, once a second at most."""
        answered, series = table.answered, table.board.series_ticker
        if answered is None or self._seen.get(number) is answered or not self._is_due(series, BOARD_SECONDS):
            return
        self._seen[number] = answered
        started = time.perf_counter()
        held = [trade.ticker for trade in state.trades(event_ticker=answered.board.event_ticker)]
        board = board_input(answered, table.pool, state.rules.probability, held, datetime.now(UTC))
        if board is not None:
            self._apply(state, board)
            table.refresher.metrics.record("desk", time.perf_counter() - started)

    async def _save(self, connection: AsyncConnection, state: DeskState, why: SnapshotType) -> None:
        """Save the state with what led to it since the last save."""
        session = self._tables[0].refresher.session
        assert session is not None  # only the leader runs the desk
        await save(connection, session, state, self._inputs, self._events, why)
        for event in self._events:
            if event.kind in LOGGED:
                self._log(f"desk {state.campaign}: {described(event)}")
        self._inputs, self._events = [], []
        self.on_success()

    def _is_due(self, name: str, seconds: float) -> bool:
        """Whether something was not done for so long; then it is done now."""
        now = time.monotonic()
        if now < self._due.get(name, now):
            return False
        self._due[name] = now + seconds
        return True


def described(event: DeskEvent) -> str:
    """An event on a line."""
    words = [str(event.kind).replace("_", " ")]
    if event.ticker is not None:
        words += [event.ticker, str(event.side)]
    if event.contracts is not None:
        words.append(f"{event.contracts} contracts")
    if event.price is not None:
        words.append(f"at {event.price} USD")
    if event.fee_usd is not None:
        words.append(f"fee {event.fee_usd} USD")
    return " ".join(words) + (f": {event.reason}" if event.reason else "")
