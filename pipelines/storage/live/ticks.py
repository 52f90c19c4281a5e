"""Ticks in `live_data.price_log`: notifications and reads."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import Notify
from psycopg.abc import RV, PQGen

from pipelines.domain.prices.outliers import OUTLIER_CHANGE
from pipelines.domain.prices.price_range import PriceRange
from pipelines.storage.live.sessions import APPLICATION
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database, Role
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

GENERATION_CHANNEL = "strikecast_generation"
Notification = Notify
#: The driver ends each wait after 0.1 s, so that a signal can interrupt it. A wait of asyncio can be cancelled at any
#: time: ten wake-ups a second took 4 % of a session's CPU time for nothing.
IDLE_SECONDS = 60.0


class _ListeningConnection(AsyncConnection):
    """A connection that waits for its server without waking up."""

    async def wait(self, gen: PQGen[RV], interval: float = IDLE_SECONDS, timeout: float | None = None) -> RV:
        """As of the driver, with another interval."""
        return await super().wait(gen, interval, timeout)


async def notifications(database: Database) -> AsyncIterator[Notification]:
    """Notifications of new ticks (payload: the symbol) and published generations, until the connection breaks."""
    conninfo = database.conninfo(APPLICATION, Role.LIVE)
    async with await _ListeningConnection.connect(conninfo, autocommit=True) as connection:
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


async def read_seconds(
    connection: AsyncConnection, newest: Mapping[str, datetime], until: datetime, *, replayed: bool
) -> list[tuple[str, int, float]]:
    """The last tick of each second, later than each symbol's instant in `newest` and until `until`, oldest first.

    Columns: symbol, milliseconds since 1970 UTC, price (USD). `replayed` selects replayed or real ticks.
    """
    parameters = {"symbols": list(newest), "since": list(newest.values()), "until": until, "replayed": replayed}
    return await (await connection.execute(SQL["seconds"], parameters, prepare=True)).fetchall()


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
