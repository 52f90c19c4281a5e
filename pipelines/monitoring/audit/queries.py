"""The statements that answers hang on: each explained once as it runs, and timed through a pool."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pipelines.domain.monitoring.audit.execution_plans import sequential_scans, shape
from pipelines.domain.monitoring.audit.findings import Finding, Found
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, percentiles
from pipelines.domain.monitoring.audit.targets import Area, Severity
from pipelines.errors import DatabaseError, StrikecastError
from pipelines.monitoring.audit.processes import Costs
from pipelines.monitoring.audit.timing import timed
from pipelines.storage.monitoring.hot_queries import HotQuery, hot_queries
from pipelines.storage.monitoring.server_statistics import explain, refused
from pipelines.storage.postgres.connection import Database, Role

#: For a connection; a server that is gone is not waited for.
PATIENCE_SECONDS = 5.0


def measure(database: Database, role: Role, symbols: Sequence[str], calls: int, costs: Costs) -> Found:
    """Explain and time every hot query; milliseconds from asking the pool to the last row."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    findings: list[Finding] = []
    with database.pool("audit", role, maximum=1) as pool:
        pool.open(wait=True, timeout=10)

        def ask(one: HotQuery, parameters: Sequence[Any]) -> None:
            with refused(), pool.connection(timeout=PATIENCE_SECONDS) as connection:
                one.run(connection, parameters)

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
                    plan = explain(connection, one.statement, one.parameters[0])
                findings += _scans(one, plan)
                samples = timed(partial(ask, one), one.parameters)
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
