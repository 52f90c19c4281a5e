"""Retention on a real server: deleted rows are counted, rows in use are kept, interrupted runs are resumed."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from pipelines.errors import AlreadyRunningError
from pipelines.maintenance.backup import create_backup
from pipelines.maintenance.retention import plan, run
from pipelines.settings import Settings, load_settings
from pipelines.storage.files.listing import list_files
from pipelines.storage.live.day_partitions import create_day_partitions, upcoming_days
from pipelines.storage.maintenance.runs import exclusive_run
from pipelines.storage.models.generations import active_generation, roll_back
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.locks import MAINTENANCE_LOCK

Build = Callable[..., int]
#: The last time at which retention was due: what is dated ahead of the clock cannot be stored.
TODAY = (datetime.now(UTC) - timedelta(hours=2)).replace(hour=2, minute=0, second=0, microsecond=0)


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_DAGSTER_DATABASE", str(database.parameters["dbname"]))
    monkeypatch.setenv("STRIKECAST_RETENTION", '{"price_log_days": 2, "answer_days": 2}')
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"BTC": {"strike_tier_usd": 0.25}, "ETH": {"enabled": false}}')
    return load_settings()


@pytest.fixture(autouse=True)
def _empty(database: Database) -> Iterator[None]:
    yield
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute("TRUNCATE live_data.session_snapshots, live_data.session CASCADE")
        days = connection.execute(
            "SELECT relname FROM pg_class WHERE relname ~ '^price_log_[0-9]{8}$' AND relkind = 'r'"
        ).fetchall()
        for (name,) in days:
            connection.execute(f"DROP TABLE live_data.{name}")


def snapshots(database: Database, session_id: str, ages_days: list[float], status: str, positions: int = 2) -> None:
    with database.connect("test", None) as connection:
        for age in ages_days:
            row = connection.execute(
                "INSERT INTO live_data.session_snapshots (session_id, created_at, session_start_time, mode, config, loop_count, status, snapshot_type) "
                "VALUES (%s, %s, now(), 'paper', '{}', 1, %s, 'periodic') RETURNING snapshot_id",
                [session_id, TODAY - timedelta(days=age), status],
            ).fetchone()
            assert row is not None
            for number in range(positions):
                connection.execute(
                    "INSERT INTO live_data.position_snapshots (snapshot_id, position_key) VALUES (%s, %s)",
                    [row[0], str(number)],
                )
            connection.execute("INSERT INTO live_data.metrics_snapshots (snapshot_id) VALUES (%s)", [row[0]])


def days_of_ticks(database: Database, days: int, rows: int = 5) -> None:
    with database.connect("test", None) as connection:
        for age in range(days):
            at = TODAY - timedelta(days=age)
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [at.date()])
            connection.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
                "SELECT 'BTC', %s + n * interval '1 second', 100, 'test' FROM generate_series(1, %s) AS n",
                [at, rows],
            )


def partitions(database: Database) -> list[str]:
    with database.connect("test", None) as connection:
        return [
            row[0]
            for row in connection.execute(
                "SELECT relname::text FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE inhparent = 'live_data.price_log'::regclass "
                "AND NOT inhdetachpending AND relname <> 'price_log_later' ORDER BY relname"
            ).fetchall()
        ]


def one(database: Database, statement: str) -> object:
    with database.connect("test", None) as connection:
        row = connection.execute(statement).fetchone()
        return row and row[0]


def test_an_expired_session_is_deleted_and_counted_with_all_its_rows(database: Database, settings: Settings) -> None:
    snapshots(database, "old", [50, 45, 40, 31], "running")
    with database.connect("test", None) as connection:
        connection.execute(
            "UPDATE live_data.session_snapshots SET status = 'stopped' WHERE created_at = (SELECT max(created_at) FROM live_data.session_snapshots)"
        )
    snapshots(database, "young", [40, 29], "stopped")
    snapshots(database, "live", [60, 45, 31, 0.1], "running")
    report = run(settings, database, TODAY)
    assert {name: count for name, count in report.rows.items() if count} == {
        "session_snapshots": 7,
        "position_snapshots": 14,
        "metrics_snapshots": 7,
    }
    with database.connect("test", Role.READER) as connection:
        left = connection.execute(
            "SELECT session_id, count(*) FROM live_data.session_snapshots GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert left == [("live", 1), ("young", 2)]
    assert not any(run(settings, database, TODAY).rows.values()), "nothing else to delete"


def test_expired_reference_values_are_deleted(database: Database, settings: Settings) -> None:
    with database.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO live_data.reference_value (symbol, kind, valued_at, value, source) "
            "SELECT 'BTC', 'settled', %s - n * interval '1 hour', 100, 'test' FROM generate_series(1, 24 * 40) AS n",
            [TODAY],
        )
    assert run(settings, database, TODAY).rows["reference_value"] == 24 * 38
    assert one(database, "SELECT count(*) FROM live_data.reference_value") == 48
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE live_data.reference_value")


def test_the_newest_snapshot_of_a_running_session_is_kept_at_any_age(database: Database, settings: Settings) -> None:
    # Without a heartbeat for 5 hours, it still counts as running.
    snapshots(database, "live", [90, 60, 5 / 24], "running")
    run(settings, database, TODAY)
    assert one(database, "SELECT count(*) FROM live_data.session_snapshots") == 1
    assert one(database, "SELECT status FROM live_data.session_snapshots") == "running"


def test_a_session_without_a_heartbeat_becomes_crashed(database: Database, settings: Settings) -> None:
    snapshots(database, "silent", [1, 0.5], "running")
    with database.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO live_data.session (symbols, heartbeat_at) VALUES ('{BTC}', now() - interval '2 days')"
        )
    report = run(settings, database, TODAY)
    assert report.rows["crashed_sessions"] == 2
    assert one(database, "SELECT status FROM live_data.v_latest_snapshots") == "crashed"
    assert one(database, "SELECT status FROM live_data.session") == "crashed"


def test_a_session_that_resumed_after_the_plan_is_unchanged(database: Database, settings: Settings) -> None:
    from pipelines.storage.maintenance.retention import delete_rows, mark_crashed_sessions

    snapshots(database, "back", [60, 50], "running")
    snapshots(database, "again", [60, 50], "stopped")
    planned = plan(settings, database, TODAY)
    assert [one.session_id for one in planned.silent] == ["back"]
    assert [one.session_id for one in planned.sessions] == ["again"]
    snapshots(database, "back", [0], "running")
    snapshots(database, "again", [0], "running")
    with database.connect("test", Role.OWNER, autocommit=True) as connection:
        assert mark_crashed_sessions(connection, planned)["crashed_sessions"] == 0
        assert delete_rows(connection, planned, lambda _: None)["session_snapshots"] == 0
    assert one(database, "SELECT count(*) FROM live_data.session_snapshots") == 6


def test_locked_rows_are_skipped_without_waiting(database: Database, settings: Settings) -> None:
    snapshots(database, "old", [60, 59, 58, 57], "stopped")
    with database.connect("holder", None) as connection:
        connection.execute("SELECT 1 FROM live_data.session_snapshots ORDER BY snapshot_id LIMIT 1 FOR UPDATE")
        report = run(settings, database, TODAY)
        assert report.rows["session_snapshots"] == 3
    assert run(settings, database, TODAY).rows["session_snapshots"] == 1


def test_expired_days_are_dropped_and_counted(database: Database, settings: Settings) -> None:
    days_of_ticks(database, 6, rows=7)
    report = run(settings, database, TODAY)
    assert report.rows["price_log"] == 3 * 7
    assert partitions(database) == [f"price_log_{TODAY - timedelta(days=age):%Y%m%d}" for age in (2, 1, 0)]


def test_a_clock_that_jumped_a_year_drops_nothing(database: Database, settings: Settings) -> None:
    days_of_ticks(database, 3)
    snapshots(database, "ended", [1], "stopped")
    snapshots(database, "live", [0.001], "running")
    before = partitions(database)
    run(settings, database, TODAY)
    report = run(settings, database, TODAY + timedelta(days=365))
    assert partitions(database) == before
    assert one(database, "SELECT count(*) FROM live_data.session_snapshots") == 2
    assert any("counted from its newest row" in why for why in report.plan.kept)
    assert any("at most two days after" in why for why in report.plan.kept)
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE ops.maintenance")


def test_readers_are_not_blocked_and_a_day_in_use_is_dropped_by_the_next_run(
    database: Database, settings: Settings
) -> None:
    days_of_ticks(database, 5)
    with database.connect("reader", Role.READER) as reader:
        reader.execute("SELECT count(*) FROM live_data.price_log")  # in an open transaction
        report = run(settings, database, TODAY)
        assert len(report.skipped) == 2
        assert "skipped until the next run" in report.skipped[0]
        with database.connect("another", Role.READER) as another:
            newest = another.execute("SELECT count(*) FROM live_data.price_log WHERE ticked_at > %s", [TODAY])
            assert newest.fetchone() == (5,)
        with database.connect("writer", Role.LIVE) as writer:
            writer.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('BTC', %s, 1, 't')", [TODAY]
            )
    report = run(settings, database, TODAY)
    assert report.skipped == ()
    assert {one.reason for one in report.plan.partitions} >= {"an earlier removal was interrupted"}
    assert len(partitions(database)) == 3


def test_a_run_killed_between_detach_and_drop_is_resumed(database: Database, settings: Settings) -> None:
    days_of_ticks(database, 4)
    gone = f"price_log_{TODAY - timedelta(days=3):%Y%m%d}"
    with database.connect("killed", None, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE live_data.price_log DETACH PARTITION live_data.{gone} CONCURRENTLY")
    run(settings, database, TODAY)
    assert one(database, f"SELECT to_regclass('live_data.{gone}')::text") is None


def test_nothing_is_dropped_during_a_backup_publication_or_migration(database: Database, settings: Settings) -> None:
    days_of_ticks(database, 4)
    with database.connect("backup", None, autocommit=True) as backup:
        backup.execute("SELECT pg_advisory_lock_shared(%s)", [MAINTENANCE_LOCK])
        report = run(settings, database, TODAY)
        assert len(report.skipped) == 1
        assert "a backup, publication or migration is in progress" in report.skipped[0]
        assert len(partitions(database)) == 4
    assert run(settings, database, TODAY).skipped == ()


def test_a_backup_during_retention_is_complete(database: Database, settings: Settings, tmp_path: Path) -> None:
    days_of_ticks(database, 8, rows=50_000)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(run(settings, database, TODAY).rows["price_log"]))
    thread.start()
    made = create_backup(database, tmp_path)
    thread.join()
    assert done
    days = [one for one in made.manifest.tables if re.fullmatch(r"live_data\.price_log_[0-9]{8}", one.table)]
    assert {one.rows for one in days} == {50_000}


def test_expired_generations_are_dropped_except_published_ones(
    database: Database, settings: Settings, build: Build
) -> None:
    numbers = [build("BTC", seed=seed) for seed in range(1, 6)]
    with database.connect("test", Role.PIPELINE) as connection:
        roll_back(connection, "BTC")
        roll_back(connection, "BTC")
        roll_back(connection, "BTC")
        active = active_generation(connection, "BTC")
    assert active == numbers[1]
    report = run(settings, database, TODAY)
    assert report.rows.get("lookup", 0) == 0, "five: the newest three, the published one, the one before it"
    with database.connect("test", Role.PIPELINE) as connection:
        connection.execute("UPDATE analytics.active_generation SET generation = %s WHERE symbol = 'BTC'", [numbers[4]])
    size = one(database, f"SELECT count(*) FROM analytics.lookup_{numbers[0]}")
    report = run(settings, database, TODAY)
    assert report.rows["lookup"] == 2 * int(str(size)) > 0
    assert report.rows["fingerprint"] > 0
    assert one(database, f"SELECT to_regclass('analytics.lookup_{numbers[0]}')::text") is None
    assert (
        one(
            database,
            f"SELECT count(*) FROM analytics.model_version WHERE generation = {numbers[0]} AND pruned_at IS NOT NULL",
        )
        == 1
    )
    with database.connect("test", Role.PIPELINE) as connection:
        assert roll_back(connection, "BTC") == (numbers[4], numbers[3])


def test_a_concurrent_run_is_refused(database: Database, settings: Settings) -> None:
    with exclusive_run(database, "retention"), pytest.raises(AlreadyRunningError, match="retention is already running"):
        run(settings, database, TODAY)


def test_plan_and_result_are_recorded(database: Database, settings: Settings) -> None:
    days_of_ticks(database, 4)
    run(settings, database, TODAY, run_id="abc")
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT dagster_run_id, planned_for, plan #>> '{partitions,0,target}', result #>> '{rows,price_log}', finished_at > started_at "
            "FROM ops.maintenance WHERE job = 'retention' ORDER BY maintenance_id DESC LIMIT 1"
        ).fetchone()
    assert row == ("abc", TODAY, f"price_log_{TODAY - timedelta(days=3):%Y%m%d}", "5", True)


def test_new_day_partitions_have_the_declared_autovacuum_settings(database: Database) -> None:
    with database.connect("test", Role.PIPELINE) as connection:
        names = create_day_partitions(connection, upcoming_days(TODAY))
        assert len(names) == 24
        assert names == create_day_partitions(connection, upcoming_days(TODAY))
    options = one(database, f"SELECT reloptions FROM pg_class WHERE relname = '{names[7]}'")
    assert options == [
        "autovacuum_vacuum_scale_factor=0.05",
        "autovacuum_analyze_scale_factor=0.02",
        "autovacuum_vacuum_cost_delay=10",
    ]
    assert one(database, "SELECT count(*) FROM ops.autovacuum_drift") == 0


def test_an_analyst_can_neither_delete_nor_drop(database: Database) -> None:
    with database.connect("test", Role.READER) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM live_data.session_snapshots")


def test_reports_that_no_run_has_written_for_long_are_deleted_and_the_archive_is_not(
    database: Database, settings: Settings
) -> None:
    with database.connect("test", Role.PIPELINE) as connection:
        for name, days in (("reports/old.html", 401), ("reports/young.html", 399), ("archive/BTC/btc.parquet", 900)):
            connection.execute(
                "INSERT INTO ops.file (name, kept_in, host, size_bytes, sha256, written_at) VALUES (%s, 'host', 'host', 1, %s, %s)",
                [name, "0" * 64, TODAY - timedelta(days=days)],
            )
    assert run(settings, database, TODAY).rows["file"] == 1
    with database.connect("test", Role.READER) as connection:
        assert [one.name for one in list_files(connection)] == ["archive/BTC/btc.parquet", "reports/young.html"]
