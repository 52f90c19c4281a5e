"""Connections: every one names its application, its role, and how long it may take."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import psycopg
from psycopg import conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pipelines.errors import DatabaseError, ServerUnavailableError, single_line

Connection = psycopg.Connection[tuple[Any, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
AsyncPool = AsyncConnectionPool[AsyncConnection]
#: What the driver raises, for the live session, which must tell a lost server from a refused statement.
DriverError = psycopg.Error
OperationalError = psycopg.OperationalError

CONNECT_TIMEOUT_SECONDS = 10
MINIMUM_SERVER_VERSION = 150_000
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS = 600


class Role(StrEnum):
    """What a connection may do; the roles are made by the migrations."""

    OWNER = "strikecast_owner"
    PIPELINE = "strikecast_pipeline"
    LIVE = "strikecast_live"
    READER = "strikecast_reader"
    BACKUP = "strikecast_backup"
    AUDITOR = "strikecast_auditor"


@dataclass(frozen=True, repr=False)
class Database:
    """Where the database is. `url` may hold a password, so it is not shown by `repr`; use `described`."""

    url: str
    statement_timeout_seconds: int = 600
    lock_timeout_seconds: int = 10

    @property
    def parameters(self) -> dict[str, Any]:
        """The URL's parts, by libpq's names."""
        try:
            return conninfo.conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:
            raise DatabaseError("STRIKECAST_DATABASE_URL is not a PostgreSQL URL") from None

    def describe(self) -> str:
        """Host, port and database, without a password."""
        parts = self.parameters
        where = parts.get("host") or "local socket"
        port = f":{parts['port']}" if parts.get("port") else ""
        return f"{where}{port}/{parts.get('dbname') or parts.get('user') or ''}"

    def url_for(self, database: str) -> str:
        """URL of another database on the same server."""
        parts = {key: str(value) for key, value in self.parameters.items() if value is not None}
        user, password = parts.pop("user", ""), parts.pop("password", "")
        host, port = parts.pop("host", ""), parts.pop("port", "")
        parts.pop("dbname", None)
        options = dict(parts)
        if host.startswith("/"):
            options["host"], host = host, ""
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        query = "&".join(f"{key}={quote(value, safe='/')}" for key, value in options.items())
        address = f"{login}@{host}" if login else host
        return f"postgresql://{address}{f':{port}' if port else ''}/{database}{f'?{query}' if query else ''}"

    def conninfo(self, application: str, role: Role | None) -> str:
        """Connection string of a task: its name, role and timeouts."""
        given = self.parameters
        options = [str(given.get("options") or "")]
        options += [f"-c {name}={value}" for name, value in self._session(role).items()]
        return conninfo.make_conninfo(
            self.url,
            application_name=f"strikecast {application}",
            connect_timeout=given.get("connect_timeout") or CONNECT_TIMEOUT_SECONDS,
            options=" ".join(part for part in options if part),
        )

    def _session(self, role: Role | None) -> Mapping[str, str]:
        return {
            **({"role": str(role)} if role else {}),
            "statement_timeout": f"{self.statement_timeout_seconds}s",
            "lock_timeout": f"{self.lock_timeout_seconds}s",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_SECONDS}s",
            "idle_session_timeout": "0",  # locks of a session say that its process lives, however idle it is
            "timezone": "UTC",
        }

    @property
    def server_major(self) -> int:
        """The server's major version, such as 18. Raises ServerUnavailableError."""
        with self.connect("version", None) as connection:
            return connection.info.server_version // 10_000

    @contextmanager
    def connect(self, application: str, role: Role | None, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection that commits when left without an error, and rolls back otherwise.

        Raises ServerUnavailableError with one line when there is no server.
        """
        with (
            translate_errors(self),
            psycopg.connect(self.conninfo(application, role), autocommit=autocommit) as connection,
        ):
            yield connection

    def open(self, application: str) -> Connection:
        """An autocommit connection for the caller to close; no firewall forgets it. Raises ServerUnavailableError."""
        with translate_errors(self):
            return psycopg.connect(self.conninfo(application, None), autocommit=True, keepalives_idle=60)

    def pool(self, application: str, role: Role, *, maximum: int = 4) -> ConnectionPool[Connection]:
        """A pool of autocommit connections; each is tested after idling, so that a restarted server goes unnoticed."""
        return ConnectionPool(
            self.conninfo(application, role),
            min_size=1,
            max_size=maximum,
            kwargs={"autocommit": True},
            check=_check_if_idle,
            open=False,
        )

    def async_pool(self, application: str, role: Role, *, maximum: int = 4) -> AsyncPool:
        """As `pool`, for asyncio."""
        return AsyncConnectionPool(
            self.conninfo(application, role),
            min_size=1,
            max_size=maximum,
            kwargs={"autocommit": True},
            check=_check_if_idle_async,
            open=False,
        )


#: No server restarts faster than this, so a connection used more lately needs no test. A test is a round trip, as long
#: as the read of a ladder itself.
RECENTLY_SECONDS = 0.25
_last_given: WeakKeyDictionary[object, float] = WeakKeyDictionary()


def _was_idle(connection: object) -> bool:
    now = time.monotonic()
    before = _last_given.get(connection)
    _last_given[connection] = now
    return before is None or now - before > RECENTLY_SECONDS


def _check_if_idle(connection: Connection) -> None:
    if _was_idle(connection):
        ConnectionPool.check_connection(connection)


async def _check_if_idle_async(connection: AsyncConnection) -> None:
    if _was_idle(connection):
        await AsyncConnectionPool.check_connection(connection)


@contextmanager
def translate_errors(database: Database) -> Iterator[None]:
    """Turn a driver's connection errors into one clear line; any other error passes."""
    try:
        yield
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue) as error:
        if "role" in str(error) and "strikecast_" in str(error):
            raise DatabaseError(
                f"{database.describe()} has no strikecast roles yet: run `strikecast migrate`"
            ) from error
        raise
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise DatabaseError(
            f"{database.describe()} lacks tables of strikecast ({primary_message(error)}): run `strikecast migrate`"
        ) from error
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"{database.describe()}: another process is at the same work and did not finish within "
            f"{database.lock_timeout_seconds} s: try again when it is done"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(f"{database.describe()} denies it: {primary_message(error)}") from error
    except psycopg.OperationalError as error:
        if not is_connection_error(error):
            raise
        if 'role "strikecast_' in str(error) and "does not exist" in str(error):
            raise DatabaseError(
                f"{database.describe()} has no strikecast roles yet: run `strikecast migrate`"
            ) from error
        raise ServerUnavailableError(
            f"cannot use the database at {database.describe()}: {full_message(error)}"
        ) from error


def is_connection_error(error: psycopg.OperationalError) -> bool:
    """Whether the server or the connection is gone, rather than one statement refused."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "3D", "28"))


def primary_message(error: Exception) -> str:
    """First line of a driver's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def full_message(error: Exception) -> str:
    """A driver's message without its line breaks."""
    return single_line(str(error)) or type(error).__name__
