"""Connections with an application name, a role and timeouts, and one error for each way in which they fail."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

import psycopg
from psycopg import conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pipelines.errors import DatabaseError, ServerUnavailableError, single_line
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
AsyncPool = AsyncConnectionPool[AsyncConnection]
#: The driver's errors, for the live session, which distinguishes lost connections from rejected statements.
DriverError = psycopg.Error
OperationalError = psycopg.OperationalError

CONNECT_TIMEOUT_SECONDS = 10
MINIMUM_SERVER_VERSION = 150_000
MIGRATE = "run `strikecast migrate`"
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS = 600
#: The server ends the connection of a lost machine, and so frees its locks, after 20 s; by default after two hours.
KEEPALIVES = {
    "tcp_keepalives_idle": "8",
    "tcp_keepalives_interval": "4",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}
POOL_OPTIONS: dict[str, Any] = {"min_size": 1, "kwargs": {"autocommit": True}, "open": False}


class Role(StrEnum):
    """Privileges of a connection; migrations create the roles."""

    OWNER = "strikecast_owner"
    PIPELINE = "strikecast_pipeline"
    LIVE = "strikecast_live"
    PRODUCER = "strikecast_producer"
    READER = "strikecast_reader"
    BACKUP = "strikecast_backup"
    AUDITOR = "strikecast_auditor"


@dataclass(frozen=True, repr=False)
class Database:
    """Address and timeouts of the database. `url` may contain a password: `repr` omits it, `describe` too."""

    #: The setting that gives the URL, for messages.
    variable: ClassVar[str] = "STRIKECAST_DATABASE_URL"

    url: str
    statement_timeout_seconds: int = 600
    lock_timeout_seconds: int = 10

    @property
    def parameters(self) -> dict[str, Any]:
        """Connection parameters by libpq's names. Raises DatabaseError for a malformed URL."""
        try:
            return conninfo.conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:
            raise DatabaseError(f"{self.variable} is not a PostgreSQL URL") from None

    @property
    def name(self) -> str:
        """Name of the database; by libpq's default that of the user."""
        return str(self.parameters.get("dbname") or self.parameters.get("user") or "postgres")

    def describe(self) -> str:
        """Host, port and database, without a password."""
        parts = self.parameters
        where = parts.get("host") or "local socket"
        port = f":{parts['port']}" if parts.get("port") else ""
        return f"{where}{port}/{parts.get('dbname') or parts.get('user') or ''}"

    def url_for(self, database: str) -> str:
        """URL of another database on the same server.

        >>> Database("postgresql://ann:s3%2F@[::1]:5433/a?sslmode=require").url_for("b")
        'postgresql://ann:s3%2F@[::1]:5433/b?sslmode=require'
        >>> Database("postgresql://localhost").url_for("b?host=elsewhere")
        'postgresql://localhost/b%3Fhost%3Delsewhere'
        """
        options = {key: str(value) for key, value in self.parameters.items() if value is not None and key != "dbname"}
        user, password = (quote(options.pop(name, ""), safe="") for name in ("user", "password"))
        login = f"{user}:{password}" if password else user
        host = "" if options.get("host", "").startswith("/") else options.pop("host", "")
        address = f"{login}@" if login else ""
        address += f"[{host}]" if ":" in host else host
        if port := options.pop("port", ""):
            address += f":{port}"
        query = urlencode(options, safe="/", quote_via=quote)
        return f"postgresql://{address}/{quote(database, safe='')}{f'?{query}' if query else ''}"

    def conninfo(self, application: str, role: Role | None) -> str:
        """Connection string with an application name, a role and timeouts."""
        given = self.parameters
        settings = {
            **({"role": str(role)} if role else {}),
            "statement_timeout": f"{self.statement_timeout_seconds}s",
            "lock_timeout": f"{self.lock_timeout_seconds}s",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_SECONDS}s",
            "idle_session_timeout": "0",  # a session-level lock marks its process as alive, however idle
            "timezone": "UTC",
            **KEEPALIVES,
        }
        options = [str(given.get("options") or ""), *(f"-c {name}={value}" for name, value in settings.items())]
        return conninfo.make_conninfo(
            self.url,
            application_name=f"strikecast {application}",
            connect_timeout=given.get("connect_timeout") or CONNECT_TIMEOUT_SECONDS,
            options=" ".join(part for part in options if part),
        )

    @property
    def server_major(self) -> int:
        """The server's major version, such as 18. Raises ServerUnavailableError."""
        with self.connect("version", None) as connection:
            return connection.info.server_version // 10_000

    def responds(self, timeout_seconds: int) -> bool:
        """Whether a server answers at the address, even one that accepts no connections yet."""
        return self._ping(timeout_seconds) in {psycopg.pq.Ping.OK, psycopg.pq.Ping.REJECT}

    def accepts_connections(self, timeout_seconds: int) -> bool:
        """Whether a server answers, and is neither starting up nor shutting down."""
        return self._ping(timeout_seconds) is psycopg.pq.Ping.OK

    def _ping(self, timeout_seconds: int) -> psycopg.pq.Ping:
        target = conninfo.make_conninfo(self.url, connect_timeout=timeout_seconds)
        return psycopg.pq.Ping(psycopg.pq.PGconn.ping(target.encode()))

    @contextmanager
    def connect(self, application: str, role: Role | None, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection that commits on exit, and rolls back on an error.

        Raises ServerUnavailableError when no server answers, and DatabaseError as `translate_errors` does.
        """
        conninfo = self.conninfo(application, role)
        with translate_errors(self), psycopg.connect(conninfo, autocommit=autocommit) as connection:
            yield connection

    def missing_role(self, role: Role) -> DatabaseError:
        """The error of a login that is not a member of a role. Raises ServerUnavailableError."""
        with self.connect("roles", None) as connection:
            row = connection.execute(SQL["login_roles"]).fetchone()
        assert row is not None
        login, roles = row
        return DatabaseError(
            f"{self.describe()}: this needs role {role}; your login {login} has only {', '.join(roles) or 'no role'}: "
            f"a superuser permits it with GRANT {role} TO {login}"
        )

    def open(self, application: str) -> Connection:
        """An autocommit connection with TCP keepalives; the caller closes it. Raises ServerUnavailableError."""
        with translate_errors(self):
            return psycopg.connect(self.conninfo(application, None), autocommit=True, keepalives_idle=60)

    def pool(self, application: str, role: Role, *, maximum: int = 4) -> ConnectionPool[Connection]:
        """A pool of autocommit connections; idle ones are checked, so that a restart of the server is transparent."""
        conninfo = self.conninfo(application, role)
        return ConnectionPool(conninfo, max_size=maximum, check=_check_if_idle, **POOL_OPTIONS)

    def async_pool(self, application: str, role: Role, *, maximum: int = 4) -> AsyncPool:
        """As `pool`, for asyncio."""
        conninfo = self.conninfo(application, role)
        return AsyncConnectionPool(conninfo, max_size=maximum, check=_check_if_idle_async, **POOL_OPTIONS)


#: No server restarts faster, so a connection used within this time needs no check: a check is a round trip, as long as
#: reading a ladder.
RECENTLY_SECONDS = 0.25
#: At connection time the error has no SQLSTATE.
_REFUSED_ROLE = re.compile(rf'permission denied to set role "({"|".join(Role)})"')
_last_used: WeakKeyDictionary[object, float] = WeakKeyDictionary()


def _was_idle(connection: object) -> bool:
    now = time.monotonic()
    before = _last_used.get(connection)
    _last_used[connection] = now
    return before is None or now - before > RECENTLY_SECONDS


def _check_if_idle(connection: Connection) -> None:
    if _was_idle(connection):
        ConnectionPool.check_connection(connection)


async def _check_if_idle_async(connection: AsyncConnection) -> None:
    if _was_idle(connection):
        await AsyncConnectionPool.check_connection(connection)


@contextmanager
def translate_errors(database: Database) -> Iterator[None]:
    """Raise a DatabaseError of one line, with the remedy, for the driver's errors that a user can act upon."""
    name = database.describe()
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise DatabaseError(f"{name} lacks tables of strikecast ({primary_message(error)}): {MIGRATE}") from error
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"{name}: another process holds a lock and did not release it within {database.lock_timeout_seconds} s: "
            "try again when it has finished"
        ) from error
    except psycopg.Error as error:
        if _is_missing_role(error):
            raise DatabaseError(f"{name} has no strikecast roles yet: {MIGRATE}") from error
        if (refused := _REFUSED_ROLE.search(str(error))) is not None:
            raise database.missing_role(Role(refused[1])) from error
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise DatabaseError(f"{name} denies permission: {primary_message(error)}") from error
        if "unsupported startup parameter" in str(error):
            raise pooler_error(database) from error
        if not isinstance(error, psycopg.OperationalError) or not is_connection_error(error):
            raise
        if is_missing_database(error):
            raise DatabaseError(f"the database {name} does not exist: {MIGRATE}, which creates it") from error
        raise ServerUnavailableError(f"cannot use the database at {name}: {full_message(error)}") from error


def pooler_error(database: Database) -> DatabaseError:
    """The error of a connection pooler where the server itself is needed."""
    return DatabaseError(
        f"{database.describe()} is a connection pooler, such as PgBouncer, and not the server itself: advisory locks, "
        f"LISTEN and the roles of connections need a connection of their own; {database.variable} must name the "
        "server's own address, and STRIKECAST_READ_URL may name the pooler"
    )


def _is_missing_role(error: psycopg.Error) -> bool:
    undefined = isinstance(error, psycopg.errors.UndefinedObject | psycopg.errors.InvalidParameterValue)
    if isinstance(error, psycopg.OperationalError):  # at connection time, without an SQLSTATE
        undefined = "does not exist" in str(error)
    return undefined and "role" in str(error) and "strikecast_" in str(error)


def is_missing_database(error: psycopg.OperationalError) -> bool:
    """Whether the server has no database of the name; at connection time errors have no SQLSTATE."""
    return re.search(r'database ".*" does not exist', str(error)) is not None


def is_connection_error(error: psycopg.OperationalError) -> bool:
    """Whether the server or the connection is lost, rather than one statement rejected."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "3D", "28"))


def primary_message(error: Exception) -> str:
    """First line of a driver's message: the server's primary message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def full_message(error: Exception) -> str:
    """A driver's message without line breaks."""
    return single_line(str(error)) or type(error).__name__
