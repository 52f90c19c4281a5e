"""Live sessions with a paper desk on a simulated exchange, and what it saved."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from live_markets import ExchangeThread
from live_sessions import kill

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.rules import DeskRules, Served
from pipelines.domain.desk.state import DeskState
from pipelines.live.desk import DeskPlan
from pipelines.storage.desk.codec import dump_state
from pipelines.storage.desk.reads import read_balances, read_events, read_inputs, read_state_before, read_unbalanced
from pipelines.storage.desk.rows import EventRow
from pipelines.storage.desk.store import read_state
from pipelines.storage.desk.switch import set_switch
from pipelines.storage.postgres.connection import Connection, Database, Role

#: Rules by which the desk trades within seconds, whatever the model believes.
EAGER = DeskRules(
    probability=Served.POOL,
    min_edge_usd=Decimal("-0.5"),
    max_spread_usd=Decimal("0.5"),
    interval_share=Decimal(0),
    min_independent=0,
    min_ttc_seconds=0,
    max_ttc_seconds=3_600,
    positions_per_event=3,
    stake_usd=Decimal(20),
)
SESSION = """
import sys
from pathlib import Path
from live_desks import EAGER
from live_markets import ExchangeThread, session_with_markets
from pipelines.live.desk import DeskPlan
from pipelines.storage.postgres.connection import Database
url, output, symbol, exchange_url, campaign = sys.argv[1:]
session_with_markets(
    Database(url), Path(output), ExchangeThread(symbol, url=exchange_url), desk=DeskPlan(campaign, EAGER), wait=True,
    log=lambda text: print(text, flush=True),
).run()
"""


def eager(campaign: str) -> DeskPlan:
    return DeskPlan(campaign, EAGER)


def start_desk_session(
    database: Database, output: Path, exchange: ExchangeThread, campaign: str
) -> "subprocess.Popen[bytes]":
    """A live session with an eager desk in a process of its own, which waits for the leadership."""
    folder = str(Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {folder!r})\n{SESSION}"
    arguments = [database.url, str(output), exchange.symbol, exchange.address(), campaign]
    return subprocess.Popen([sys.executable, "-c", script, *arguments])


@contextmanager
def desk_session(
    database: Database, output: Path, exchange: ExchangeThread, campaign: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """As `start_desk_session`; killed with the context."""
    child = start_desk_session(database, output, exchange, campaign)
    try:
        yield child
    finally:
        kill(child)


def saved_state(database: Database, campaign: str) -> DeskState | None:
    with _reading(database) as connection:
        return read_state(connection, campaign)


def saved_events(database: Database, campaign: str) -> list[EventRow]:
    """The campaign's events, oldest first."""
    with _reading(database) as connection:
        return read_events(connection, campaign, limit=100_000)[::-1]


def has_event(database: Database, campaign: str, kind: str, after: int = -1) -> Callable[[], bool]:
    """Whether an event of a kind was saved whose number is above `after`."""
    return lambda: any(one.kind == kind and one.event > after for one in saved_events(database, campaign))


def order(database: Database, campaign: str, *, stopped: bool) -> None:
    """An operator's order to the desk."""
    with database.connect("test", Role.PIPELINE) as connection:
        set_switch(connection, campaign, stopped, "an exercise", "a test")


def assert_twin(database: Database, campaign: str) -> DeskState:
    """The journal replayed from the campaign's beginning gives byte-equal events and the saved state, which is returned."""
    saved = saved_state(database, campaign)
    assert saved is not None
    with _reading(database) as connection:
        state = read_state_before(connection, campaign, 0)
        assert (state.inputs, state.book.cash_usd) == (0, state.rules.capital_usd)
        events = [event for given in read_inputs(connection, campaign, 0) for event in apply(state, given)]
        assert read_unbalanced(connection, campaign) == []
        assert read_balances(connection, campaign) == state.book.balances
    assert dump_state(state) == dump_state(saved)
    stored = saved_events(database, campaign)[1:]  # the first is the capital
    assert [_columns(one) for one in events] == [_columns(one) for one in stored]
    assert [one.event for one in stored] == list(range(1, len(events) + 1))
    return saved


def _columns(event: DeskEvent | EventRow) -> tuple[object, ...]:
    names = ("at", "kind", "reason", "trade", "symbol", "ticker", "side", "price", "contracts", "fee_usd")
    return tuple(str(getattr(event, name)) for name in names)


@contextmanager
def _reading(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.READER) as connection:
        yield connection
