"""Snapshots of session state in PostgreSQL; loading returns exactly the saved value.

A state is `{"session": {...}, "positions": {"active_orders": {key: {...}}}, "metrics": {...}, "risk_guard": {...}}`;
`metrics` and `risk_guard` may be None. Fields are named after the columns of the four snapshot tables. All are
required and no others are allowed: a field without a column would be lost.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any, LiteralString

from psycopg.rows import dict_row
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, FiniteFloat, ValidationError
from pydantic_core import PydanticCustomError

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


def _storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("text", "holds a character that PostgreSQL cannot store")
    return text


def _json_text(value: object) -> str | None:
    """JSON text that loads as exactly the same value; None stays None and becomes NULL."""
    problems: list[str] = []
    text = None if value is None else _to_json(value, "", problems)
    if problems:
        raise PydanticCustomError("json", "{problems}", {"problems": "; ".join(problems)})
    return text


def _to_json(value: object, path: str, problems: list[str]) -> str:
    """A float always gets a decimal point: jsonb stores numbers as decimals, so 1e23 would load as an integer."""
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case float() if isfinite(value):
            text = format(Decimal(repr(value)), "f")
            return text if "." in text else f"{text}.0"
        case str():
            try:
                return json.dumps(_storable(value), ensure_ascii=False)
            except PydanticCustomError as error:
                problems.append(f"{_shown(path)} {error.message()}")
        case list():
            return f"[{','.join(_to_json(item, f'{path}[{i}]', problems) for i, item in enumerate(value))}]"
        case dict():
            problems += [f"key {key!r} of {_shown(path)} is not text" for key in value if not isinstance(key, str)]
            pairs = (
                f"{_to_json(str(key), f'{path}.{key}', problems)}:{_to_json(item, f'{path}.{key}', problems)}"
                for key, item in value.items()
            )
            return f"{{{','.join(pairs)}}}"
        case _:
            kind = value if isinstance(value, float) else f"a {type(value).__name__}"
            problems.append(f"{_shown(path)} is {kind}, which JSON cannot represent")
    return ""


def _shown(path: str) -> str:
    return path.lstrip(".") or "the value"


Text = Annotated[str, AfterValidator(_storable)]
Json = Annotated[Any, AfterValidator(_json_text)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Session(_Section):
    session_id: Text | None
    session_start_time: AwareDatetime | None
    mode: Text | None
    paper_campaign_id: Text | None
    config: Json
    loop_count: int | None
    status: Text | None


class _Position(_Section):
    trade: Json
    order_a: Json
    order_b: Json
    position_open_time: AwareDatetime | None


class _Positions(_Section):
    active_orders: dict[Text, _Position]


class _Metrics(_Section):
    trades_opened: int | None
    trades_closed: int | None
    winning_trades: int | None
    losing_trades: int | None
    total_pnl_usd: FiniteFloat | None
    max_dd_usd: FiniteFloat | None
    per_symbol_pnl: Json
    per_symbol_trades_opened: Json
    per_symbol_trades_closed: Json
    per_symbol_winning_trades: Json
    portfolio_initial_capital: FiniteFloat | None
    portfolio_equity: FiniteFloat | None


class _RiskGuard(_Section):
    session_start_time: AwareDatetime | None
    daily_loss_usd: FiniteFloat | None
    per_symbol_loss: Json
    per_symbol_trades_rejected: Json
    per_symbol_trades_allowed: Json
    per_symbol_capital_used: Json
    per_symbol_position_count: Json


class _State(_Section):
    session: _Session
    positions: _Positions
    metrics: _Metrics | None
    risk_guard: _RiskGuard | None


METRICS = tuple(_Metrics.model_fields)
RISK_GUARD = tuple(_RiskGuard.model_fields)


@dataclass(frozen=True)
class StateStore:
    """Saves and loads states through the caller's connection, inside its transaction if there is one."""

    connection: Connection

    def save(self, state: State, snapshot_type: SnapshotType) -> int:
        """Store a state as one snapshot in one statement; return its number.

        Raises StateError naming every field that cannot be stored, psycopg.Error when the database refuses it.
        """
        cursor = self.connection.execute(*save_statement(state, snapshot_type))
        [(number,)] = cursor.fetchall()
        return int(number)

    def load_latest(self, session_id: str) -> dict[str, Any]:
        """The last state saved for a session, times in UTC. Raises NoDataError when there is none."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(SQL["latest_snapshot"], [session_id], prepare=True).fetchone()
            if row is None:
                raise NoDataError(f"session {session_id!r} has no snapshot")
            positions = cursor.execute(SQL["snapshot_positions"], [row["snapshot_id"]], prepare=True).fetchall()
        return {
            "session": {name: row[name] for name in _Session.model_fields},
            "positions": {
                "active_orders": {
                    position["position_key"]: {name: position[name] for name in _Position.model_fields}
                    for position in positions
                }
            },
            "metrics": {name: row[name] for name in METRICS} if row["has_metrics"] else None,
            "risk_guard": {name: row[_column(name)] for name in RISK_GUARD} if row["has_risk_guard"] else None,
        }


async def save_state(connection: AsyncConnection, state: State, snapshot_type: SnapshotType) -> None:
    """As `StateStore.save`, for asyncio."""
    await connection.execute(*save_statement(state, snapshot_type))


def save_statement(state: State, snapshot_type: SnapshotType) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that stores a state, and its parameters. Raises StateError naming every field that cannot be."""
    try:
        valid = _State.model_validate(state)
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
        raise StateError(f"the state cannot be saved: {'; '.join(problems)}") from error
    positions = valid.positions.active_orders
    parameters = {
        "snapshot_type": SnapshotType(snapshot_type).value,
        **dict(valid.session),
        "position_key": list(positions),
        **{name: [getattr(one, name) for one in positions.values()] for name in _Position.model_fields},
        "has_metrics": valid.metrics is not None,
        **{name: getattr(valid.metrics, name, None) for name in METRICS},
        "has_risk_guard": valid.risk_guard is not None,
        **{_column(name): getattr(valid.risk_guard, name, None) for name in RISK_GUARD},
    }
    return SQL["save_snapshot"], parameters


def _column(name: str) -> str:
    """Name of a risk guard's field in statements, where the session has a start time too."""
    return "risk_session_start_time" if name == "session_start_time" else name
