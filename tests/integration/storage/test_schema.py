"""Migrations, comments and owners of database objects."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pipelines.errors import SchemaVersionError, ServerUnavailableError
from pipelines.storage import migrations
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.schema import migrate, read_version, require_current

#: Revision of the newest migration.
NEEDED = max(path.name[:4] for path in (Path(migrations.__file__).parent / "versions").glob("[0-9]*.py"))


def test_concurrent_migrations_create_the_schema_once(empty_database: Database) -> None:
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: migrate(empty_database).found, range(3)))
    assert sorted(version or "" for version in found) == ["", NEEDED, NEEDED]
    assert read_version(empty_database).is_current


def test_a_second_migration_changes_nothing(database: Database) -> None:
    assert migrate(database).is_current


def test_a_newer_schema_is_refused_with_a_remedy(database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999'")
    try:
        with pytest.raises(SchemaVersionError, match=f"newer than this code's {NEEDED}: upgrade strikecast"):
            require_current(database)
        with pytest.raises(SchemaVersionError, match="upgrade strikecast"):
            migrate(database)
    finally:
        with psycopg.connect(database.url) as connection:
            connection.execute("UPDATE schema_version SET version_num = %s", [NEEDED])


def test_a_stopped_server_is_reported_on_one_line() -> None:
    with (
        pytest.raises(ServerUnavailableError, match="cannot use the database at 127.0.0.1:1/x: .*refused") as raised,
        Database("postgresql://someone:secret@127.0.0.1:1/x").connect("test", Role.READER),
    ):
        pass
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_table_view_function_and_column_has_a_comment(database: Database) -> None:
    with database.connect("test", None) as connection:
        connection.execute("SELECT analytics.create_fingerprint_views('CMT')")
        connection.execute("SELECT historical_data.create_symbol_partitions('CMT')")
        bare = connection.execute(
            """
            SELECT relation.oid::regclass::text, attribute.attname
            FROM pg_class AS relation
            JOIN pg_namespace AS space ON space.oid = relation.relnamespace
            JOIN pg_attribute AS attribute
                ON attribute.attrelid = relation.oid AND attribute.attnum >= 0 AND NOT attribute.attisdropped
            WHERE space.nspname IN ('historical_data', 'analytics', 'live_data', 'market_data', 'ops')
                AND relation.relkind IN ('r', 'p', 'v') AND NOT relation.relispartition
                AND (obj_description(relation.oid) IS NULL OR col_description(relation.oid, attribute.attnum) IS NULL)
            UNION ALL
            SELECT function.oid::regprocedure::text, NULL FROM pg_proc AS function
            JOIN pg_namespace AS space ON space.oid = function.pronamespace
            WHERE space.nspname IN ('historical_data', 'analytics', 'live_data', 'market_data', 'ops')
                AND obj_description(function.oid) IS NULL
            """
        ).fetchall()
        connection.rollback()
    assert bare == []


def test_the_owner_role_owns_every_relation(database: Database) -> None:
    with database.connect("test", None) as connection:
        owners = connection.execute(
            """
            SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class JOIN pg_namespace AS s ON s.oid = relnamespace
            WHERE s.nspname IN ('historical_data', 'analytics', 'live_data', 'market_data', 'ops')
            """
        ).fetchall()
    assert owners == [("strikecast_owner",)]
