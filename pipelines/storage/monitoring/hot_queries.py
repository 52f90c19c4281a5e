"""Hot queries: the statements that answers depend on, with parameters to explain and time them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import numpy as np

from pipelines.storage.live import sessions, ticks
from pipelines.storage.models import tables
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices import history

HISTORY = timedelta(minutes=31)


@dataclass(frozen=True)
class HotQuery:
    """A statement with its name, the symbol that it reads, and the parameters of each call."""

    name: str
    statement: LiteralString
    label: str
    parameters: Sequence[Sequence[Any]]

    def run(self, connection: Connection, parameters: Sequence[Any]) -> None:
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
        # Half an hour of ticks, which a session reads once, at its start.
        new_ticks = [[[symbol], [now - HISTORY], False, 20_000]] * max(5, calls // 25)
        found += [
            HotQuery("lookup_rows", tables.SQL["lookup_rows"], symbol, spread),
            HotQuery("newest_bar", history.SQL["newest_bar"], symbol, [[symbol]] * calls),
            HotQuery("latest_bars", history.SQL["latest_bars"], symbol, [[symbol, 60]] * calls),
            HotQuery("live_tick_history", ticks.SQL["live_tick_history"], symbol, new_ticks),
        ]
    totals = HotQuery("latest_totals", sessions.SQL["latest_totals"], "all", [[]] * calls)
    return [*found, totals] if found else []
