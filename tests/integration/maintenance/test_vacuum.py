"""Vacuum on a real server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from waiting import wait_until

from pipelines.domain.maintenance.vacuum import VacuumPolicy
from pipelines.errors import AlreadyRunningError, DatabaseError
from pipelines.maintenance.vacuum import autovacuum_drift, plan, run
from pipelines.settings import Settings, load_settings
from pipelines.storage.live.day_partitions import create_day_partitions, upcoming_days
from pipelines.storage.maintenance import vacuum as repository
from pipelines.storage.maintenance.runs import exclusive_run
from pipelines.storage.maintenance.vacuum import VacuumStep, vacuum
from pipelines.storage.postgres.connection import Database, Role

TABLE = "live_data.quiet"
#: Later than the weekly interval, so every changed table is due.
LATER = datetime.now(UTC) + timedelta(days=8)


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_DAGSTER_DATABASE", str(database.parameters["dbname"]))
    return load_settings()


@pytest.fixture
def quiet(database: Database) -> Iterator[str]:
    """A table with 15,000 dead of 20,000 rows, and autovacuum off."""
    with database.connect("test", Role.OWNER, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE {TABLE} (n integer PRIMARY KEY, filling text) WITH (autovacuum_enabled = off)"
        )
        connection.execute(f"INSERT INTO {TABLE} SELECT n, repeat('x', 100) FROM generate_series(1, 20000) AS n")
        connection.execute(f"DELETE FROM {TABLE} WHERE n % 4 <> 0")
        connection.execute("SELECT pg_stat_force_next_flush()")
        wait_until(lambda: dead(database) == 15_000, "the statistics")
        yield TABLE
        connection.execute(f"DROP TABLE {TABLE}")


def dead(database: Database) -> int:
    with database.connect("test", None) as connection:
        row = connection.execute(
            "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = %s::regclass", [TABLE]
        ).fetchone()
        return int(row[0]) if row else -1


def test_dead_rows_are_removed_and_reported(database: Database, settings: Settings, quiet: str) -> None:
    name = str(database.parameters["dbname"])
    assert quiet in {one.table for one in plan(settings, database, datetime.now(UTC), urgent_only=True)[name].tables}
    report = run(settings, database, datetime.now(UTC), urgent_only=True)
    (change,) = [one for one in report.changes if one.name == quiet]
    assert (change.dead_rows_before, change.dead_rows_after) == (15_000, 0)
    assert dead(database) == 0
    assert quiet not in {
        one.table for one in plan(settings, database, datetime.now(UTC), urgent_only=True)[name].tables
    }
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT result #>> '{changes,0,dead_rows_before}' FROM ops.maintenance WHERE job = 'vacuum' ORDER BY 1 DESC LIMIT 1"
        ).fetchone()
    assert row == ("15000",)


def test_a_role_without_permission_fails_instead_of_skipping(database: Database, quiet: str) -> None:
    with (
        database.connect("test", Role.READER, autocommit=True) as connection,
        pytest.raises(DatabaseError, match=f"{quiet}: permission denied to vacuum|{quiet}: skipping"),
    ):
        vacuum(connection, VacuumStep(quiet, "test"))


def test_a_table_in_use_is_skipped_until_the_next_run(database: Database, settings: Settings, quiet: str) -> None:
    with database.connect("holder", None) as connection:
        connection.execute(f"LOCK TABLE {quiet} IN SHARE UPDATE EXCLUSIVE MODE")
        report = run(settings, database, datetime.now(UTC), urgent_only=True)
    assert [reason.split(" is in use")[0] for reason in report.skipped] == [quiet]
    assert run(settings, database, datetime.now(UTC), urgent_only=True).skipped == ()


def test_a_transaction_that_holds_dead_rows_back_is_reported(
    database: Database, settings: Settings, quiet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database.url) as holder:
        holder.execute("SET application_name = 'strikecast idle'")
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT 1")
        with database.connect("test", None, autocommit=True) as connection:
            # Instead of waiting a minute.
            statement = repository.SQL["vacuum_blockers"].replace("1 minute", "0 seconds")
            monkeypatch.setattr(repository, "SQL", {"vacuum_blockers": statement})
            found = repository.vacuum_blockers(connection)
    assert any("strikecast idle" in one for one in found)


def test_a_bloated_index_is_rebuilt_on_request(database: Database, settings: Settings, quiet: str) -> None:
    policy = VacuumPolicy(least_index_bytes=10_000)
    settings = settings.model_copy(update={"vacuum": policy})
    with database.connect("test", Role.OWNER, autocommit=True) as connection:
        connection.execute(f"VACUUM (ANALYZE) {quiet}")
    report = run(settings, database, datetime.now(UTC), reindex=True)
    (change,) = [one for one in report.changes if one.name == f"{quiet}_pkey"]
    assert change.bytes_after < change.bytes_before / 2
    assert "is bloat" in change.reason


def test_the_invalid_index_of_an_interrupted_reindex_is_dropped(
    database: Database, settings: Settings, quiet: str
) -> None:
    with database.connect("test", Role.OWNER, autocommit=True) as connection:
        with psycopg.connect(database.url) as holder, ThreadPoolExecutor(1) as thread:
            holder.execute(f"SELECT 1 FROM {quiet} LIMIT 1")
            reindexing = thread.submit(connection.execute, f"REINDEX INDEX CONCURRENTLY {quiet}_pkey")
            pid = connection.info.backend_pid
            with database.connect("test", None, autocommit=True) as other:
                waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid = %s"
                wait_until(lambda: other.execute(waits, [pid]).fetchone(), "the index to wait for the reader")
                other.execute("SELECT pg_cancel_backend(%s)", [pid])
            with pytest.raises(psycopg.errors.QueryCanceled):
                reindexing.result()
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert connection.execute(invalid).fetchone() == (1,)
        run(settings, database, datetime.now(UTC))
        assert connection.execute(invalid).fetchone() == (0,)


def test_drifted_autovacuum_settings_are_reported_and_reapplied(database: Database, settings: Settings) -> None:
    with database.connect("test", Role.PIPELINE) as connection:
        create_day_partitions(connection, upcoming_days(datetime.now(UTC)))
    assert autovacuum_drift(database) == []
    with database.connect("test", Role.OWNER) as connection:
        connection.execute(
            "ALTER TABLE live_data.session SET (autovacuum_vacuum_scale_factor = 0.9, autovacuum_enabled = off)"
        )
    (found,) = autovacuum_drift(database)
    assert found.table_name == "live_data.session"
    assert "autovacuum_vacuum_scale_factor=0.05" in found.declared
    assert "autovacuum_enabled=off" in found.options
    assert run(settings, database, datetime.now(UTC)).settings_applied == 1
    assert autovacuum_drift(database) == []


def test_partitioned_tables_are_analyzed(database: Database, settings: Settings) -> None:
    report = run(settings, database, LATER)
    named = {one.name for one in report.changes}
    assert {"live_data.price_log", "historical_data.price_history", "analytics.lookup"} <= named
    assert report.skipped == ()


def test_a_concurrent_run_is_refused(database: Database, settings: Settings) -> None:
    with exclusive_run(database, "vacuum"), pytest.raises(AlreadyRunningError, match="vacuum is already running"):
        run(settings, database, datetime.now(UTC))


def test_a_run_releases_its_lock_before_its_connection_closes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, opened = psycopg.Connection.close, set[psycopg.Connection]()

    def keep_open(connection: psycopg.Connection) -> None:
        opened.add(connection)

    monkeypatch.setattr(psycopg.Connection, "close", keep_open)
    try:
        for _ in range(2):
            with exclusive_run(database, "vacuum"):
                pass
    finally:
        for connection in opened:
            close(connection)
