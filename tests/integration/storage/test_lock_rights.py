"""Advisory locks: logins without a right to them cannot take one, and a connection that holds one is named."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from backups import run_script
from live_sessions import insert_tick, new_session, payload_has, running_in_thread, session
from psycopg import sql
from small_builds import build_generation
from waiting import wait_until

from pipelines.errors import AlreadyRunningError, DatabaseError
from pipelines.storage.live.sessions import SESSION_LOCK, read_lock_state
from pipelines.storage.maintenance.runs import JOB_LOCKS, exclusive_run
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import (
    DAGSTER_MIGRATION_LOCK,
    MAINTENANCE_LOCK,
    RUN_LOCK,
    SYMBOL_LOCK,
    acquire,
    is_run_lock_held,
    locks_are_restricted,
    restrict_locks,
)
from pipelines.storage.postgres.schema import migrate

BACKUP_LOCK = 7_319_004
ONE_KEY = (MAINTENANCE_LOCK, SESSION_LOCK, BACKUP_LOCK, DAGSTER_MIGRATION_LOCK)
TWO_KEYS = (RUN_LOCK, SYMBOL_LOCK, JOB_LOCKS)
FORMS = [
    f"pg_{attempt}advisory_{scope}lock{kind}"
    for attempt in ("", "try_")
    for scope in ("", "xact_")
    for kind in ("", "_shared")
]
ATTEMPTS = [f"SELECT {form}({key})" for form in FORMS for key in ONE_KEY] + [
    f"SELECT {form}({key}, 1)" for form in FORMS for key in TWO_KEYS
]


@pytest.fixture(scope="module")
def analyst(database: Database) -> Iterator[Database]:
    """The database with a login that is a member of the reader role alone."""
    name, password = f"test_analyst_{secrets.token_hex(4)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        connection.execute(sql.SQL("GRANT strikecast_reader TO {}").format(role))
    parameters = psycopg.conninfo.conninfo_to_dict(database.url) | {"user": name, "password": password}
    host = parameters.pop("host")
    yield Database(
        f"postgresql://{name}:{password}@/{parameters['dbname']}?host={host}&port={parameters.get('port', 5432)}"
    )
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


@contextmanager
def open_to_everybody(database: Database) -> Iterator[None]:
    """As on a server where no superuser has run `migrate`."""
    with database.connect("test", None, autocommit=True) as connection:
        functions = [
            name
            for (name,) in connection.execute(
                "SELECT oid::regprocedure::text FROM pg_proc WHERE proname ~ '^pg_(try_)?advisory_(xact_)?lock'"
            )
        ]
        for name in functions:
            connection.execute(f"GRANT EXECUTE ON FUNCTION {name} TO PUBLIC".encode())
        assert not locks_are_restricted(connection)
        try:
            yield
        finally:
            assert restrict_locks(connection)
            assert locks_are_restricted(connection)


@contextmanager
def holding(analyst: Database, statement: str) -> Iterator[int]:
    """A connection of the analyst's psql that holds a lock; yields its pid."""
    with psycopg.connect(analyst.url, autocommit=True, application_name="psql") as connection:
        connection.execute(statement.encode())
        try:
            yield connection.info.backend_pid
        finally:
            connection.close()


@pytest.mark.parametrize("role", [Role.READER, Role.AUDITOR])
def test_a_role_that_only_reads_takes_no_lock(database: Database, role: Role) -> None:
    with psycopg.connect(database.conninfo("test", role), autocommit=True) as connection:
        for statement in ATTEMPTS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_a_reading_login_takes_no_lock_either_by_setting_roles(analyst: Database) -> None:
    with psycopg.connect(analyst.url, autocommit=True) as connection:
        for change in ("SELECT 1", "SET ROLE strikecast_reader", "RESET ROLE", "SET ROLE NONE"):
            connection.execute(change.encode())
            for statement in ATTEMPTS:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())


def test_the_roles_that_need_locks_take_them(database: Database) -> None:
    for role in (Role.OWNER, Role.PIPELINE, Role.LIVE, Role.BACKUP):
        with psycopg.connect(database.conninfo("test", role), autocommit=True) as connection:
            connection.execute("SELECT pg_try_advisory_lock(1), pg_try_advisory_lock(1, 2)")


def test_a_holder_that_is_not_strikecast_is_named(database: Database, analyst: Database, tmp_path: Path) -> None:
    short = Database(database.url, lock_timeout_seconds=1)
    with open_to_everybody(database):
        with holding(analyst, f"SELECT pg_advisory_lock({MAINTENANCE_LOCK})") as pid:
            with short.connect("test", None, autocommit=True) as connection, pytest.raises(DatabaseError) as raised:
                acquire(connection, MAINTENANCE_LOCK)
            for part in ("role test_analyst_", "application 'psql'", f"process {pid}", "it is not strikecast's"):
                assert part in str(raised.value)
        with (
            holding(analyst, f"SELECT pg_advisory_lock({JOB_LOCKS}, hashtext('retention'))") as pid,
            pytest.raises(AlreadyRunningError, match=rf"process {pid}; it is not strikecast's"),
            exclusive_run(database, "retention"),
        ):
            pass
        with holding(analyst, f"SELECT pg_advisory_lock({BACKUP_LOCK})") as pid:
            code, errors = run_script(database, tmp_path)
            assert code == 5
            assert f"application 'psql', process {pid}" in errors


def test_a_lock_of_somebody_else_keeps_no_run_alive(database: Database, analyst: Database) -> None:
    with (
        open_to_everybody(database),
        holding(analyst, f"SELECT pg_advisory_lock({RUN_LOCK}, hashtext('killed'))"),
        database.connect("test", None) as connection,
    ):
        assert not is_run_lock_held(connection, "killed")


def test_a_session_starts_although_somebody_else_took_its_lock(
    database: Database, analyst: Database, tmp_path: Path
) -> None:
    build_generation(database, "BTC", seed=1)
    logged: list[str] = []
    with open_to_everybody(database), holding(analyst, f"SELECT pg_advisory_lock({SESSION_LOCK})") as pid:
        with database.connect("test", Role.PIPELINE) as connection:
            state = read_lock_state(connection)
        assert (state.holder_pid, state.intruder_pid) == (None, pid), "it does not count as a session"
        with pytest.raises(DatabaseError, match=rf"no session can start: .*test_analyst_.*process {pid}"):
            new_session(database, tmp_path, "BTC").run()
        waiting = new_session(database, tmp_path, "BTC", wait=True, log=logged.append)
        with running_in_thread(waiting):
            insert_tick(database, "BTC", 100.0)
            wait_until(payload_has(tmp_path, "BTC", current_price=100.0), "the session to take over")
    assert any(f"process {pid}, which is no session: disconnecting it" in text for text in logged)
    assert not any("hangs" in text for text in logged)


def test_somebody_elses_wait_for_the_lock_is_no_successor(
    database: Database, analyst: Database, tmp_path: Path
) -> None:
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = %s"
    with (
        open_to_everybody(database),
        session(database, tmp_path, "BTC"),
        closing(psycopg.connect(analyst.url, autocommit=True)) as connection,
        database.connect("test", Role.PIPELINE, autocommit=True) as watching,
    ):
        pid = connection.info.backend_pid
        connection.pgconn.send_query(f"SELECT pg_advisory_lock({SESSION_LOCK})".encode())
        wait_until(lambda: watching.execute(waits, [pid]).fetchone() == (1,), "the analyst to wait")
        assert read_lock_state(watching).waiting == 0


def test_migrating_again_restricts_the_locks(database: Database) -> None:
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC")
        migrate(database)
        assert locks_are_restricted(connection)
