"""Single operations that an audit times: writes into a scratch table, reads of bars with and without an index.

The scratch table has the shape and key of the tick table.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from uuid import uuid4

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)
Statement = Literal["insert_scratch", "update_scratch", "bar_by_key", "bars_by_volume", "one_core"]


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
