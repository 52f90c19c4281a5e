"""Publication by generation: readers see one complete generation even when a build or the server is killed."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import killed_build
import psycopg
import pytest
from processes import postmaster
from psycopg import IsolationLevel
from server_folders import server_folder
from small_builds import RULE, SMALL, build_generation
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.domain.configuration.model import ModelConfig
from pipelines.errors import BuildError, NoDataError
from pipelines.storage.models.generations import active_generation, finish_generation, publish, read_version, roll_back
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer, postgres_bin_dir
from pipelines.storage.postgres.schema import migrate

Build = Callable[..., int]

LADDER = """
    SELECT array_agg(DISTINCT lookup.generation), count(*), min(model_version.symbol)
    FROM analytics.active_generation JOIN analytics.model_version USING (generation) JOIN analytics.lookup USING (generation)
    WHERE active_generation.symbol = %s AND active_generation.model = 'momentum' AND bucket = 1::smallint
"""
VIEW = """
    SELECT array_agg(DISTINCT generation), count(*) / 201, min(symbol)
    FROM analytics.lookup_cell WHERE symbol = %s AND momentum_bucket = 1::smallint
"""
WAITS_FOR_ADVISORY_LOCK = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
LOOKS_FOR_READERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%FROM pg_locks%relation = %' AND pid <> pg_backend_pid()
"""
ROWS = len(RULE.axes.ttcs_seconds)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Overrides pytest's fixture with a folder short enough for a server's socket."""
    with server_folder() as folder:
        yield folder


def active(database: Database, symbol: str) -> int:
    with database.connect("test", Role.READER) as connection:
        return active_generation(connection, symbol)


def poll(database: Database, symbol: str, style: str, stop: threading.Event, seen: list[tuple[object, ...]]) -> None:
    """Read until stopped and keep every result."""
    with psycopg.connect(database.conninfo("reader", Role.READER), autocommit=True) as connection:
        if style == "repeatable read":
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
        statement = VIEW if style == "view" else LADDER
        while not stop.is_set():
            with connection.transaction():
                for _ in range(3):
                    row = connection.execute(statement, [symbol], prepare=style == "prepared").fetchone()
                    assert row is not None
                    seen.append(row)


@contextmanager
def readers(database: Database, symbol: str) -> Iterator[dict[str, list[tuple[object, ...]]]]:
    """Readers of every kind that poll until the context ends."""
    seen: dict[str, list[tuple[object, ...]]] = {
        style: [] for style in ("read committed", "repeatable read", "prepared", "view")
    }
    stop = threading.Event()
    threads = [threading.Thread(target=poll, args=(database, symbol, style, stop, seen[style])) for style in seen]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(len(rows) >= 3 for rows in seen.values()), "a first read of every reader")
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def building_child(database: Database, symbol: str, stage: str, marker: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that builds up to a stage; killed at the end of the context if still running."""
    script = Path(killed_build.__file__)
    child = subprocess.Popen([sys.executable, str(script), database.url, symbol, stage, str(marker)])
    try:
        wait_until(lambda: marker.exists() or child.poll() is not None, f"stage {stage}")
        assert child.poll() is None
        yield child
    finally:
        child.kill()
        child.wait()


def test_all_readers_see_one_complete_generation_during_publications(database: Database, build: Build) -> None:
    generations = {build("SEE", seed=0)}
    with readers(database, "SEE") as seen:
        generations |= {build("SEE", seed=seed) for seed in range(1, 6)}
        last = active(database, "SEE")
        wait_until(
            lambda: all(rows[-1][0] == [last] for rows in seen.values()), "the last generation to be seen by all"
        )
    for style, rows in seen.items():
        assert {count for _, count, _ in rows} == {ROWS}, style
        assert all(len(found) == 1 and set(found) <= generations for found, _, _ in rows), style
        assert len({tuple(found) for found, _, _ in rows}) > 1, f"{style} saw no change"


def test_a_transaction_that_began_before_a_publish_keeps_its_generation(database: Database, build: Build) -> None:
    old = build("KEEP", seed=1)
    with psycopg.connect(database.conninfo("reader", Role.READER)) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        assert connection.execute(LADDER, ["KEEP"]).fetchone() == ([old], ROWS, "KEEP")
        new = build("KEEP", seed=2)
        assert connection.execute(LADDER, ["KEEP"]).fetchone() == ([old], ROWS, "KEEP")
        connection.commit()
        assert connection.execute(LADDER, ["KEEP"]).fetchone() == ([new], ROWS, "KEEP")


#: Blocks until it gets a lock. The planner also calls it to estimate rows, after it has listed the partitions.
HELD_UP = """
    CREATE FUNCTION held_up() RETURNS smallint STABLE SECURITY DEFINER LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(4711);
        RETURN 1::smallint;
    END $$
"""


def test_a_statement_planned_before_the_lookup_is_attached_reads_the_old_generation(
    database: Database, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.storage.models.generations.READERS_WAIT_SECONDS", TIMEOUT_SECONDS)

    def read() -> tuple[object, ...] | None:
        with database.connect("slow reader", Role.READER) as connection:
            statement = LADDER.replace("bucket = 1::smallint", "bucket BETWEEN held_up() AND 1::smallint")
            return connection.execute(statement, ["PLAN"]).fetchone()

    def publish_it(generation: int) -> None:
        with database.connect("test", Role.PIPELINE) as connection:
            publish(connection, generation)

    old = build("PLAN", seed=1)
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(database.url) as holder,
        psycopg.connect(database.url, autocommit=True) as looking,
    ):
        holder.execute(HELD_UP)
        holder.commit()
        holder.execute("SELECT pg_advisory_xact_lock(4711)")
        reading = threads.submit(read)
        wait_until(lambda: looking.execute(WAITS_FOR_ADVISORY_LOCK).fetchone() == (1,), "the reader's plan")
        new = build("PLAN", seed=2, publish_it=False)
        publishing = threads.submit(publish_it, new)
        wait_until(
            lambda: publishing.done() or looking.execute(LOOKS_FOR_READERS).fetchone() == (1,),
            "the publication, or its wait",
        )
        holder.rollback()
        publishing.result()
        assert reading.result() == ([old], ROWS, "PLAN")
        assert active(database, "PLAN") == new


def test_an_open_transaction_delays_a_publication_only_briefly(
    database: Database, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.storage.models.generations.READERS_WAIT_SECONDS", 0.1)
    old = build("OPEN", seed=1)
    with psycopg.connect(database.conninfo("reader", Role.READER)) as connection:
        assert connection.execute(LADDER, ["OPEN"]).fetchone() == ([old], ROWS, "OPEN")
        new = build("OPEN", seed=2)
        assert connection.execute(LADDER, ["OPEN"]).fetchone() == ([new], ROWS, "OPEN")


@pytest.mark.parametrize("stage", ["copy", "loaded"])
def test_a_build_killed_before_publishing_leaves_the_old_generation_readable(
    database: Database, build: Build, tmp_path: Path, stage: str
) -> None:
    symbol = stage.upper()
    old = build(symbol, seed=1)
    with readers(database, symbol) as seen:
        with building_child(database, symbol, stage, tmp_path / "marker") as child:
            child.send_signal(signal.SIGKILL)
            child.wait()
        counts = {style: len(rows) for style, rows in seen.items()}
        wait_until(lambda: all(len(seen[style]) > counts[style] for style in seen), "reads after the kill")
    assert all(row == ([old], ROWS, symbol) for rows in seen.values() for row in rows)
    assert build(symbol, seed=2) > old
    assert active(database, symbol) > old


def test_a_build_killed_during_copy_leaves_no_table(database: Database, build: Build, tmp_path: Path) -> None:
    build("TIDY", seed=1)
    tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^lookup_[0-9]+$'"
    with database.connect("test", None) as connection:
        before = connection.execute(tables).fetchone()
    with building_child(database, "TIDY", "copy", tmp_path / "marker") as child:
        child.kill()
    backends = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strikecast killed build'"
    with database.connect("test", None, autocommit=True) as connection:
        wait_until(lambda: connection.execute(backends).fetchone() == (0,), "the backend to notice")
        assert connection.execute(tables).fetchone() == before


def test_a_killed_server_restarts_with_the_old_generation_complete(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "postgres")
    with server.running() as url:
        database = Database(url)
        migrate(database)
        old = build_generation(database, "BTC", seed=1)
        with building_child(database, "BTC", "copy", tmp_path / "marker"):
            postmaster(server.data).kill()
            with EmbeddedServer(tmp_path / "postgres").running():
                with psycopg.connect(database.conninfo("reader", Role.READER)) as connection:
                    assert connection.execute(LADDER, ["BTC"]).fetchone() == ([old], ROWS, "BTC")
                assert build_generation(database, "BTC", seed=2) > old


def test_a_long_running_reader_and_a_publication_do_not_block_each_other(database: Database, build: Build) -> None:
    old = build("LONG", seed=1)
    with psycopg.connect(database.conninfo("long reader", Role.READER)) as long_reader:
        assert long_reader.execute(LADDER, ["LONG"]).fetchone() == ([old], ROWS, "LONG")
        with database.connect("test", Role.PIPELINE) as connection:
            connection.execute("SET lock_timeout = '100ms'")
            # Building attaches a partition; publishing updates the pointer. Neither may wait for the reader.
        new = build_generation(Database(database.url, lock_timeout_seconds=1), "LONG", seed=2)
        with psycopg.connect(database.conninfo("second reader", Role.READER)) as second:
            second.execute("SET lock_timeout = '100ms'")
            assert second.execute(LADDER, ["LONG"]).fetchone() == ([new], ROWS, "LONG")
        assert long_reader.execute(LADDER, ["LONG"]).fetchone() == ([new], ROWS, "LONG")


def test_a_dump_during_a_publication_contains_one_complete_generation(
    database: Database, build: Build, tmp_path: Path
) -> None:
    old = build("DUMP", seed=1)
    with psycopg.connect(database.url) as holder:
        holder.isolation_level = IsolationLevel.REPEATABLE_READ
        row = holder.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        new = build("DUMP", seed=2)
        dump = tmp_path / "dump.sql"
        subprocess.run(
            [
                str(postgres_bin_dir() / "pg_dump"),
                "--dbname",
                database.url,
                f"--snapshot={row[0]}",
                "--file",
                str(dump),
            ],
            check=True,
        )
    text = dump.read_text()
    pointer = re.search(r"COPY analytics.active_generation .*?\n(.*?)\\\.", text, re.DOTALL)
    assert pointer is not None
    assert f"DUMP\tmomentum\t{old}\t" in pointer[1]
    rows = re.search(rf"COPY analytics.lookup_{old} .*?\n(.*?)\\\.", text, re.DOTALL)
    assert rows is not None
    assert rows[1].count("\n") == RULE.axes.rows
    assert f"COPY analytics.lookup_{new} " not in text


def test_rollback_and_republication_switch_the_active_generation(database: Database, build: Build) -> None:
    first, second = build("BACK", seed=1), build("BACK", seed=2)
    with database.connect("test", Role.PIPELINE) as connection:
        assert roll_back(connection, "BACK") == (second, first)
    assert active(database, "BACK") == first
    with database.connect("test", Role.PIPELINE) as connection, pytest.raises(NoDataError, match="before"):
        roll_back(connection, "BACK")
    with database.connect("test", Role.PIPELINE) as connection:
        publish(connection, second)
    assert active(database, "BACK") == second


def test_a_rejected_generation_is_not_published(database: Database, build: Build) -> None:
    old = build("FAIL", seed=1)
    with database.connect("test", None) as connection:
        connection.execute("UPDATE analytics.model_version SET state = 'building' WHERE generation = %s", [old])
    new = build("FAIL", seed=2, publish_it=False)
    with database.connect("test", None) as connection:
        connection.execute("UPDATE analytics.model_version SET state = 'rejected' WHERE generation = %s", [new])
    with database.connect("test", Role.PIPELINE) as connection, pytest.raises(BuildError, match="rejected"):
        publish(connection, new)
    assert active(database, "FAIL") == old


def test_a_complete_generation_is_never_rejected_later(database: Database, build: Build) -> None:
    generation = build("DONE", seed=1)
    with database.connect("test", Role.PIPELINE) as connection:
        finish_generation(connection, generation, complete=False)
        assert read_version(connection, generation).state == "complete"


def test_a_generation_records_its_configuration_and_sizes(database: Database, build: Build) -> None:
    generation = build("INFO", seed=1)
    with database.connect("test", Role.READER) as connection:
        version = read_version(connection, generation)
    assert ModelConfig.from_json(version.config) == SMALL
    assert version.lookup_rows == RULE.axes.rows
    assert version.fingerprint_rows == (len(SMALL.buckets) + 1) * 60
    assert version.lookup_sha256 is not None
    assert version.bar_count is not None
    assert version.bar_count > 4_000


def test_a_publication_notifies_listeners(database: Database, build: Build) -> None:
    with psycopg.connect(database.conninfo("listener", Role.LIVE), autocommit=True) as connection:
        connection.execute("LISTEN strikecast_generation")
        build("TELL", seed=1)
        assert [note.payload for note in connection.notifies(timeout=TIMEOUT_SECONDS, stop_after=1)] == ["TELL"]
