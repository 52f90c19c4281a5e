"""No login with a role of strikecast gets more than that role's rights, whatever it sets, locks, creates or calls."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from server_folders import server_folder

from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import locks_are_restricted
from pipelines.storage.postgres.logins import limited_login

#: Changes of the session after which each escalation is tried.
CHANGES = (
    "SELECT 1",
    "RESET ROLE",
    "SET ROLE NONE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET SESSION AUTHORIZATION",
)
ESCALATIONS = (
    "SET ROLE postgres",
    "SET ROLE pg_execute_server_program",
    "SET ROLE pg_write_server_files",
    "SET ROLE pg_read_server_files",
    "SET ROLE pg_signal_backend",
    "SET ROLE pg_write_all_data",
    "SET SESSION AUTHORIZATION postgres",
    "GRANT strikecast_owner TO SESSION_USER WITH ADMIN OPTION",
    "GRANT postgres TO SESSION_USER",
    "GRANT pg_execute_server_program TO SESSION_USER",
    "ALTER ROLE SESSION_USER SUPERUSER",
    "ALTER ROLE SESSION_USER CREATEROLE",
    "ALTER ROLE SESSION_USER BYPASSRLS",
    "ALTER ROLE postgres PASSWORD 'x'",
    "ALTER ROLE strikecast_reader SUPERUSER",
    "CREATE ROLE mallory SUPERUSER",
    "CREATE DATABASE mallory",
    "ALTER SYSTEM SET archive_command = 'touch /tmp/x'",
    "SET session_preload_libraries = 'x'",
    "SET session_replication_role = replica",
    "SET lc_messages = 'C'",
    "LOAD '/tmp/x.so'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/strikecast-escalation'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/strikecast-escalation')",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT pg_stat_reset()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid()",
    "CREATE FUNCTION pg_temp.f() RETURNS integer LANGUAGE c AS '/tmp/x', 'x'",
    "CREATE FUNCTION pg_temp.f() RETURNS integer LANGUAGE internal AS 'pg_backend_pid'",
    "CREATE EVENT TRIGGER mallory ON ddl_command_end EXECUTE FUNCTION f()",
    "CREATE LANGUAGE plpython3u",
    "UPDATE pg_catalog.pg_authid SET rolsuper = true",
    "UPDATE pg_catalog.pg_proc SET proacl = NULL",
    "CREATE SUBSCRIPTION mallory CONNECTION '' PUBLICATION p",
    "SELECT pg_create_physical_replication_slot('mallory')",
)
#: What only the owner of the tables may do.
OF_OWNER = (
    "CREATE SCHEMA mallory",
    "DROP TABLE live_data.session CASCADE",
    "CREATE OR REPLACE FUNCTION analytics.sigma_pct(text, integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE analytics.champion OWNER TO SESSION_USER",
)
LOCKS = (
    "SELECT pg_try_advisory_lock(7319001)",
    "SELECT pg_advisory_lock_shared(7319004)",
    "SELECT pg_try_advisory_lock(7319, 1)",
)


@pytest.fixture(scope="module", params=list(Role))
def limited(request: pytest.FixtureRequest, database: Database) -> Iterator[tuple[Role, Database]]:
    with limited_login(database, [request.param]) as found:
        yield request.param, found


def test_no_role_escalates(limited: tuple[Role, Database]) -> None:
    role, database = limited
    others = [
        f"SET ROLE {one}" for one in Role if one is not role and not (role is Role.AUDITOR and one is Role.READER)
    ]
    refused = [*ESCALATIONS, *others]
    refused += [] if role is Role.OWNER else OF_OWNER
    refused += LOCKS if role in {Role.READER, Role.AUDITOR, Role.PRODUCER} else []
    refused += [] if role is Role.BACKUP else ["SELECT rolpassword FROM pg_authid"]
    succeeded = []
    tried = 0
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {role}")
        for change in CHANGES:
            for statement in refused:
                connection.execute(change.encode())
                tried += 1
                try:
                    connection.execute(statement.encode())
                except psycopg.Error:
                    continue
                succeeded.append((change, statement))
                connection.execute("RESET ALL")
        facts = connection.execute(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles "
            "WHERE rolname = session_user"
        ).fetchone()
        with suppress(psycopg.errors.InsufficientPrivilege):  # a role that has the right only gets a warning
            connection.execute("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC")
        assert locks_are_restricted(connection)
    assert succeeded == []
    assert tried > 200
    assert facts == (False,)


def test_the_password_of_a_limited_login_is_not_in_a_statement(database: Database) -> None:
    """Monitors see the statements of others, and a server may log them."""
    seen: list[str] = []
    execute = psycopg.Connection.execute

    def record(self: psycopg.Connection, query: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(query if isinstance(query, str) else query.as_string(self))
        return execute(self, query, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", record)
        with limited_login(database, [Role.READER]) as limited:
            password = limited.parameters["password"]
    [created] = [text for text in seen if text.startswith("CREATE ROLE")]
    assert "SCRAM-SHA-256$" in created
    assert not any(str(password) in text for text in seen)


def test_a_limited_login_ends_with_its_task(database: Database) -> None:
    with limited_login(database, [Role.READER]) as limited:
        login = limited.parameters["user"]
        with limited.connect("test", Role.READER) as connection:
            assert connection.execute("SELECT session_user").fetchone() == (login,)
    with database.connect("test", None) as connection:
        assert connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login]).fetchone() is None


def test_psql_connects_as_no_superuser() -> None:
    def strikecast(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env={**os.environ, "STRIKECAST_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def psql(*arguments: str) -> subprocess.CompletedProcess[str]:
        return strikecast("psql", *arguments)

    shown = "SELECT 'super=' || rolsuper FROM pg_roles WHERE rolname = session_user"
    with server_folder() as folder:
        home = folder / "home"
        assert strikecast("migrate").returncode == 0
        found = psql(
            "-Atc", "SET ROLE NONE", "-c", shown, "-c", "RESET ROLE", "-c", "SELECT current_user = session_user"
        )
        assert found.returncode == 0, found.stderr
        assert "super=false" in found.stdout
        refused = psql("-c", "RESET ROLE", "-c", "COPY (SELECT 1) TO PROGRAM 'true'")
        assert "permission denied" in refused.stderr
        assert "super=true" in psql("--role", "none", "-Atc", shown).stdout
        unknown = psql("--role", "postgres", "-c", "SELECT 1")
        assert unknown.returncode == 1
        assert "'postgres' is no role of strikecast" in unknown.stderr
        assert (
            "strikecast_login_" not in psql("-Atc", "SELECT rolname FROM pg_roles WHERE rolname <> session_user").stdout
        )
