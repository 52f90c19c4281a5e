"""Ticks in `live_data.price_log`: notifications, reads, and the partitions by UTC day."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg import Notify

from pipelines.domain.prices.outliers import OUTLIER_CHANGE
from pipelines.domain.prices.price_range import PriceRange
from pipelines.storage.live.sessions import APPLICATION
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Tables of `live_data` that are partitioned by UTC day.
PARTITIONED = ("price_log", "answer")
#: Partitions exist for today and this many days ahead; fewer than three raise an alert.
DAYS_AHEAD = 7
GENERATION_CHANNEL = "strikecast_generation"
Notification = Notify


async def notifications(database: Database) -> AsyncIterator[Notification]:
    """Notifications of new ticks (payload: the symbol) and published generations, until the connection breaks."""
    conninfo = database.conninfo(APPLICATION, Role.LIVE)
    async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute(SQL["listen_ticks"])
        await connection.execute(SQL["listen_generations"])
        async for notification in connection.notifies():
            yield notification


async def read_new_ticks(
    connection: AsyncConnection, newest: Mapping[str, datetime], until: datetime, limit: int, *, replayed: bool
) -> list[tuple[Any, ...]]:
    """Ticks of each symbol later than its instant in `newest`, oldest first, at most `limit` per symbol until `until`.

    Of later ones only the last. `replayed` selects replayed or real ticks. Columns: symbol, ticked_at (aware UTC),
    price (USD), the time since its receipt (timedelta, which does not depend on the server's clock), and whether the
    tick has no features yet.
    """
    parameters = {
        "symbols": list(newest),
        "since": list(newest.values()),
        "until": until,
        "limit": limit,
        "replayed": replayed,
    }
    cursor = await connection.execute(SQL["live_tick_history"], parameters, prepare=True)
    return await cursor.fetchall()


async def read_last_ticks(
    connection: AsyncConnection, symbols: Sequence[str], *, replayed: bool
) -> list[tuple[str, datetime, float]]:
    """The last tick of each symbol that has one, of any age: symbol, ticked_at (aware UTC), price (USD).

    `replayed` selects replayed or real ticks.
    """
    return await (await connection.execute(SQL["last_ticks"], [list(symbols), replayed])).fetchall()


async def read_price_levels(
    connection: AsyncConnection, symbols: Sequence[str], before: datetime, *, replayed: bool
) -> dict[str, float]:
    """The level of each symbol's price in USD: the newest bar's close, or the last tick `before` (aware) without bars.

    `replayed` selects replayed or real ticks.
    """
    cursor = await connection.execute(SQL["price_levels"], [list(symbols), before, replayed])
    return dict(await cursor.fetchall())


def minute_prices(
    connection: Connection, symbol: str, since: datetime, *, replayed: bool
) -> list[tuple[datetime, float, PriceRange]]:
    """The last tick of each minute after `since`, oldest first, with the range of the minute's ticks.

    A tick at the end of a minute belongs to that minute. Ticks that differ from the minute's last by more than
    OUTLIER_CHANGE are not in its range. `replayed` selects replayed or real ticks.
    """
    parameters = {"symbol": symbol, "since": since, "replayed": replayed, "outlier_change": OUTLIER_CHANGE}
    rows = connection.execute(SQL["minute_prices"], parameters).fetchall()
    return [(at, price, PriceRange(high, low, ticks)) for at, price, high, low, ticks in rows]


def upcoming_days(now: datetime) -> list[date]:
    """The UTC day of `now` (aware) and the next DAYS_AHEAD days."""
    today = now.astimezone(UTC).date()
    return [today + timedelta(days=offset) for offset in range(DAYS_AHEAD + 1)]


def create_day_partitions(connection: Connection, days: Sequence[date]) -> list[str]:
    """Create missing partitions of all partitioned tables, one statement each; return the names of all of them."""
    for table in PARTITIONED:
        for day in days:
            connection.execute(SQL["create_day_partition"], [table, day])
    return [f"{table}_{day:%Y%m%d}" for table in PARTITIONED for day in days]


async def create_day_partitions_async(
    connection: AsyncConnection, days: Iterable[date], tables: Sequence[str] = PARTITIONED
) -> None:
    """Create missing partitions of `tables`, one statement each."""
    for day in days:
        for table in tables:
            await connection.execute(SQL["create_day_partition"], [table, day])


def count_days_ahead(connection: Connection) -> int:
    """Number of future days with a partition, of the table with the fewest."""
    [(days,)] = connection.execute(SQL["days_ahead"]).fetchall()
    return int(days)
