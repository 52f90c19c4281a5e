"""Partitions by UTC day of the tables that live sessions write to."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from pipelines.storage.postgres.connection import AsyncConnection, Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Tables that are partitioned by UTC day, with their schemas.
PARTITIONED = {"price_log": "live_data", "answer": "live_data", "market_quote": "market_data"}
CREATE = {"live_data": "create_live_day", "market_data": "create_market_day"}
#: Partitions exist for today and this many days ahead; fewer than three raise an alert.
DAYS_AHEAD = 7


def upcoming_days(now: datetime) -> list[date]:
    """The UTC day of `now` (aware) and the next DAYS_AHEAD days."""
    today = now.astimezone(UTC).date()
    return [today + timedelta(days=offset) for offset in range(DAYS_AHEAD + 1)]


def create_day_partitions(
    connection: Connection, days: Sequence[date], tables: Sequence[str] = tuple(PARTITIONED)
) -> list[str]:
    """Create missing partitions of `tables`, one statement each; return the names of all of them."""
    named = [(table, day) for table in tables for day in days]
    for table, day in named:
        connection.execute(SQL[CREATE[PARTITIONED[table]]], [table, day])
    return [f"{table}_{day:%Y%m%d}" for table, day in named]


async def create_day_partitions_async(
    connection: AsyncConnection, days: Iterable[date], tables: Sequence[str] = tuple(PARTITIONED)
) -> None:
    """Create missing partitions of `tables`, one statement each."""
    for day in days:
        for table in tables:
            await connection.execute(SQL[CREATE[PARTITIONED[table]]], [table, day])


def count_days_ahead(connection: Connection, tables: Sequence[str] = tuple(PARTITIONED)) -> int:
    """Number of future days with a partition, of the one of `tables` with the fewest."""
    parents = [f"{PARTITIONED[table]}.{table}" for table in tables]
    [(days,)] = connection.execute(SQL["days_ahead"], [parents]).fetchall()
    return int(days)
