"""The statements that answers hang on: each explained once as it runs, and timed through a pool."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np

from pipelines.domain.monitoring.audit.execution_plans import sequential_scans, shape
from pipelines.domain.monitoring.audit.findings import Finding, Found
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, percentiles
from pipelines.domain.monitoring.audit.targets import Area, Severity
from pipelines.errors import DatabaseError, StrikecastError
from pipelines.monitoring.audit.processes import Costs
from pipelines.monitoring.audit.timing import timed
from pipelines.storage.live.sessions import champion_generations
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import lookup_parameters
from pipelines.storage.monitoring.server_statistics import explain, refused
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.statements import query

#: For a connection; a server that is gone is not waited for.
PATIENCE_SECONDS = 5.0
HISTORY = timedelta(minutes=31)


@dataclass(frozen=True)
class HotQuery:
    """A statement by its name, with parameters for each of so many calls, and what it is for."""

    name: str
    label: str
    parameters: Sequence[Sequence[Any]]


def hot_queries(connection: Connection, symbols: Sequence[str], calls: int, now: datetime) -> list[HotQuery]:
    """Reads of each published symbol: of its lookup, spread as a day's questions are, of its bars and of its ticks."""
    found = []
    rng = np.random.default_rng(1)
    for symbol in champion_generations(connection, symbols):
        version = read_version(connection, active_generation(connection, symbol))
        spread = [
            lookup_parameters(
                version.generation,
                int(rng.choice(version.buckets)),
                version.axes,
                float(rng.uniform(1, version.ttc_max_seconds)),
            )
            for _ in range(calls)
        ]
        found += [
            HotQuery("lookup_rows", symbol, spread),
            HotQuery("newest_bar", symbol, [[symbol]] * calls),
            HotQuery("latest_bars", symbol, [[symbol, 60]] * calls),
            # Half an hour of ticks: what a session reads once, as it starts.
            HotQuery("live_tick_history", symbol, [[[symbol], [now - HISTORY], False, 20_000]] * max(5, calls // 25)),
        ]
    return [*found, HotQuery("latest_totals", "all", [[]] * calls)] if found else []


def measure(database: Database, role: Role, symbols: Sequence[str], calls: int, costs: Costs) -> Found:
    """Explain and time every hot query; milliseconds from asking the pool to the last row."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    findings: list[Finding] = []
    with database.pool("audit", role, maximum=1) as pool:
        pool.open(wait=True, timeout=10)

        def ask(name: str, parameters: Sequence[Any]) -> None:
            with refused(), pool.connection(timeout=PATIENCE_SECONDS) as connection:
                connection.execute(query(name), parameters, prepare=True).fetchall()

        with pool.connection() as connection:
            try:
                asked = hot_queries(connection, symbols, calls, datetime.now(UTC))
            except StrikecastError as error:
                return Measured((), (Gap("hot queries", str(error)),)), []
        if not asked:
            gaps.append(Gap("hot queries", "no symbol has a published generation"))
        for one in asked:
            try:
                with refused(), pool.connection(timeout=PATIENCE_SECONDS) as connection:
                    plan = explain(connection, query(one.name), one.parameters[0])
                findings += _scans(one, plan)
                samples = timed(partial(ask, one.name), one.parameters)
            except DatabaseError as error:
                gaps.append(Gap(f"query {one.name} of {one.label}", str(error)))
                continue
            figures += percentiles("query", Unit.MILLISECONDS, samples, shape(plan), query=one.name, symbol=one.label)
        with suppress(DatabaseError), refused(), pool.connection(timeout=PATIENCE_SECONDS) as connection:
            costs.add(connection)
    return Measured(tuple(figures), tuple(gaps)), findings


def _scans(asked: HotQuery, plan: dict[str, Any]) -> list[Finding]:
    return [
        Finding(
            f"plan {asked.name} {asked.label} {table}",
            Severity.P1,
            Area.DATABASE,
            f"the query {asked.name} reads {table} from end to end",
            shape(plan),
            "an index is missing or invalid, or the table's statistics are old",
            "analyze the table; look for its index",
            command="strikecast vacuum",
        )
        for table in sequential_scans(plan)
    ]
