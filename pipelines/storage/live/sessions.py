"""What the live session reads and writes: ticks, generations, its own record."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from pipelines.errors import DatabaseError
from pipelines.storage.postgres.connection import AsyncConnection, Connection, Database
from pipelines.storage.postgres.statements import query

#: Whoever holds this lock is the one that writes.
SESSION_LOCK = 7_319_002
#: Held with the hash of a Dagster run's id by the process of that run, whether it waits or writes.
RUN_LOCK = 7_319_003
#: Tables of `live_data` with a partition per day (UTC).
PARTITIONED = ("price_log", "answer")


@dataclass(frozen=True)
class Bar:
    """Start of the minute (UTC), and its first and last price in USD."""

    opened_at: datetime
    open: float
    close: float


@dataclass(frozen=True)
class LockState:
    """Who holds the session lock (None: nobody), how many wait for it, and the newest session recorded as running.

    `hands_over_at` is aware UTC; `heartbeat_age_seconds` by the server's clock.
    """

    holder_pid: int | None
    waiting: int
    session: int | None
    run_id: str | None
    hands_over_at: datetime | None
    heartbeat_age_seconds: float | None


async def read_lock_state(connection: AsyncConnection) -> LockState:
    """The session lock now."""
    cursor = await connection.execute(query("session_lock_state"), {"lock": SESSION_LOCK})
    row = await cursor.fetchone()
    assert row is not None
    return LockState(*row)


def lock_state(connection: Connection) -> LockState:
    """As `read_lock_state`, without asyncio."""
    row = connection.execute(query("session_lock_state"), {"lock": SESSION_LOCK}).fetchone()
    assert row is not None
    return LockState(*row)


def session_is_alive(connection: Connection) -> bool:
    """Whether some session holds the lock; a killed process loses it with its connection."""
    return lock_state(connection).holder_pid is not None


def run_is_alive(connection: Connection, run_id: str) -> bool:
    """Whether the process of a run of the live job lives, waiting or writing."""
    row = connection.execute(query("run_lock_is_held"), {"class": RUN_LOCK, "run_id": run_id}).fetchone()
    return bool(row and row[0])


@contextmanager
def holding_run_lock(database: Database, run_id: str) -> Iterator[None]:
    """Say that the process of a run lives, for as long as it does; without a database nobody can be told."""
    with ExitStack() as stack:
        with suppress(DatabaseError):
            trying = Retrying(
                retry=retry_if_exception_type(DatabaseError),
                wait=wait_fixed(0.5),
                stop=stop_after_delay(10),
                reraise=True,
            )
            # Closed, not committed: whoever uses this must not fail when the server went away meanwhile.
            connection = stack.enter_context(closing(trying(database.open, "run")))
            connection.execute(query("try_run_lock"), [RUN_LOCK, run_id])
        yield


def latest_bars(connection: Connection, symbol: str, count: int) -> list[Bar]:
    """A symbol's newest bars, oldest first."""
    rows = connection.execute(query("latest_bars"), [symbol, count]).fetchall()
    return [Bar(*row) for row in reversed(rows)]


def champion_generations(connection: Connection, symbols: Sequence[str]) -> dict[str, int]:
    """The published generation of the champion of each symbol that has one."""
    return dict(connection.execute(query("champion_generations"), [list(symbols)]).fetchall())


def minute_closes(
    connection: Connection, symbol: str, since: datetime, *, replayed: bool
) -> list[tuple[datetime, float]]:
    """The last tick of each minute after `since`, oldest first; one at the end of a minute belongs to that minute.

    Only replayed ticks, or only real ones.
    """
    parameters = {"symbol": symbol, "since": since, "replayed": replayed}
    return [(row[0], row[1]) for row in connection.execute(query("minute_closes"), parameters).fetchall()]


async def latest_totals(connection: AsyncConnection) -> Mapping[str, Any] | None:
    """The counts that a live session saved last, whichever it was; None when none has."""
    row = await (await connection.execute(query("latest_totals"))).fetchone()
    return None if row is None else dict(row[0])


def make_days(connection: Connection, now: datetime, ahead: int) -> list[str]:
    """Create today's partitions and those of the next days, unless they exist; names of all of them."""
    days = [(now.astimezone(UTC) + timedelta(days=number)).date() for number in range(ahead + 1)]
    for table in PARTITIONED:
        for day in days:
            connection.execute(query("create_day_partition"), [table, day])
    return [f"{table}_{day:%Y%m%d}" for table in PARTITIONED for day in days]


def days_made(connection: Connection) -> int:
    """For how many days to come there are partitions, of the table that has the fewest."""
    row = connection.execute(query("days_ahead")).fetchone()
    assert row is not None
    return int(row[0])
