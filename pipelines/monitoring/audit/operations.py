"""Timed operations: hot queries with their plans, and single reads and writes as an application executes them.

Writes go to a scratch table of the shape and key of the tick table, are committed as ticks are, and deleted again.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from pipelines.domain.monitoring.audit.detections import sequential_scans, shape
from pipelines.domain.monitoring.audit.measurements import Detection, Measurements, Unit, percentiles
from pipelines.monitoring.audit.processes import Cost
from pipelines.storage.monitoring import probes
from pipelines.storage.monitoring.measurements import explain
from pipelines.storage.postgres.connection import Connection, Database, DriverError, Role, primary_message
from pipelines.storage.prices.history import newest_bar_at

T = TypeVar("T")
BATCH = 100
SECOND = timedelta(seconds=1)
#: Pause after each call, as a multiple of its duration: leaves two thirds of a core, and of the server, to others.
PAUSES = 2.0
CONNECTION_TIMEOUT_SECONDS = 5.0


def timed(call: Callable[[T], object], arguments: Iterable[T], pauses: float = PAUSES) -> list[float]:
    """Milliseconds of `call` with each of the arguments."""
    samples = []
    for argument in arguments:
        began = time.perf_counter()
        call(argument)
        seconds = time.perf_counter() - began
        samples.append(1_000.0 * seconds)
        time.sleep(pauses * seconds)
    return samples


def measure_writes(connection: Connection, repeats: int) -> Measurements:
    """Time inserts, batches of inserts and updates."""
    found, start = Measurements(), datetime(2000, 1, 1, tzinfo=UTC)
    with probes.scratch_symbol(connection) as symbol:
        rows = [(symbol, start + number * SECOND, 1.0) for number in range(repeats + BATCH * max(5, repeats // 10))]
        singles, rest = rows[:repeats], rows[repeats:]
        batches = [rest[first : first + BATCH] for first in range(0, len(rest), BATCH)]
        keys = [row[:2] for row in singles]
        _add(found, "single_insert", partial(probes.execute, connection, "insert_scratch"), singles)
        _add(found, "batch_insert_100", partial(probes.insert_batch, connection), batches)
        _add(found, "update", partial(probes.execute, connection, "update_scratch"), keys)
    return found


def measure_reads(connection: Connection, symbol: str, repeats: int) -> Measurements:
    """Time reads of single bars of a symbol."""
    found, newest = Measurements(), newest_bar_at(connection, symbol)
    if newest is None:
        found.add_gap("operations that read", f"{symbol} has no bars")
    else:
        keys = [(symbol, newest - timedelta(minutes=number)) for number in range(repeats)]
        _add(found, "indexed_select", partial(probes.execute, connection, "bar_by_key"), keys)
    return found


def measure_scans(connection: Connection, symbol: str, repeats: int) -> Measurements:
    """Time reads of all bars of a symbol, on one core: the cost of a missing index."""
    found = Measurements()
    if repeats and newest_bar_at(connection, symbol) is not None:
        probes.execute(connection, "one_core")
        # Volumes that no bar has, and that no constraint excludes.
        volumes = [(symbol, 1e30 + number * 1e15) for number in range(repeats)]
        _add(found, "unindexed_select", partial(probes.execute, connection, "bars_by_volume"), volumes)
    return found


def _add(found: Measurements, operation: str, call: Callable[[T], object], arguments: Sequence[T]) -> None:
    found.items += percentiles("operation", Unit.MILLISECONDS, timed(call, arguments), operation=operation)


def measure_queries(database: Database, role: Role, symbols: Sequence[str], calls: int, cost: Cost) -> Measurements:
    """Explain every hot query once, and time it; milliseconds from the request for a connection to the last row."""
    found = Measurements()
    with database.pool("audit", role, maximum=1) as pool:
        pool.open(wait=True, timeout=10)

        def measure_query(query: probes.HotQuery) -> None:
            def execute(parameters: probes.Parameters) -> None:
                with pool.connection(CONNECTION_TIMEOUT_SECONDS) as connection:
                    query.run(connection, parameters)

            with pool.connection(CONNECTION_TIMEOUT_SECONDS) as connection:
                plan = explain(connection, query.statement, query.parameters[0])
            for table in sequential_scans(plan):
                labels = {"query": query.name, "table": table}
                found.detections.append(Detection("plan", f"{query.name} {query.label} {table}", shape(plan), labels))
            samples, labels = timed(execute, query.parameters), {"query": query.name, "symbol": query.label}
            found.items += percentiles("query", Unit.MILLISECONDS, samples, shape(plan), **labels)

        with pool.connection() as connection:
            queries = probes.hot_queries(connection, symbols, calls, datetime.now(UTC))
        if not queries:
            found.add_gap("hot queries", "no symbol has a published generation")
        for query in queries:
            try:
                measure_query(query)
            except DriverError as error:
                found.add_gap(f"query {query.name} of {query.label}", primary_message(error))
        with suppress(DriverError), pool.connection(CONNECTION_TIMEOUT_SECONDS) as connection:
            cost.add(connection)
    return found
