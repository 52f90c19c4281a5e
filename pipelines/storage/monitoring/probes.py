"""What an audit times: the queries that answers depend on, writes into a scratch table, reads of bars.

The scratch table has the shape and key of the tick table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, LiteralString
from uuid import uuid4

import numpy as np

from pipelines.storage.live import sessions, ticks
from pipelines.storage.models import tables
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.prices import history

SQL = Statements(__name__)
Statement = Literal["insert_scratch", "update_scratch", "bar_by_key", "bars_by_volume", "one_core"]
Parameters = Sequence[Any] | Mapping[str, Any]
#: Ticks that a session reads once, at its start.
HISTORY = timedelta(minutes=31)


@dataclass(frozen=True)
class HotQuery:
    """A statement with its name, the symbol that it reads, and the parameters of each call."""

    name: str
    statement: LiteralString
    label: str
    parameters: Sequence[Parameters]

    def run(self, connection: Connection, parameters: Parameters) -> None:
        """Execute the statement once and fetch all rows."""
        connection.execute(self.statement, parameters, prepare=True).fetchall()


def hot_queries(connection: Connection, symbols: Sequence[str], calls: int, now: datetime) -> list[HotQuery]:
    """Queries of each published symbol: its lookup at random buckets and TTCs, its bars and its ticks."""
    found = []
    rng = np.random.default_rng(1)
    for symbol in champion_generations(connection, symbols):
        version = read_version(connection, active_generation(connection, symbol))
        spread = [
            tables.lookup_parameters(
                version.generation,
                int(rng.choice(version.buckets)),
                version.axes,
                float(rng.uniform(1, version.ttc_max_seconds)),
            )
            for _ in range(calls)
        ]
        new_ticks = [
            {"symbols": [symbol], "since": [now - HISTORY], "until": now, "limit": 20_000, "replayed": False}
        ] * max(5, calls // 25)
        found += [
            HotQuery("lookup_rows", tables.SQL["lookup_rows"], symbol, spread),
            HotQuery("newest_bar", history.SQL["newest_bar"], symbol, [[symbol]] * calls),
            HotQuery("latest_bars", history.SQL["latest_bars"], symbol, [[symbol, 60]] * calls),
            HotQuery("live_tick_history", ticks.SQL["live_tick_history"], symbol, new_ticks),
        ]
    totals = HotQuery("latest_totals", sessions.SQL["latest_totals"], "all", [[]] * calls)
    return [*found, totals] if found else []


@contextmanager
def scratch_symbol(connection: Connection) -> Iterator[str]:
    """A symbol for this audit's scratch rows, which are deleted at the end, with those of killed audits."""
    symbol = f"AUDIT{uuid4().hex[:8].upper()}"
    try:
        yield symbol
    finally:
        connection.execute(SQL["delete_scratch"], [symbol])


def execute(connection: Connection, statement: Statement, parameters: Sequence[Any] = ()) -> None:
    """Execute a statement once and fetch all rows."""
    cursor = connection.execute(SQL[statement], parameters, prepare=True)
    if cursor.description is not None:
        cursor.fetchall()


def insert_batch(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Insert scratch rows (symbol, instant, price in USD) in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(SQL["insert_scratch"], rows)
