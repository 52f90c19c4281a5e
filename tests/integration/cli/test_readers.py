"""A login with strikecast_reader alone: commands that read work, and commands that write say what they need."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from readers import command_line, reader_login
from system import System

from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.schema import read_version

READING = [
    ("status", "--json"),
    ("symbol", "list"),
    ("ladder", "BTC", "--price", "95000", "--ttc", "900", "--momentum", "0.02", "--model", "momentum"),
    ("query", "SELECT count(*) AS bars FROM price"),
    ("query", "SELECT * FROM analytics.model_version", "--json"),
    ("scores",),
    ("scores", "BTC", "--json"),
    ("files", "list"),
    ("backup", "list"),
    ("audit", "schema"),
    ("archive", "--dry-run"),
    ("logs", "--dry-run"),
    ("psql", "-At", "-c", "SELECT current_role"),
]
WRITING = [
    (("retention",), Role.PIPELINE),
    (("retention", "--dry-run"), Role.OWNER),
    (("vacuum",), Role.PIPELINE),
    (("archive",), Role.PIPELINE),
    (("migrate",), Role.PIPELINE),
    (("build", "BTC"), Role.PIPELINE),
    (("sample", "BTC", "--days", "1"), Role.PIPELINE),
    (("rollback", "BTC"), Role.PIPELINE),
    (("score", "BTC", "--store"), Role.PIPELINE),
    (("audit", "baseline", "before"), Role.PIPELINE),
    (("live", "--once"), Role.LIVE),
    (("backup", "create"), Role.BACKUP),
    (("psql", "--role", "strikecast_pipeline", "-c", "SELECT 1"), Role.PIPELINE),
]


@pytest.fixture(scope="module")
def reader(database: Database) -> Iterator[Database]:
    with reader_login(database) as found:
        yield found


@pytest.fixture
def command(published: Database, reader: Database, tmp_path: Path) -> System:
    (tmp_path / "home").mkdir()
    return command_line(reader, tmp_path / "home")


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_command_that_reads_works_for_a_reader(command: System, arguments: tuple[str, ...]) -> None:
    run = command.run if arguments[0] == "psql" else command.invoke
    completed = run(*arguments)
    assert completed.returncode == 0, completed.stderr
    assert "permission denied" not in completed.stdout + completed.stderr


@pytest.mark.parametrize(
    ("arguments", "role"), WRITING, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_command_that_writes_names_the_role_that_it_needs(
    command: System, arguments: tuple[str, ...], role: Role
) -> None:
    completed = command.invoke(*arguments)
    assert completed.returncode == 1
    (line,) = [line for line in completed.stderr.splitlines() if line.startswith("strikecast:")]
    assert f"needs role {role}" in line
    assert "has only strikecast_reader" in line


def test_an_audit_by_a_reader_lists_what_it_could_not_measure(command: System) -> None:
    completed = command.invoke("audit", "run", "--as", "json")
    assert completed.returncode == 0, completed.stderr
    assert "the audit is not stored" in completed.stderr
    gaps = {gap["name"]: gap["why"] for gap in json.loads(completed.stdout)["gaps"]}
    assert "strikecast_auditor" in gaps["rights of the auditor"]
    assert not [gap for gap in gaps if gap.startswith("query")]
    assert command.invoke("audit", "show").stderr.startswith("strikecast: there is no audit yet")


def test_alerts_read_the_home_folder_of_their_user(command: System) -> None:
    completed = command.invoke("alerts")
    assert completed.returncode == 2
    assert "problems have never been looked for in this home" in completed.stderr


def test_a_reader_scores_without_storing(command: System) -> None:
    completed = command.invoke("score", "BTC", "--model", "momentum")
    assert completed.returncode in {0, 1}
    assert "permission" not in completed.stderr
    assert "needs role" not in completed.stderr


def test_a_reader_cannot_change_the_version_of_the_schema(reader: Database) -> None:
    assert read_version(reader).is_current
    for statement in ("UPDATE public.schema_version SET version_num = '0001'", "DELETE FROM public.schema_version"):
        with (
            reader.connect("test", None) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)


@pytest.mark.parametrize("role", [Role.PIPELINE, Role.LIVE, Role.OWNER, Role.BACKUP, Role.AUDITOR, Role.PRODUCER])
def test_a_reader_has_no_other_role(reader: Database, role: Role) -> None:
    with pytest.raises(Exception, match=f"needs role {role}"), reader.connect("test", role):
        pass


def test_a_login_without_a_role_is_told_what_it_lacks(database: Database, reader: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        name = str(reader.parameters["user"])
        connection.execute(f"REVOKE strikecast_reader FROM {name}")
        try:
            with pytest.raises(Exception, match=f"GRANT strikecast_reader TO {name}"):
                read_version(reader)
        finally:
            connection.execute(f"GRANT strikecast_reader TO {name}")
