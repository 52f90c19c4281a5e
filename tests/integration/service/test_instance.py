"""Dagster's database: lost, or left by an older Dagster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy
from alembic import command
from dagster_postgres.run_storage import run_storage
from dagster_postgres.utils import pg_alembic_config

from pipelines.errors import SchemaVersionError
from pipelines.service.instance import prepared_instance
from pipelines.settings import load_settings
from pipelines.storage.maintenance.restored_databases import drop_database
from pipelines.storage.postgres.connection import Database

#: Before the table of pools.
OLDER_REVISION = "ec80dd91891a"


@pytest.fixture
def dagster(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Dagster's database, not created yet; the environment of commands; BTC has bars and ETH has none."""
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute(
            "INSERT INTO historical_data.price_history VALUES ('BTC', '2024-01-01Z', 100, 101, 99, 100, 1) ON CONFLICT DO NOTHING"
        )
    name = f"{database.parameters['dbname']}_dagster"
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", database.url)
    monkeypatch.setenv("STRIKECAST_DAGSTER_DATABASE", name)
    for variable in ("DAGSTER_HOME", "STRIKECAST_DAGSTER_URL"):
        monkeypatch.setenv(variable, "")  # set by the code under test, and restored after the test
    yield Database(database.url_for(name))
    drop_database(database, name)


def symbols() -> list[str]:
    with dg.DagsterInstance.get() as instance:
        return list(instance.get_dynamic_partitions("symbol"))


def pool_is_limited() -> bool:
    with dg.DagsterInstance.get() as instance:
        return instance.event_log_storage.initialize_concurrency_limit_to_default("a_pool")


def revision(dagster: Database) -> str:
    with psycopg.connect(dagster.url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        assert row is not None
        return str(row[0])


def test_symbols_with_bars_are_registered_again_in_a_lost_database(dagster: Database) -> None:
    settings = load_settings()
    for _ in range(2):
        messages: list[str] = []
        with prepared_instance(settings, messages.append) as database:
            assert symbols() == ["BTC"]
            assert messages == ["registered BTC in Dagster"]
            drop_database(database, settings.dagster_database)
    with prepared_instance(settings):
        pass
    messages = []
    with prepared_instance(settings, messages.append):
        assert messages == []


def test_concurrent_commands_bring_an_older_database_to_the_installed_version(dagster: Database) -> None:
    with prepared_instance(load_settings()):
        newest = revision(dagster)
        configuration = pg_alembic_config(run_storage.__file__)
        url = dagster.url.replace("postgresql://", "postgresql+psycopg2://")
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            configuration.attributes["connection"] = connection
            command.downgrade(configuration, OLDER_REVISION)
        assert revision(dagster) == OLDER_REVISION
        assert not pool_is_limited()
        migrate = [sys.executable, "-m", "pipelines.cli", "migrate"]
        running = [subprocess.Popen(migrate, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in running:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
        assert revision(dagster) == newest
        assert pool_is_limited()


def test_a_database_of_a_newer_dagster_is_refused_on_one_line(dagster: Database) -> None:
    with prepared_instance(load_settings()):
        newest = revision(dagster)
        with psycopg.connect(dagster.url) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'f00dfeed0000'")
        try:
            with (
                pytest.raises(
                    SchemaVersionError, match="migrated by a newer Dagster than the installed 1.*upgrades.md"
                ),
                prepared_instance(load_settings()),
            ):
                pass
        finally:
            with psycopg.connect(dagster.url) as connection:
                connection.execute("UPDATE alembic_version SET version_num = %s", [newest])


def test_the_limit_of_a_pool_that_exists_follows_the_settings(
    dagster: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit() -> int | None:
        assert pool_is_limited()
        with dg.DagsterInstance.get() as instance:
            return instance.event_log_storage.get_concurrency_info("a_pool").slot_count

    for builds in (1, 3, 2):
        monkeypatch.setenv("STRIKECAST_CONCURRENCY__BUILDS_PER_POOL", str(builds))
        with prepared_instance(load_settings()):
            assert limit() == builds


def test_the_storages_of_a_process_share_connections(dagster: Database) -> None:
    def connections() -> set[int]:
        with dg.DagsterInstance.get() as instance:
            storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
            found = set()
            for connect in (storages[0].connect, storages[1].index_connection, storages[2].connect):
                with connect() as connection:
                    found.add(connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar_one())
            return found

    with prepared_instance(load_settings()):
        [first] = connections()
        assert connections() == {first}
        with psycopg.connect(dagster.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
        [second] = connections()  # a connection that was lost is replaced before it is used
        assert second != first


def test_an_instance_asks_once_what_the_database_has(dagster: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []

    def use() -> list[str]:
        statements.clear()
        with dg.DagsterInstance.get() as instance:
            instance.all_instigator_state()
            instance.get_run_records(limit=1)
            instance.get_latest_materialization_event(dg.AssetKey("backup"))
        return [one for one in statements if "pg_catalog" in one or "secondary_indexes" in one]

    with prepared_instance(load_settings()):
        with dg.DagsterInstance.get() as instance, instance.run_storage.connect() as connection:
            sqlalchemy.event.listen(
                connection.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
            )
        use()
        assert use() == []
        assert statements
