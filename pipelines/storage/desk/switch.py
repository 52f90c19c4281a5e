"""The kill switch of the paper desk: an append-only table, whose newest row of a campaign applies."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipelines.errors import StateError
from pipelines.storage.postgres.connection import AsyncConnection, Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


@dataclass(frozen=True)
class Switch:
    """An operator's order at `at` (aware UTC): no trades are entered from then on, or they are again."""

    stopped: bool
    reason: str
    by: str
    at: datetime


def read_switch(connection: Connection, campaign: str) -> Switch | None:
    """The newest order to a campaign, None before the first."""
    with connection.cursor(row_factory=class_row(Switch)) as cursor:
        return cursor.execute(SQL["newest_switch"], [campaign]).fetchone()


async def read_switch_async(connection: AsyncConnection, campaign: str) -> Switch | None:
    """As `read_switch`."""
    async with connection.cursor(row_factory=class_row(Switch)) as cursor:
        await cursor.execute(SQL["newest_switch"], [campaign], prepare=True)
        return await cursor.fetchone()


def set_switch(connection: Connection, campaign: str, stopped: bool, reason: str, by: str) -> Switch:
    """Store an order; `by`: from where it came. Raises StateError without a campaign, reason or origin."""
    given = {"campaign": campaign, "reason": reason, "by": by}
    for name, text in given.items():
        if not text.strip() or "\x00" in text:
            raise StateError(f"{name} {text!r}, expected text")
    with connection.cursor(row_factory=class_row(Switch)) as cursor:
        [stored] = cursor.execute(SQL["insert_switch"], {**given, "stopped": stopped}).fetchall()
    return stored
