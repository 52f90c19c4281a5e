"""Ticks in `live_data.price_log`: notifications, reads, and partitions by day (UTC)."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg import Notify

from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Tables of `live_data` with a partition per day (UTC).
PARTITIONED = ("price_log", "answer")
#: A channel, the payload (a symbol), and the process id of the connection that announced it.
Announcement = Notify
GENERATION_CHANNEL = "strikecast_generation"


async def notifications(database: Database, application: str) -> AsyncIterator[Announcement]:
    """Announcements of ticks and of published generations, over a connection of its own, until that breaks."""
    where = database.conninfo(application, Role.LIVE)
    async with await AsyncConnection.connect(where, autocommit=True) as connection:
        await connection.execute(SQL["listen_ticks"])
        await connection.execute(SQL["listen_generations"])
        async for notification in connection.notifies():
            yield notification


async def read_new_ticks(
    connection: AsyncConnection, newest: Sequence[tuple[str, datetime]], limit: int, *, replayed: bool
) -> list[tuple[Any, ...]]:
    """Ticks of each symbol later than the instant beside it, oldest first, at most `limit` per symbol.

    Only replayed ticks, or only real ones. Columns: symbol, ticked_at, price (USD), received_at, and whether the tick
    has no features yet. Times are aware UTC.
    """
    parameters = [[symbol for symbol, _ in newest], [at for _, at in newest], replayed, limit]
    cursor = await connection.execute(SQL["live_tick_history"], parameters, prepare=True)
    return await cursor.fetchall()


def minute_closes(
    connection: Connection, symbol: str, since: datetime, *, replayed: bool
) -> list[tuple[datetime, float]]:
    """The last tick of each minute after `since`, oldest first; one at the end of a minute belongs to that minute.

    Only replayed ticks, or only real ones.
    """
    parameters = {"symbol": symbol, "since": since, "replayed": replayed}
    return [(row[0], row[1]) for row in connection.execute(SQL["minute_closes"], parameters).fetchall()]


def days_from(now: datetime, ahead: int) -> list[tuple[str, date]]:
    """Each partitioned table with the UTC day of `now` (aware) and each of the next days."""
    today = now.astimezone(UTC).date()
    return [(table, today + timedelta(days=number)) for table in PARTITIONED for number in range(ahead + 1)]


def create_partitions(connection: Connection, now: datetime, ahead: int) -> list[str]:
    """Create today's partitions and those of the next days, unless they exist; names of all of them."""
    days = days_from(now, ahead)
    for table, day in days:
        connection.execute(SQL["create_day_partition"], [table, day])
    return [f"{table}_{day:%Y%m%d}" for table, day in days]


async def create_partition(connection: AsyncConnection, table: str, day: date) -> None:
    """Create the partition of one day, unless it exists."""
    await connection.execute(SQL["create_day_partition"], [table, day])


def days_ahead(connection: Connection) -> int:
    """Number of coming days that have partitions, in the table that has the fewest."""
    row = connection.execute(SQL["days_ahead"]).fetchone()
    assert row is not None
    return int(row[0])
