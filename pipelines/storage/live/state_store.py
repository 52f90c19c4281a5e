"""Snapshots of session state in PostgreSQL; loading returns exactly the saved value.

A state is `{"session": {...}, "positions": {"active_orders": {key: {...}}}, "metrics": {...}, "risk_guard": {...}}`;
`metrics` and `risk_guard` may be None. Fields are named after the columns of the four snapshot tables. All are
required and no others are allowed: a field without a column would be lost.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import Any

from psycopg.rows import dict_row

from pipelines.errors import NoDataError, StateError
from pipelines.storage.postgres.connection import AsyncConnection, Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

State = Mapping[str, Any]


class SnapshotType(StrEnum):
    """Why a snapshot was saved."""

    INITIAL = "initial"
    PERIODIC = "periodic"
    ON_TRADE = "on_trade"
    ON_STOP = "on_stop"


SECTIONS = ("session", "positions", "metrics", "risk_guard")
SESSION = ("session_id", "session_start_time", "mode", "paper_campaign_id", "config", "loop_count", "status")
POSITION = ("trade", "order_a", "order_b", "position_open_time")
METRICS = (
    "trades_opened",
    "trades_closed",
    "winning_trades",
    "losing_trades",
    "total_pnl_usd",
    "max_dd_usd",
    "per_symbol_pnl",
    "per_symbol_trades_opened",
    "per_symbol_trades_closed",
    "per_symbol_winning_trades",
    "portfolio_initial_capital",
    "portfolio_equity",
)
RISK_GUARD = (
    "session_start_time",
    "daily_loss_usd",
    "per_symbol_loss",
    "per_symbol_trades_rejected",
    "per_symbol_trades_allowed",
    "per_symbol_capital_used",
    "per_symbol_position_count",
)
TIMES = {"session_start_time", "position_open_time"}
TEXTS = {"session_id", "mode", "paper_campaign_id", "status"}
COUNTS = {"loop_count", "trades_opened", "trades_closed", "winning_trades", "losing_trades"}
AMOUNTS = {"total_pnl_usd", "max_dd_usd", "portfolio_initial_capital", "portfolio_equity", "daily_loss_usd"}
#: Statement parameter of the risk guard's `session_start_time`; the session has one too.
RISK_TIME = "risk_session_start_time"


@dataclass(frozen=True)
class StateStore:
    """Saves and loads states through the caller's connection, inside its transaction if there is one."""

    connection: Connection

    def save(self, state: State, snapshot_type: SnapshotType) -> int:
        """Store a state as one snapshot in one statement; return its number.

        Raises StateError naming every field that cannot be stored, psycopg.Error when the database refuses it.
        """
        row = self.connection.execute(SQL["save_snapshot"], _parameters(state, snapshot_type)).fetchone()
        assert row is not None
        return int(row[0])

    def load_latest(self, session_id: str) -> dict[str, Any]:
        """The last state saved for a session, times in UTC. Raises NoDataError when there is none."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(SQL["latest_snapshot"], [session_id], prepare=True).fetchone()
            if row is None:
                raise NoDataError(f"session {session_id!r} has no snapshot")
            positions = cursor.execute(SQL["snapshot_positions"], [row["snapshot_id"]], prepare=True).fetchall()
        return {
            "session": {name: row[name] for name in SESSION},
            "positions": {
                "active_orders": {
                    position["position_key"]: {
                        "trade": position["trade_data"],
                        "order_a": position["order_a_data"],
                        "order_b": position["order_b_data"],
                        "position_open_time": position["position_open_time"],
                    }
                    for position in positions
                }
            },
            "metrics": {name: row[name] for name in METRICS} if row["has_metrics"] else None,
            "risk_guard": {name: row[_column(name)] for name in RISK_GUARD} if row["has_risk_guard"] else None,
        }


async def save_state(connection: AsyncConnection, state: State, snapshot_type: SnapshotType) -> int:
    """As `StateStore.save`, for asyncio."""
    cursor = await connection.execute(SQL["save_snapshot"], _parameters(state, snapshot_type))
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


def _column(name: str) -> str:
    return RISK_TIME if name == "session_start_time" else name


def _parameters(state: State, snapshot_type: SnapshotType) -> dict[str, Any]:
    """The statement's parameters. Raises StateError naming every field that cannot be stored."""
    problems: list[str] = []
    if not _fields(state, SECTIONS, "state", problems):
        raise StateError("; ".join(problems))
    parameters: dict[str, Any] = {"snapshot_type": SnapshotType(snapshot_type).value}
    parameters |= _section(state["session"], SESSION, "session", problems)
    parameters |= _positions(state["positions"], problems)
    for name, fields in (("metrics", METRICS), ("risk_guard", RISK_GUARD)):
        section = state[name]
        parameters[f"has_{name}"] = section is not None
        found = dict.fromkeys(fields) if section is None else _section(section, fields, name, problems)
        parameters |= {_column(key) if name == "risk_guard" else key: value for key, value in found.items()}
    if problems:
        raise StateError(f"the state cannot be saved: {'; '.join(problems)}")
    return parameters


def _positions(positions: object, problems: list[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in ("position_key", *POSITION)}
    if not _fields(positions, ("active_orders",), "positions", problems):
        return columns
    assert isinstance(positions, Mapping)
    orders = positions["active_orders"]
    if not isinstance(orders, Mapping):
        problems.append(f"positions.active_orders is {_kind(orders)}, expected a map")
        return columns
    for key, position in orders.items():
        path = f"positions.active_orders[{key!r}]"
        columns["position_key"].append(_text(key, path, problems))
        for name, value in _section(position, POSITION, path, problems).items():
            columns[name].append(value)
    return columns


def _section(section: object, fields: tuple[str, ...], path: str, problems: list[str]) -> dict[str, Any]:
    if not _fields(section, fields, path, problems):
        return {}
    assert isinstance(section, Mapping)
    return {name: _value(name, section[name], f"{path}.{name}", problems) for name in fields}


def _fields(section: object, fields: tuple[str, ...], path: str, problems: list[str]) -> bool:
    if not isinstance(section, Mapping):
        problems.append(f"{path} is {_kind(section)}, expected a map with {', '.join(fields)}")
        return False
    missing = [name for name in fields if name not in section]
    unknown = [str(name) for name in section if name not in fields]
    problems += [f"{path}.{name} is missing" for name in missing]
    problems += [f"{path}.{name} has no column" for name in unknown]
    return not missing and not unknown


def _value(name: str, value: object, path: str, problems: list[str]) -> Any:  # noqa: PLR0911 (one per kind of field)
    """One field as the driver expects it; None becomes NULL, also in JSON columns."""
    if value is None:
        return None
    if name in TIMES:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value
        problems.append(f"{path} is {_kind(value)}, expected a time with time zone")
        return None
    if name in TEXTS:
        return _text(value, path, problems)
    if name in COUNTS | AMOUNTS:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole or (name in AMOUNTS and isinstance(value, float) and isfinite(value)):
            return value
        problems.append(f"{path} is {_kind(value)}, expected a {'count' if name in COUNTS else 'finite number'}")
        return None
    return _json(value, path, problems)


def _text(value: object, path: str, problems: list[str]) -> str | None:
    if not isinstance(value, str):
        problems.append(f"{path} is {_kind(value)}, expected text")
        return None
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        problems.append(f"{path} holds a character that PostgreSQL cannot store")
        return None
    return value


def _json(value: object, path: str, problems: list[str]) -> str:  # noqa: PLR0911 (one per kind of value)
    """Value as JSON text that loads as exactly the same value.

    A float always gets a decimal point: jsonb stores numbers as decimals, so 1e23 would load as an integer.
    """
    match value:
        case None | bool():
            return json.dumps(value)
        case int():
            return str(value)
        case float() if isfinite(value):
            text = format(Decimal(repr(value)), "f")
            return text if "." in text else f"{text}.0"
        case str():
            return json.dumps(_text(value, path, problems), ensure_ascii=False)
        case list():
            return f"[{','.join(_json(item, f'{path}[{i}]', problems) for i, item in enumerate(value))}]"
        case dict():
            pairs = (
                f"{json.dumps(_text(key, f'key {key!r} of {path}', problems), ensure_ascii=False)}:"
                f"{_json(item, f'{path}.{key}', problems)}"
                for key, item in value.items()
            )
            return f"{{{','.join(pairs)}}}"
    problems.append(f"{path} is {_kind(value)}, which JSON cannot represent")
    return "null"


def _kind(value: object) -> str:
    return repr(value) if isinstance(value, int | float) or value is None else f"a {type(value).__name__}"
