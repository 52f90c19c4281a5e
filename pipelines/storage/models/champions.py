"""Champion and challenger of each symbol, and their history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import NoDataError
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


@dataclass(frozen=True)
class Champion:
    """Champion and challenger of a symbol. `since`: UTC, None before the first decision."""

    symbol: str
    champion: str
    challenger: str | None
    since: datetime | None
    reason: str


def read_champion(connection: Connection, symbol: str) -> Champion:
    """The champion of a symbol. Raises NoDataError when the symbol has no published generation."""
    with connection.cursor(row_factory=class_row(Champion)) as cursor:
        found = cursor.execute(SQL["champion"], [symbol]).fetchone()
    if found is None:
        raise NoDataError(f"no generation is published for {symbol}: run `strikecast build {symbol}`")
    return found


def champion_generations(connection: Connection, symbols: Sequence[str]) -> dict[str, int]:
    """The published generation of the champion of each symbol that has one."""
    return dict(connection.execute(SQL["champion_generations"], [list(symbols)]).fetchall())


def change_champion(
    connection: Connection,
    symbol: str,
    champion: str,
    challenger: str | None,
    reason: str,
    evidence: Mapping[str, Any],
    run_id: str | None,
) -> None:
    """Record a decision; a trigger notifies live sessions."""
    parameters = {
        "symbol": symbol,
        "champion": champion,
        "challenger": challenger,
        "reason": reason,
        "evidence": Jsonb(dict(evidence)),
        "run_id": run_id,
    }
    connection.execute(SQL["insert_champion_change"], parameters)
