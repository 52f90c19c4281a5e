"""What is shown of the live session: its health and an hour of prices, read by one who cannot wait."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import conninfo

from pipelines.errors import DatabaseError, ServerUnavailableError
from pipelines.storage.live.sessions import current_session, session_is_alive
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.postgres.connection import Connection, Database, Role, full_message, primary_message
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

APPLICATION = "serve"
STATEMENT_TIMEOUT_SECONDS = 1
#: A server that is cut off, rather than gone, is given up within seconds; the kernel's default is two hours.
GIVE_UP = {
    "connect_timeout": 2,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}


@dataclass(frozen=True)
class SessionRecord:
    """The newest session's record; the heartbeat's age is told by the database's clock, which wrote it."""

    session_id: int
    status: str
    cycles: int
    heartbeat_age_seconds: float


@dataclass(frozen=True)
class DatabaseHealth:
    """Published generation of each symbol's champion; whether a session holds the lock; the newest session."""

    generations: Mapping[str, int]
    lock_is_held: bool
    session: SessionRecord | None


def with_timeouts(database: Database) -> Database:
    """The same database, for reads that are worth nothing when they take long."""
    given = {name: value for name, value in GIVE_UP.items() if database.parameters.get(name) is None}
    return replace(
        database,
        url=conninfo.make_conninfo(database.url, **given),
        lock_timeout_seconds=1,
        statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS,
    )


def read_health(database: Database, symbols: Sequence[str]) -> DatabaseHealth:
    """What the database knows of `symbols` and of the live session. Raises DatabaseError."""
    with _reading(database) as connection:
        generations = champion_generations(connection, symbols)
        alive = session_is_alive(connection)
        now = connection.execute(SQL["server_clock"]).fetchone()
        assert now is not None
        found = current_session(connection)
    if found is None:
        return DatabaseHealth(generations, alive, None)
    age = (now[0] - found["heartbeat_at"]).total_seconds()
    return DatabaseHealth(generations, alive, SessionRecord(found["session_id"], found["status"], found["cycles"], age))


def read_hour(database: Database, symbol: str, start: datetime, now: datetime) -> list[tuple[datetime, float]]:
    """A symbol's prices (USD) from `start` to `now` (aware), the last one of each second, oldest first.

    Raises DatabaseError.
    """
    parameters = {"symbol": symbol, "since": start, "until": now}
    with _reading(database) as connection:
        return [(row[0], row[1]) for row in connection.execute(SQL["hour_of_prices"], parameters)]


@contextmanager
def _reading(database: Database) -> Iterator[Connection]:
    try:
        with database.connect(APPLICATION, Role.READER, autocommit=True) as connection:
            yield connection
    except psycopg.errors.QueryCanceled as error:
        limit = database.statement_timeout_seconds
        raise ServerUnavailableError(f"the database at {database.describe()} took longer than {limit} s") from error
    except psycopg.Error as error:
        what = primary_message(error) if error.sqlstate else full_message(error)
        raise DatabaseError(f"cannot read from the database at {database.describe()}: {what}") from error
