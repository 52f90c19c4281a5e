"""The statements that answers hang on: each explained once as it runs, and timed through a pool."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pipelines.domain.audit.figures import Figure, Gap, Measured, Unit, percentiles
from pipelines.domain.audit.findings import Finding
from pipelines.domain.audit.plans import sequential_scans, shape
from pipelines.domain.audit.slo import Area, Severity
from pipelines.errors import DatabaseError, StrikecastError
from pipelines.storage.audit import explain, refused
from pipelines.storage.database import Connection, Database, Role
from pipelines.storage.generations import active_generation, read_version
from pipelines.storage.live import champion_generations
from pipelines.storage.queries import query
from pipelines.storage.tables import lookup_parameters

MILLISECONDS = 1_000.0


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
                version.generation, int(rng.choice(version.buckets)), version.axes,
                float(rng.uniform(1, version.ttc_max_seconds)),
            )
            for _ in range(calls)
        ]  # fmt: skip
        found += [
            HotQuery("lookup_rows", symbol, spread),
            HotQuery("newest_bar", symbol, [[symbol]] * calls),
            HotQuery("latest_bars", symbol, [[symbol, 60]] * calls),
            HotQuery("live_tick_history", symbol, [[[symbol], [now - timedelta(minutes=31)], False, 20_000]] * calls),
        ]
    return found


def measure(database: Database, symbols: Sequence[str], calls: int) -> tuple[Measured, list[Finding]]:
    """Explain and time every hot query as a reader; milliseconds from asking the pool to the last row."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    findings: list[Finding] = []
    with database.pool("audit", Role.AUDITOR, maximum=1) as pool:
        pool.open(wait=True, timeout=10)
        with pool.connection() as connection:
            try:
                asked = hot_queries(connection, symbols, calls, datetime.now(UTC))
            except StrikecastError as error:
                return Measured((), (Gap("hot queries", str(error)),)), []
        if not asked:
            gaps.append(Gap("hot queries", "no symbol has a published generation"))
        for one in asked:
            try:
                with refused(), pool.connection() as connection:
                    plan = explain(connection, query(one.name), one.parameters[0])
                findings += _scans(one, plan)
                samples = []
                for parameters in one.parameters:
                    began = time.perf_counter()
                    with refused(), pool.connection() as connection:
                        connection.execute(query(one.name), parameters, prepare=True).fetchall()
                    samples.append(MILLISECONDS * (time.perf_counter() - began))
            except DatabaseError as error:
                gaps.append(Gap(f"query {one.name} of {one.label}", str(error)))
                continue
            figures += percentiles("query", Unit.MILLISECONDS, samples, shape(plan), query=one.name, symbol=one.label)
    return Measured(tuple(figures), tuple(gaps)), findings


def _scans(asked: HotQuery, plan: dict[str, Any]) -> list[Finding]:
    return [
        Finding(
            f"plan {asked.name} {asked.label} {table}", Severity.P1, Area.DATABASE,
            f"the query {asked.name} reads {table} from end to end", shape(plan),
            "an index is missing or invalid, or the table's statistics are old",
            "analyze the table; look for its index", command="strikecast vacuum",
        )
        for table in sequential_scans(plan)
    ]  # fmt: skip
