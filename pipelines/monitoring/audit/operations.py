"""Operations as an application does them, timed one by one: inserts, reads with and without an index, updates.

What is written goes into a table of the same shape and key as the ticks', committed as theirs is, and is deleted again.
"""

from datetime import UTC, datetime, timedelta
from functools import partial

from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, percentiles
from pipelines.errors import DatabaseError
from pipelines.monitoring.audit.timing import timed
from pipelines.storage.monitoring import probes
from pipelines.storage.monitoring.server_statistics import refused
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.prices.history import newest_bar_at

BATCH = 100
SECOND = timedelta(seconds=1)


def measure(connection: Connection, symbol: str, repeats: int) -> Measured:
    """Time each operation `repeats` times, reads on the bars of a symbol; none without bars."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    try:
        with refused(), probes.scratch_symbol(connection) as mine:
            figures += _writes(connection, mine, repeats)
    except DatabaseError as error:
        gaps.append(Gap("operations that write", str(error)))
    try:
        with refused():
            newest = newest_bar_at(connection, symbol)
            if newest is None:
                gaps.append(Gap("operations that read", f"{symbol} has no bars"))
            else:
                by_key = [(symbol, newest - timedelta(minutes=number)) for number in range(repeats)]
                figures += _figures("indexed_select", timed(partial(probes.read_bar, connection), by_key))
    except DatabaseError as error:
        gaps.append(Gap("operations that read", str(error)))
    return Measured(tuple(figures), tuple(gaps))


def _writes(connection: Connection, mine: str, repeats: int) -> list[Figure]:
    start = datetime(2000, 1, 1, tzinfo=UTC)
    singles = [(mine, start + number * SECOND, 1.0) for number in range(repeats)]
    batches = [
        [(mine, start + (repeats + BATCH * number + row) * SECOND, 1.0) for row in range(BATCH)]
        for number in range(max(5, repeats // 10))
    ]

    return [
        *_figures("single_insert", timed(partial(probes.insert, connection), singles)),
        *_figures("batch_insert_100", timed(partial(probes.insert_batch, connection), batches)),
        *_figures("update", timed(partial(probes.update, connection), [row[:2] for row in singles])),
    ]


def measure_scans(connection: Connection, symbol: str, repeats: int) -> Measured:
    """Time reads of all bars of a symbol, on one core: what a missing index costs."""
    if not repeats or newest_bar_at(connection, symbol) is None:
        return Measured()
    probes.use_one_core(connection)
    # Volumes that no bar has, and that no constraint rules out.
    by_volume = [(symbol, 1e30 + number * 1e15) for number in range(repeats)]
    return Measured(_figures("unindexed_select", timed(partial(probes.scan_bars, connection), by_volume)))


def _figures(operation: str, samples: list[float]) -> tuple[Figure, ...]:
    return percentiles("operation", Unit.MILLISECONDS, samples, operation=operation)
