"""Single operations as an application executes them: inserts, reads with and without an index, updates.

Writes go to a scratch table of the shape and key of the tick table, are committed as ticks are, and deleted again.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from pipelines.domain.monitoring.audit.measurements import Measurements, Unit, percentiles
from pipelines.errors import DatabaseError
from pipelines.storage.monitoring import probes
from pipelines.storage.monitoring.server_statistics import database_errors
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import newest_bar_at

T = TypeVar("T")
BATCH = 100
SECOND = timedelta(seconds=1)
#: Pause after each call, as a multiple of its duration: leaves two thirds of a core, and of the server, to others.
PAUSES = 2.0


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


def measure(connection: Connection, symbol: str, repeats: int) -> Measurements:
    """Time each operation `repeats` times; reads are of the bars of `symbol`."""
    found = Measurements()
    try:
        with database_errors(), probes.scratch_symbol(connection) as scratch:
            _measure_writes(found, connection, scratch, repeats)
    except DatabaseError as error:
        found.add_gap("operations that write", str(error))
    try:
        with database_errors():
            newest = newest_bar_at(connection, symbol)
            if newest is None:
                found.add_gap("operations that read", f"{symbol} has no bars")
            else:
                keys = [(symbol, newest - timedelta(minutes=number)) for number in range(repeats)]
                _add(found, "indexed_select", timed(partial(probes.execute, connection, "bar_by_key"), keys))
    except DatabaseError as error:
        found.add_gap("operations that read", str(error))
    return found


def _measure_writes(found: Measurements, connection: Connection, symbol: str, repeats: int) -> None:
    start = datetime(2000, 1, 1, tzinfo=UTC)
    rows = [(symbol, start + number * SECOND, 1.0) for number in range(repeats + BATCH * max(5, repeats // 10))]
    singles, rest = rows[:repeats], rows[repeats:]
    batches = [rest[first : first + BATCH] for first in range(0, len(rest), BATCH)]
    _add(found, "single_insert", timed(partial(probes.execute, connection, "insert_scratch"), singles))
    _add(found, "batch_insert_100", timed(partial(probes.insert_batch, connection), batches))
    _add(found, "update", timed(partial(probes.execute, connection, "update_scratch"), [row[:2] for row in singles]))


def measure_scans(connection: Connection, symbol: str, repeats: int) -> Measurements:
    """Time reads of all bars of a symbol, on one core: the cost of a missing index."""
    found = Measurements()
    if repeats and newest_bar_at(connection, symbol) is not None:
        probes.execute(connection, "one_core")
        # Volumes that no bar has, and that no constraint excludes.
        volumes = [(symbol, 1e30 + number * 1e15) for number in range(repeats)]
        _add(found, "unindexed_select", timed(partial(probes.execute, connection, "bars_by_volume"), volumes))
    return found


def _add(found: Measurements, operation: str, samples: list[float]) -> None:
    found.items += percentiles("operation", Unit.MILLISECONDS, samples, operation=operation)
