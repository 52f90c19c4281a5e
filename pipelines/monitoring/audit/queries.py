"""Hot queries: each explained once as it executes, and timed through a pool."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pipelines.domain.monitoring.audit.execution_plans import sequential_scans, shape
from pipelines.domain.monitoring.audit.measurements import Detection, Measurements, Unit, percentiles
from pipelines.errors import DatabaseError, StrikecastError
from pipelines.monitoring.audit.operations import timed
from pipelines.monitoring.audit.processes import Cost
from pipelines.storage.monitoring.hot_queries import HotQuery, hot_queries
from pipelines.storage.monitoring.server_statistics import database_errors, explain
from pipelines.storage.postgres.connection import Database, Role

CONNECTION_TIMEOUT_SECONDS = 5.0


def measure(database: Database, role: Role, symbols: Sequence[str], calls: int, cost: Cost) -> Measurements:
    """Explain and time every hot query; milliseconds from the request for a connection to the last row."""
    found = Measurements()
    with database.pool("audit", role, maximum=1) as pool:
        pool.open(wait=True, timeout=10)

        def measure_query(query: HotQuery) -> None:
            def execute(parameters: Sequence[Any]) -> None:
                with pool.connection(CONNECTION_TIMEOUT_SECONDS) as connection:
                    query.run(connection, parameters)

            with pool.connection(CONNECTION_TIMEOUT_SECONDS) as connection:
                plan = explain(connection, query.statement, query.parameters[0])
            for table in sequential_scans(plan):
                labels = {"query": query.name, "table": table}
                found.detections.append(Detection("plan", f"{query.name} {query.label} {table}", shape(plan), labels))
            samples, labels = timed(execute, query.parameters), {"query": query.name, "symbol": query.label}
            found.items += percentiles("query", Unit.MILLISECONDS, samples, shape(plan), **labels)

        try:
            with database_errors(), pool.connection() as connection:
                queries = hot_queries(connection, symbols, calls, datetime.now(UTC))
        except StrikecastError as error:
            found.add_gap("hot queries", str(error))
            return found
        if not queries:
            found.add_gap("hot queries", "no symbol has a published generation")
        for query in queries:
            try:
                with database_errors():
                    measure_query(query)
            except DatabaseError as error:
                found.add_gap(f"query {query.name} of {query.label}", str(error))
        with suppress(DatabaseError), database_errors(), pool.connection(CONNECTION_TIMEOUT_SECONDS) as connection:
            cost.add(connection)
    return found
