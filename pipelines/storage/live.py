"""What the live session reads and writes: ticks, generations, its own record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.storage.database import Connection
from pipelines.storage.queries import query

#: Whoever holds this lock is the one that writes the probability files.
SESSION_LOCK = 7_319_002


@dataclass(frozen=True)
class Bar:
    """Start of the minute (UTC), and its first and last price in USD."""

    opened_at: datetime
    open: float
    close: float


def take_session_lock(connection: Connection) -> bool:
    """Become the one session, for as long as the connection lives; False when another is."""
    row = connection.execute(query("try_session_lock"), [SESSION_LOCK]).fetchone()
    return bool(row and row[0])


def session_is_alive(connection: Connection) -> bool:
    """Whether some session holds the lock; a killed process loses it with its connection."""
    row = connection.execute(query("session_lock_is_held"), [SESSION_LOCK]).fetchone()
    return bool(row and row[0])


def start_session(connection: Connection, symbols: Sequence[str], run_id: str | None) -> tuple[int, list[str]]:
    """Record a session that holds the lock; those still recorded as running are dead, and marked as crashed.

    Returns the session's number and the Dagster runs of the dead ones.
    """
    row = connection.execute(query("start_session"), [run_id, list(symbols)]).fetchone()
    assert row is not None
    dead = connection.execute(query("crash_dead_sessions"), [row[0]]).fetchall()
    return int(row[0]), [run for (run,) in dead if run is not None]


def latest_bars(connection: Connection, symbol: str, count: int) -> list[Bar]:
    """A symbol's newest bars, oldest first."""
    rows = connection.execute(query("latest_bars"), [symbol, count]).fetchall()
    return [Bar(*row) for row in reversed(rows)]


def champion_generations(connection: Connection, symbols: Sequence[str]) -> dict[str, int]:
    """The published generation of the champion of each symbol that has one."""
    return dict(connection.execute(query("champion_generations"), [list(symbols)]).fetchall())


def minute_closes(connection: Connection, symbol: str, since: datetime) -> list[tuple[datetime, float]]:
    """The last tick of each minute after `since`, oldest first; one at the end of a minute belongs to that minute."""
    return [(row[0], row[1]) for row in connection.execute(query("minute_closes"), [symbol, since]).fetchall()]
