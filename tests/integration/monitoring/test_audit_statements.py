"""Audits on a PostgreSQL with pg_stat_statements, in a cluster of their own."""

from collections.abc import Iterator

import psycopg
import pytest
from programs import postgresql_with_contrib
from server_folders import server_folder

from pipelines.domain.monitoring.audit.document import audit_document, server_release
from pipelines.domain.monitoring.audit.findings import Audit, Kind, explain
from pipelines.monitoring.audit.declarations import explanations
from pipelines.monitoring.audit.run import collect
from pipelines.settings import load_settings
from pipelines.storage.monitoring.measurements import measure_server, measure_statements
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.schema import migrate

pytestmark = pytest.mark.needs("PostgreSQL with contrib")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[EmbeddedServer, str]]:
    """A server with contrib modules and the URL of a migrated database; pg_stat_statements is not loaded yet."""
    with server_folder() as folder:
        found = EmbeddedServer(folder / "pg", programs=postgresql_with_contrib())
        with found.running() as url:
            migrate(Database(url))
            assert Database(url).parameters["dbname"] == "strikecast"
            yield found, url


def findings(url: str) -> tuple[set[str], dict[str, str]]:
    """Remedies of the findings, and gaps, of the extension."""
    database = Database(url)
    with database.connect("test", Role.AUDITOR, autocommit=True) as connection:
        measured = measure_statements(connection)
    return {one.remedy for one in explain(measured.detections, explanations())}, {
        one.name: one.why for one in measured.gaps
    }


def audited(url: str) -> Audit:
    database = Database(url)
    with database.connect("test", None) as connection:
        for _ in range(50):
            connection.execute("SELECT count(*) FROM generate_series(1, 20000) AS counted_by_the_test")
    return collect(load_settings(), database, Kind.QUICK)


def test_a_missing_extension_is_a_finding_until_it_is_created(cluster: tuple[EmbeddedServer, str]) -> None:
    found, url = cluster
    remedies, gaps = findings(url)
    assert remedies == {"add it to shared_preload_libraries, restart, then create it"}
    assert gaps["pg_stat_statements"].startswith("the extension is not in use")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    found.stop()
    found.restart_if_stopped()
    assert findings(url)[0] == {"create it in this database"}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
    assert findings(url)[0] == set()
    audit = audited(url)
    calls_by_statement = {
        one.labels["statement"]: one.value for one in audit.measurements if one.name == "statement_calls"
    }
    [counted] = [calls for statement, calls in calls_by_statement.items() if "counted_by_the_test" in statement]
    assert counted == 50
    shares = [one.value for one in audit.measurements if one.name == "statement_share"]
    assert 0 < sum(shares) <= 100.001
    assert "pg_stat_statements" not in {one.name for one in audit.gaps}
    assert "Statements by pg_stat_statements" in [one.title for one in audit_document(audit).sections]
    with psycopg.connect(url) as connection:
        assert audit.server_version == str(connection.info.server_version)
        release = server_release(connection.info.server_version)
    assert f"PostgreSQL {release}" in audit_document(audit).lead
    assert "embedded_server" in audit.machine
    assert {one.labels["why"] for one in audit.measurements if one.name == "checkpoints"} == {"early", "their time"}


def test_fsync_off_is_a_severe_finding(cluster: tuple[EmbeddedServer, str]) -> None:
    _, url = cluster
    database = Database(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            with database.connect("test", Role.AUDITOR, autocommit=True) as auditor:
                measured = measure_server(auditor, None)
        finally:
            connection.execute("ALTER SYSTEM RESET fsync")
            connection.execute("SELECT pg_reload_conf()")
    found = explain(measured.detections, explanations())
    assert ("setting fsync", "P0") in {(one.key, one.severity) for one in found}
