"""Indexes on text after an upgrade of the library that sorts it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from programs import postgresql_with_contrib
from server_folders import server_folder

from pipelines.domain.monitoring.alerts import AlertLimits, Facts, RunbookHeading, problems
from pipelines.domain.monitoring.audit.findings import explain
from pipelines.monitoring.audit.declarations import explanations
from pipelines.storage.monitoring.measurements import collation_mismatches, measure_server
from pipelines.storage.postgres.connection import Connection, Database
from pipelines.storage.postgres.embedded import EmbeddedServer

NOW = datetime(2026, 3, 31, tzinfo=UTC)


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A database that ICU sorts, with an index of another ICU collation, on a server of its own."""
    with server_folder() as folder, EmbeddedServer(folder / "pg", programs=postgresql_with_contrib()).running() as url:
        with Database(Database(url).url_for("postgres")).connect("test", None, autocommit=True) as server:
            server.execute("CREATE DATABASE strikecast TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'")
        with Database(url).connect("test", None, autocommit=True) as found:
            found.execute('CREATE TABLE words (word text COLLATE "de-x-icu" PRIMARY KEY)')
            yield found


@pytest.mark.needs("PostgreSQL with contrib")
def test_another_collation_version_is_a_finding_and_an_alert_until_it_is_refreshed(connection: Connection) -> None:
    assert collation_mismatches(connection) == {}
    connection.execute("UPDATE pg_database SET datcollversion = '1.2' WHERE datname = 'strikecast'")
    connection.execute("UPDATE pg_collation SET collversion = '1.2' WHERE collname IN ('de-x-icu', 'fr-x-icu')")
    found = collation_mismatches(connection)
    assert set(found) == {"database strikecast", "collation de-x-icu"}, "not the French one, which no index uses"
    assert found["database strikecast"].startswith("its indexes are sorted by version 1.2, the system has 1")
    findings = explain(measure_server(connection, None).detections, explanations())
    assert {one.title for one in findings} >= {
        "database strikecast sorts text in another order than its indexes",
        "collation de-x-icu sorts text in another order than its indexes",
    }
    alerts = problems(Facts(NOW, collations=found), AlertLimits(), NOW)
    assert {one.heading for one in alerts} == {RunbookHeading.COLLATION}
    assert alerts[0].message.startswith("database strikecast has another collation version: its indexes are sorted by")
    for statement in (
        "REINDEX (CONCURRENTLY) DATABASE strikecast",
        "ALTER DATABASE strikecast REFRESH COLLATION VERSION",
        'ALTER COLLATION "de-x-icu" REFRESH VERSION',
    ):
        connection.execute(statement.encode())
    assert collation_mismatches(connection) == {}
