"""Logins that exist for one task, with the rights of some roles and no others.

`SET ROLE` alone gives nothing up: `RESET ROLE` in a statement, or in a function that it calls, returns to the rights of
the login, which are a superuser's on the embedded server.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import conninfo, sql

from pipelines.domain.maintenance.restored_roles import TEMPORARY_LOGIN
from pipelines.errors import DatabaseError, ServerUnavailableError
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

#: A login that was left by a killed process is useless after this time, and dropped by the next one.
VALID = timedelta(days=2)


class LoginRefusedError(DatabaseError):
    """The server lets nobody connect as a login that was created for the purpose."""


@contextmanager
def limited_login(database: Database, roles: Sequence[Role]) -> Iterator[Database]:
    """The database with a new login that is a member of `roles` alone; it is dropped at the end.

    A login that can neither act as a superuser nor create roles is used itself. Raises LoginRefusedError when the
    server does not accept passwords from here, and DatabaseError.
    """
    server = Database(database.url_for("postgres"))
    with server.connect("login", None, autocommit=True) as connection:
        if not read_value(connection, SQL["login_rights"]):
            yield database
            return
        _drop_unused(connection)
        login, password = f"{TEMPORARY_LOGIN}{secrets.token_hex(6)}", secrets.token_hex(16)
        secret = password.encode(), login.encode()
        names = {"login": sql.Identifier(login), "database": sql.Identifier(database.name)}
        try:
            connection.execute(
                sql.SQL(SQL["create_login"]).format(
                    **names,
                    # Statements are visible to monitors and in logs; a verifier of the password is not the password.
                    password=sql.Literal(connection.pgconn.encrypt_password(*secret, b"scram-sha-256").decode()),
                    until=sql.Literal((datetime.now(UTC) + VALID).isoformat()),
                    roles=sql.SQL(", ").join(sql.Identifier(role) for role in roles),
                )
            )
            connection.execute(sql.SQL(SQL["grant_connect"]).format(**names))
            limited = Database(
                conninfo.make_conninfo(database.url, user=login, password=password),
                database.statement_timeout_seconds,
                database.lock_timeout_seconds,
            )
            _require_accepted(limited)
            yield limited
        finally:
            with suppress(psycopg.errors.InvalidCatalogName):  # the database was dropped or renamed
                connection.execute(sql.SQL(SQL["revoke_connect"]).format(**names))
            with suppress(psycopg.errors.DependentObjectsStillExist):
                connection.execute(sql.SQL(SQL["drop_login"]).format(**names))


def _require_accepted(limited: Database) -> None:
    try:
        with limited.connect("login", None):
            pass
    except ServerUnavailableError as error:
        raise LoginRefusedError(
            f"the server accepts no login with a password from here ({error}): permit it in pg_hba.conf"
        ) from error


def _drop_unused(connection: Connection) -> None:
    """Drop the logins that killed processes left, except those with rights that must be revoked first."""
    for (login,) in connection.execute(SQL["unused_logins"], [TEMPORARY_LOGIN]).fetchall():
        with suppress(psycopg.errors.DependentObjectsStillExist, psycopg.errors.UndefinedObject):
            connection.execute(sql.SQL(SQL["drop_login"]).format(login=sql.Identifier(login)))
