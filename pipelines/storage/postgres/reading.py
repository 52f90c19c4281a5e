"""Read from a streaming replica or through a connection pooler, with a bound on the age of what is read.

Each connection is one read-only transaction, whose settings end with it. PgBouncer permits no startup options, and in
transaction mode another transaction may run on another server, so the state of the server is read in the transaction
that reads the data. Waiting keeps no snapshot, because every statement of a READ COMMITTED transaction takes its own.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import psycopg
from psycopg import conninfo
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from pipelines.errors import (
    DatabaseError,
    ReadCancelledError,
    ReplicaLagError,
    SchemaVersionError,
    ServerUnavailableError,
)
from pipelines.storage.postgres.connection import (
    CONNECT_TIMEOUT_SECONDS,
    IDLE_IN_TRANSACTION_TIMEOUT_SECONDS,
    Connection,
    Database,
    Role,
    primary_message,
    translate_errors,
)
from pipelines.storage.postgres.schema import found_revision, needed_revision
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)
Result = TypeVar("Result")

POLL_SECONDS = 0.2
#: Reads that a replica cancels are tried so often.
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
USE_PRIMARY = "or unset STRIKECAST_READ_URL to read from STRIKECAST_DATABASE_URL"


@dataclass(frozen=True)
class ReadState:
    """What a server has at `read_at`, by its clock.

    `as_of`: time of the newest commit that a replica has replayed, None before the first after its start; of a primary
    `read_at`. `caught_up`: whether all that was received is replayed while a receiver is connected; then an old `as_of`
    means that nothing was committed since, or that the connection broke less than `wal_receiver_timeout` ago.
    """

    is_replica: bool
    as_of: datetime | None
    read_at: datetime
    caught_up: bool

    @property
    def lag_seconds(self) -> float | None:
        """Seconds since the newest commit that is visible; 0 on a primary, None where it is not known."""
        return None if self.as_of is None else max((self.read_at - self.as_of).total_seconds(), 0.0)

    def __str__(self) -> str:
        if not self.is_replica:
            return "a primary"
        if self.as_of is None or self.lag_seconds is None:
            return "a replica that has replayed no commit since its start"
        text = f"a replica, as of {self.as_of:%F %T} UTC, {self.lag_seconds:,.1f} s ago"
        return f"{text}, with all that it has received" if self.caught_up else text


@dataclass(frozen=True)
class WalPosition:
    """How far the primary's WAL was written: a replica that has replayed it has all that was committed before.

    Of commits that do not wait for the disk (`synchronous_commit` off), those of the last 0.6 s may be missing.
    """

    database_id: str
    lsn: str
    server_started_at: datetime


@dataclass(frozen=True, repr=False)
class ReadDatabase(Database):
    """A database that is only read: a replica, or any address behind a pooler.

    A connection fails with ReplicaLagError where the replica lags by more than `max_lag_seconds`, or has not replayed
    `needed` or the commits up to `needed_at` (aware) within `wait_seconds`; with SchemaVersionError where its schema is
    not this code's. `report` is called with the state of each connection before it is used.
    """

    variable: ClassVar[str] = "STRIKECAST_READ_URL"

    max_lag_seconds: float = 60
    wait_seconds: float = 60
    needed: WalPosition | None = None
    needed_at: datetime | None = None
    report: Callable[[ReadState], None] = lambda _: None

    def conninfo(self, application: str, role: Role | None) -> str:
        """Connection string without startup options, which poolers refuse; the role is set in the transaction."""
        del role
        timeout = self.parameters.get("connect_timeout") or CONNECT_TIMEOUT_SECONDS
        return conninfo.make_conninfo(self.url, application_name=f"strikecast {application}", connect_timeout=timeout)

    @contextmanager
    def connect(self, application: str, role: Role | None, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection in a read-only transaction, once the server has what is needed.

        `autocommit` has no effect: a pooler keeps a server for a transaction only. Raises as `Database.connect` does,
        ReplicaLagError, and ReadCancelledError.
        """
        del autocommit
        with (
            _explained(self),
            translate_errors(self),
            _read_errors(self),
            psycopg.connect(self.conninfo(application, role), prepare_threshold=None) as connection,
        ):
            connection.read_only = True
            connection.execute(SQL["set_reading"], self._settings(role))
            self._wait(connection)
            yield connection

    def _settings(self, role: Role | None) -> dict[str, str]:
        return {
            "role": "none" if role is None else str(role),
            "statement_timeout": f"{self.statement_timeout_seconds}s",
            "lock_timeout": f"{self.lock_timeout_seconds}s",
            "idle_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_SECONDS}s",
        }

    def _wait(self, connection: Connection) -> None:
        """Wait until the server has what is needed. Raises DatabaseError otherwise."""
        self._require_same_database(connection)
        deadline = time.monotonic() + self.wait_seconds
        while True:
            state = read_state(connection)
            problem = self._not_replayed(connection, state) or self._outdated_schema(connection, state)
            if problem is None:
                break
            is_final = state.caught_up and (self.needed is None or not state.is_replica)
            if is_final or time.monotonic() >= deadline:
                self.report(state)
                raise problem
            time.sleep(POLL_SECONDS)
        if self.needed is not None:
            state = read_state(connection)  # what was needed may have been replayed after the state was read
        self.report(state)
        if not state.caught_up and (state.lag_seconds is None or state.lag_seconds > self.max_lag_seconds):
            raise ReplicaLagError(
                f"{self.describe()} is {state}; reads accept {self.max_lag_seconds:g} s: see whether it still follows "
                f"its primary (pg_stat_replication there), raise STRIKECAST_READ_LAG_SECONDS, {USE_PRIMARY}"
            )

    def _require_same_database(self, connection: Connection) -> None:
        if self.needed is not None and database_id(connection) != self.needed.database_id:
            raise DatabaseError(
                f"{self.describe()} (STRIKECAST_READ_URL) is not a replica of the database of STRIKECAST_DATABASE_URL, "
                "but another one: name a streaming replica of that server, and the same database on it"
            )

    def _not_replayed(self, connection: Connection, state: ReadState) -> DatabaseError | None:
        needed = self.needed
        if needed is not None:
            position = {"lsn": needed.lsn, "server_started_at": needed.server_started_at}
            if read_value(connection, SQL["has_position"], position):
                return None
            if not state.is_replica:
                return DatabaseError(
                    f"{self.describe()} (STRIKECAST_READ_URL) is no replica any more, and is not the server of "
                    f"STRIKECAST_DATABASE_URL: it was promoted; let it follow again, {USE_PRIMARY}"
                )
            return self._lag_error(state, f"what the primary had written (WAL {needed.lsn})")
        if self.needed_at is None or state.caught_up or (state.as_of is not None and state.as_of >= self.needed_at):
            return None
        return self._lag_error(state, f"all commits up to {self.needed_at:%F %T} UTC")

    def _lag_error(self, state: ReadState, what: str) -> ReplicaLagError:
        return ReplicaLagError(
            f"{self.describe()} is {state}, and has not replayed {what} within {self.wait_seconds:g} s: see whether it "
            f"still follows its primary (pg_stat_replication there), wait longer with STRIKECAST_READ_LAG_SECONDS, "
            f"{USE_PRIMARY}"
        )

    def _outdated_schema(self, connection: Connection, state: ReadState) -> SchemaVersionError | None:
        found, needed = found_revision(connection, self), needed_revision()
        if found == needed:
            return None
        where = f"{self.describe()} (STRIKECAST_READ_URL)"
        if found is None:
            return SchemaVersionError(
                f"{where} has no strikecast schema: name the database of strikecast, or its replica"
            )
        reason = "it has not replayed the migration yet, or was not migrated" if state.is_replica else "migrate it"
        return SchemaVersionError(f"{where} has schema {found}, this code needs {needed}: {reason}; {USE_PRIMARY[3:]}")


def read_state(connection: Connection) -> ReadState:
    """What the connection's server has."""
    return read_rows(connection, ReadState, SQL["read_state"])[0]


def database_id(connection: Connection) -> str:
    """Identity of a database, which it shares with its replicas."""
    return str(read_value(connection, SQL["database_id"]))


@dataclass(frozen=True)
class ReadReport:
    """Where is read, its state, and why it cannot be read from; `state` is None where no server answers."""

    database: str
    state: ReadState | None
    problem: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """The report for JSON; the state's values are None where it is not known."""
        state, lag = self.state, None if self.state is None else self.state.lag_seconds
        return {
            "database": self.database,
            "ok": self.problem is None,
            "problem": self.problem,
            "state": None if state is None else str(state),
            "is_replica": None if state is None else state.is_replica,
            "as_of": None if state is None else state.as_of,
            "lag_seconds": None if lag is None else round(lag, 3),
            "caught_up": None if state is None else state.caught_up,
        }


def inspect_reading(database: ReadDatabase, primary_id: str | None = None) -> ReadReport:
    """The state of a database that is read, and whether it is that of `primary_id`; raises nothing for its faults."""
    states: list[ReadState] = []
    problem = None
    try:
        with replace(database, wait_seconds=0.0, report=states.append).connect("status", None) as connection:
            if primary_id not in {None, database_id(connection)}:
                problem = f"{database.describe()} is not a replica of the database of STRIKECAST_DATABASE_URL"
    except DatabaseError as error:
        problem = str(error)
    return ReadReport(database.describe(), states[-1] if states else None, problem)


def wal_position(primary: Database) -> WalPosition:
    """How far a primary's WAL is written now. Raises ServerUnavailableError, and DatabaseError for a replica."""
    with primary.connect("position", None) as connection:
        row = connection.execute(SQL["position"]).fetchone()
        assert row is not None
        lsn, server_started_at = row
        if lsn is None:
            raise DatabaseError(f"{primary.describe()} ({primary.variable}) is a replica: name the primary there")
        return WalPosition(database_id(connection), lsn, server_started_at)


def noting(database: Database, report: Callable[[ReadState], None]) -> Database:
    """The same database, of which `report` gets the state of each connection if it is a ReadDatabase."""
    return replace(database, report=report) if isinstance(database, ReadDatabase) else database


def read(database: Database, application: str, call: Callable[[Connection], Result]) -> Result:
    """Call with a connection of the reader role; again where a replica cancelled the read.

    Raises ReadCancelledError after ATTEMPTS times.
    """

    def once() -> Result:
        with database.connect(application, Role.READER) as connection:
            return call(connection)

    retrying = Retrying(
        retry=retry_if_exception_type(ReadCancelledError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_fixed(PAUSE_SECONDS),
        reraise=True,
    )
    return retrying(once)


@contextmanager
def _explained(database: Database) -> Iterator[None]:
    """Say which setting names a server that does not answer."""
    try:
        yield
    except ServerUnavailableError as error:
        raise ServerUnavailableError(f"{error}; {database.variable} names it: start it, {USE_PRIMARY}") from error


@contextmanager
def _read_errors(database: Database) -> Iterator[None]:
    """Raise a DatabaseError for what only replicas and poolers refuse."""
    try:
        yield
    except psycopg.Error as error:
        if "statement pooling mode" in str(error):
            raise DatabaseError(
                f"{database.describe()} pools statements, and a read is a transaction: set pool_mode to session or "
                f"transaction, {USE_PRIMARY}"
            ) from error
        if "conflict with recovery" not in str(error):
            raise
        raise ReadCancelledError(
            f"{database.describe()} cancelled the read, which kept rows or a lock that its replay had to remove "
            f"({primary_message(error)}): try again; if it recurs, set hot_standby_feedback = on or a longer "
            f"max_standby_streaming_delay on the replica, {USE_PRIMARY}"
        ) from error
