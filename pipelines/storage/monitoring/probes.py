"""Single operations that an audit times: writes into a scratch table, reads of bars with and without an index.

The scratch table has the shape and key of the tick table; its rows are committed as ticks are, and deleted again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import uuid4

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

Row = tuple[str, datetime, float]


@contextmanager
def scratch_symbol(connection: Connection) -> Iterator[str]:
    """A symbol of this audit's own, whose scratch rows are deleted at the end, with those of killed audits."""
    symbol = f"AUDIT{uuid4().hex[:8].upper()}"
    try:
        yield symbol
    finally:
        connection.execute(SQL["delete_scratch"], [symbol])


def insert(connection: Connection, row: Row) -> None:
    """Insert one scratch row: symbol, instant, price in USD."""
    connection.execute(SQL["insert_scratch"], row, prepare=True)


def insert_batch(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert scratch rows in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(SQL["insert_scratch"], rows)


def update(connection: Connection, key: tuple[str, datetime]) -> None:
    """Update one scratch row by its key."""
    connection.execute(SQL["update_scratch"], key, prepare=True)


def read_bar(connection: Connection, key: tuple[str, datetime]) -> None:
    """Read one bar by its key."""
    connection.execute(SQL["bar_by_key"], key, prepare=True).fetchall()


def scan_bars(connection: Connection, symbol_and_volume: tuple[str, float]) -> None:
    """Read all bars of a symbol, as no index helps to find a volume."""
    connection.execute(SQL["bars_by_volume"], symbol_and_volume, prepare=True).fetchall()


def use_one_core(connection: Connection) -> None:
    """Run the statements of a connection without parallel workers."""
    connection.execute(SQL["one_core"])
