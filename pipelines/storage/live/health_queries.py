"""Health of the live session and the hour's prices for `strikecast serve`, read with short timeouts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import psycopg
from psycopg import conninfo

from pipelines.domain.models.freshness import SessionState
from pipelines.errors import DatabaseError, ServerUnavailableError
from pipelines.storage.live.sessions import KEEPALIVES, session_state
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.postgres.connection import Connection, Database, Role, full_message, primary_message
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

AnyDatabase = TypeVar("AnyDatabase", bound=Database)

APPLICATION = "serve"
STATEMENT_TIMEOUT_SECONDS = 1
CONNECTION_TIMEOUTS = {"connect_timeout": 2, **KEEPALIVES}


@dataclass(frozen=True)
class DatabaseHealth:
    """Published generation of each symbol's champion, and the newest session."""

    generations: Mapping[str, int]
    session: SessionState


def with_timeouts(database: AnyDatabase) -> AnyDatabase:
    """The same database with short timeouts; connection timeouts that its URL states are kept."""
    timeouts = {name: value for name, value in CONNECTION_TIMEOUTS.items() if database.parameters.get(name) is None}
    return replace(
        database,
        url=conninfo.make_conninfo(database.url, **timeouts),
        lock_timeout_seconds=1,
        statement_timeout_seconds=STATEMENT_TIMEOUT_SECONDS,
    )


def read_health(database: Database, symbols: Sequence[str]) -> DatabaseHealth:
    """Published generations of `symbols`, and the newest live session. Raises DatabaseError."""
    with _connection(database) as connection:
        return DatabaseHealth(champion_generations(connection, symbols), session_state(connection))


def read_prices(database: Database, symbol: str, start: datetime, end: datetime) -> list[tuple[datetime, float]]:
    """The last price (USD) of each second from `start` to `end` (aware), oldest first. Raises DatabaseError."""
    parameters = {"symbol": symbol, "since": start, "until": end}
    with _connection(database) as connection:
        return [(row[0], row[1]) for row in connection.execute(SQL["prices_by_second"], parameters)]


@contextmanager
def _connection(database: Database) -> Iterator[Connection]:
    try:
        with database.connect(APPLICATION, Role.READER, autocommit=True) as connection:
            yield connection
    except psycopg.errors.QueryCanceled as error:
        limit = database.statement_timeout_seconds
        raise ServerUnavailableError(f"the database at {database.describe()} took longer than {limit} s") from error
    except psycopg.Error as error:
        message = primary_message(error) if error.sqlstate else full_message(error)
        raise DatabaseError(f"cannot read from the database at {database.describe()}: {message}") from error
