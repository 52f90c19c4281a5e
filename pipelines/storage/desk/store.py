"""Save the paper desk in one transaction; loading gives exactly the saved state.

A save is one message of several statements, which PostgreSQL executes as one transaction. It can thus use the
connection of the live session's leader, on which other tasks work at the same time, each with a transaction of its
own. Like these it does not wait for the disk: a crash of the server may lose the last second, as a whole.
"""

import asyncio
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple

import orjson
import psycopg

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Trade
from pipelines.errors import StateError, SupersededError
from pipelines.storage.desk.codec import STATE, TRADES, dump_events, dump_inputs, load_state
from pipelines.storage.desk.rows import TRADE_ROWS, TradeRow
from pipelines.storage.live.state_store import SnapshotType, State, save_statement
from pipelines.storage.postgres.connection import AsyncConnection, Connection, primary_message
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)
ORDERS = {"entry": "order_a", "exits": "order_b"}
#: Level of zlib at which a minute of inputs takes 20 ms, in a thread; they become a tenth.
COMPRESSION = 6


class SavedState(NamedTuple):
    """A state and when it was saved, aware UTC."""

    state: DeskState
    saved_at: datetime


async def save(
    connection: AsyncConnection,
    session: int,
    state: DeskState,
    inputs: Sequence[DeskInput],
    events: Sequence[DeskEvent],
    snapshot_type: SnapshotType,
) -> None:
    """Store a state with the inputs and events since it was saved or loaded last, all or nothing.

    `session`: the live session. Nothing may change the state before it returns. After any error the desk must load its
    state again: the error may have come after the commit. Raises SupersededError when the session is no longer recorded
    as running, StateError when the campaign is not saved up to the first of `inputs`, and psycopg.Error when the
    database refuses.
    """
    # In a thread: with many trades it takes as long as a strike table's refresh may.
    statements, parameters = await asyncio.to_thread(_message, session, state, inputs, events, snapshot_type)
    try:
        await psycopg.AsyncClientCursor(connection).execute(statements, parameters)
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise SupersededError(f"the desk was not saved: {primary_message(error)}") from error
    except psycopg.errors.SerializationFailure as error:
        raise StateError(f"the desk was not saved: {primary_message(error)}") from error


async def load(connection: AsyncConnection, campaign: str) -> DeskState | None:
    """The newest saved state of a campaign, None before the first. Raises StateError when it cannot be read."""
    cursor = await connection.execute(SQL["saved_state"], {"session_id": session_id(campaign), "inputs": None})
    row = await cursor.fetchone()
    return None if row is None else _saved(*row).state


def read_state(connection: Connection, campaign: str, inputs: int | None = None) -> DeskState | None:
    """As `load`; with `inputs`, the newest that was saved after at most so many inputs."""
    saved = read_saved(connection, campaign, inputs)
    return None if saved is None else saved.state


def read_saved(connection: Connection, campaign: str, inputs: int | None = None) -> SavedState | None:
    """As `read_state`, with the time of the save."""
    parameters = {"session_id": session_id(campaign), "inputs": inputs}
    row = connection.execute(SQL["saved_state"], parameters).fetchone()
    return None if row is None else _saved(*row)


def session_id(campaign: str) -> str:
    """Name of a campaign's snapshots."""
    return f"desk:{campaign}"


def unpack(content: bytes) -> bytes:
    """Decompress. Raises StateError for what was not compressed by `save`."""
    try:
        return zlib.decompress(content)
    except zlib.error as error:
        raise StateError(f"a desk's compressed content cannot be read: {error}") from error


def _packed(inputs: Iterable[DeskInput]) -> bytes:
    return zlib.compress(dump_inputs(inputs), COMPRESSION)


def _message(
    session: int,
    state: DeskState,
    inputs: Sequence[DeskInput],
    events: Sequence[DeskEvent],
    snapshot_type: SnapshotType,
) -> tuple[LiteralString, dict[str, Any]]:
    """The statements of a save and their parameters."""
    snapshot, parameters = save_statement(_snapshot(state, snapshot_type), snapshot_type)
    own = {
        "campaign": state.campaign,
        "live_session": session,
        "from_inputs": state.inputs - len(inputs),
        "last_input": state.inputs,
        "newest_at": state.at,
        "started_at": state.started_at,
        "capital_usd": _capital(state),
        "events": dump_events(events).decode(),
        "content": _packed(inputs),
        "trades": TRADE_ROWS.dump_json([TradeRow.of(trade) for trade in _changed(state, events)]).decode(),
    }
    names = ("lock_desk", "save_inputs", "save_capital", "save_events", "save_trades")
    return "; ".join((*(SQL[name] for name in names), snapshot)), parameters | own


def _changed(state: DeskState, events: Iterable[DeskEvent]) -> list[Trade]:
    """Active trades, whose bids change without events, and ended ones with events."""
    numbers = {event.trade for event in events if event.trade is not None} | state.active.keys()
    trades = state.active | state.ended
    if missing := numbers - trades.keys():
        raise StateError(f"trades {sorted(missing)} ended too long ago to be saved now")
    return [trades[number] for number in sorted(numbers)]


def _capital(state: DeskState) -> Decimal:
    return -state.book.balances[Account.CAPITAL]


def _snapshot(state: DeskState, snapshot_type: SnapshotType) -> State:
    """The state as one of the snapshot tables: exact in `config` and the positions, in floats in the rest."""
    exact = STATE.dump_python(state, mode="json", exclude={"active", "ended"})
    rules = exact.pop("rules")
    active = TRADES.dump_python(state.active, mode="json")
    # The trades of two days, kept for revisions of their results: as jsonb they would be most of each snapshot.
    ended = b64encode(zlib.compress(TRADES.dump_json(state.ended))).decode()
    return {
        "session": {
            "session_id": session_id(state.campaign),
            "session_start_time": state.started_at,
            "mode": "paper",
            "paper_campaign_id": state.campaign,
            "config": {"rules": rules, "desk": exact, "ended": ended},
            "loop_count": state.inputs,
            "status": "stopped" if snapshot_type is SnapshotType.ON_STOP else "running",
        },
        "positions": {
            "active_orders": {trade.key: _position(trade, active[str(trade.number)]) for trade in state.trades()}
        },
        "metrics": _metrics(state),
        "risk_guard": _risk_guard(state),
    }


def _position(trade: Trade, exact: Mapping[str, Any]) -> dict[str, Any]:
    orders = {column: exact[name] for name, column in ORDERS.items()}
    opened_at = trade.entry.fills[0].at if trade.entry.fills else None
    rest = {name: value for name, value in exact.items() if name not in ORDERS}
    return {"trade": rest, **orders, "position_open_time": opened_at}


def _metrics(state: DeskState) -> dict[str, Any]:
    totals = state.totals
    return {
        "trades_opened": sum(each.opened for each in totals.values()),
        "trades_closed": sum(each.closed for each in totals.values()),
        "winning_trades": sum(each.winning for each in totals.values()),
        "losing_trades": sum(each.losing for each in totals.values()),
        "total_pnl_usd": float(state.book.gain_usd),
        "max_dd_usd": float(state.max_drawdown_usd),
        "per_symbol_pnl": {symbol: float(each.gain_usd) for symbol, each in totals.items()},
        "per_symbol_trades_opened": {symbol: each.opened for symbol, each in totals.items()},
        "per_symbol_trades_closed": {symbol: each.closed for symbol, each in totals.items()},
        "per_symbol_winning_trades": {symbol: each.winning for symbol, each in totals.items()},
        "portfolio_initial_capital": float(_capital(state)),
        "portfolio_equity": float(state.equity_usd),
    }


def _risk_guard(state: DeskState) -> dict[str, Any]:
    totals = state.totals
    trades = {symbol: list(state.trades(symbol=symbol)) for symbol in totals}
    return {
        "session_start_time": state.started_at,
        "daily_loss_usd": float(state.loss_today_usd),
        "per_symbol_loss": {symbol: float(max(Decimal(0), -each.gain_usd)) for symbol, each in totals.items()},
        "per_symbol_trades_rejected": {symbol: sum(each.rejections.values()) for symbol, each in totals.items()},
        "per_symbol_trades_allowed": {symbol: each.allowed for symbol, each in totals.items()},
        "per_symbol_capital_used": {
            symbol: float(sum((trade.bound_usd for trade in found), Decimal(0))) for symbol, found in trades.items()
        },
        "per_symbol_position_count": {symbol: len(found) for symbol, found in trades.items()},
    }


def _saved(config: Mapping[str, Any], positions: Sequence[Mapping[str, Any]], saved_at: datetime) -> SavedState:
    """The state of a snapshot's `config` and positions. Raises StateError when it has none."""
    try:
        active = {
            each["trade"]["number"]: {**each["trade"], **{name: each[column] for name, column in ORDERS.items()}}
            for each in positions
        }
        ended = orjson.loads(unpack(b64decode(config["ended"])))
        exact = {**config["desk"], "rules": config["rules"], "active": active, "ended": ended}
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"a snapshot of the desk is incomplete: {type(error).__name__} {error}") from error
    return SavedState(load_state(orjson.dumps(exact, option=orjson.OPT_NON_STR_KEYS)), saved_at)
