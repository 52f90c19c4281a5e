"""Backups with PostgreSQL's programs: every finished backup restores, and a failed one leaves nothing."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
from backups import (
    SCRIPT,
    TIMEOUT_SECONDS,
    UNSIGNED,
    backup_backends,
    blocked_dump,
    now,
    run_script,
    start_script,
    visible_texts,
    wait_for_pg_dump,
)
from processes import descendants, kill_all
from small_disks import small_disk
from waiting import wait_until

from pipelines.domain.maintenance.backups import RotationPolicy
from pipelines.errors import AlreadyRunningError, BackupError, DatabaseError, NoDataError
from pipelines.maintenance.backup import (
    DUMP,
    MANIFEST,
    Backup,
    create_backup,
    find_backup,
    list_backups,
    rotate_backups,
    verify_backup,
)
from pipelines.maintenance.client_programs import find_client_programs
from pipelines.maintenance.restore import DRILL_PREFIX, restore, restore_in_place, run_drill
from pipelines.settings import load_settings
from pipelines.storage.maintenance.restored_databases import drop_database, table_facts
from pipelines.storage.postgres.connection import Database, Role

Build = Callable[..., int]


@pytest.fixture(scope="module")
def filled(database: Database) -> Database:
    """A database with a quarter of a million rows."""
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute(
            "INSERT INTO historical_data.price_history SELECT 'BTC', '2024-01-01Z'::timestamptz + m * interval '1 minute', "
            "100 + random(), 102, 99, 100 + random(), m FROM generate_series(0, 250000) AS m"
        )
    return database


def test_a_restored_backup_equals_the_database(filled: Database, build: Build, tmp_path: Path) -> None:
    build("LADDER", seed=1)
    made = create_backup(filled, tmp_path)
    assert [one.folder for one in list_backups(tmp_path)] == [made.folder]
    assert sorted(path.name for path in made.folder.iterdir()) == [DUMP, MANIFEST, "roles.sql"]
    assert {path.stat().st_mode & 0o777 for path in made.folder.iterdir()} == {0o600}
    assert made.folder.stat().st_mode & 0o777 == 0o700
    assert made.manifest.tables == table_facts(filled)
    assert {one.table: one.rows for one in made.manifest.tables}["historical_data.price_history_btc"] == 250_001
    roles = (made.folder / "roles.sql").read_text()
    assert "CREATE ROLE strikecast_owner" in roles
    assert "PASSWORD" not in roles
    name = f"{filled.parameters['dbname']}_copy"
    try:
        done = restore(filled, made, name, now(), trust=UNSIGNED)
        assert done.differences == ()
        assert done.rows == made.manifest.rows
        with Database(filled.url_for(name)).connect("test", Role.READER) as connection:
            assert connection.execute("SELECT count(*) FROM historical_data.price_history").fetchone() == (250_001,)
        with pytest.raises(DatabaseError, match="already exists"):
            restore(filled, made, name, now(), trust=UNSIGNED)
        assert table_facts(Database(filled.url_for(name))) == made.manifest.tables, "the existing database is unchanged"
    finally:
        drop_database(filled, name)


def test_a_drill_restores_compares_reads_a_ladder_and_drops_its_database(
    filled: Database, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"BTC": {"strike_tier_usd": 0.25}, "ETH": {"enabled": false}}')
    build("BTC", seed=1)
    made = create_backup(filled, tmp_path)
    done = run_drill(load_settings(), filled, made, now(), trust=UNSIGNED)
    assert (done.differences, done.ladders) == ((), 1)
    with psycopg.connect(filled.url_for("postgres")) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{DRILL_PREFIX}%"]
        ).fetchall()
    assert left == []
    assert find_backup(tmp_path, None).verified_at is not None


def test_a_transaction_during_the_dump_is_included_completely_or_not_at_all(filled: Database, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with filled.connect("writer", None, autocommit=True) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                with connection.transaction():  # atomic
                    connection.execute("INSERT INTO pair_a VALUES (%s)", [number])
                    connection.execute("INSERT INTO pair_b VALUES (%s)", [number])

    with filled.connect("test", None) as connection:
        connection.execute("CREATE TABLE pair_a (n integer)")
        connection.execute("CREATE TABLE pair_b (n integer)")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = create_backup(filled, tmp_path)
    finally:
        stop.set()
        writer.join()
    facts = {one.table: one for one in made.manifest.tables}
    assert facts["public.pair_a"].rows == facts["public.pair_b"].rows > 0
    assert facts["public.pair_a"].checksum == facts["public.pair_b"].checksum
    name = f"{filled.parameters['dbname']}_instant"
    try:
        assert restore(filled, made, name, now(), trust=UNSIGNED).differences == ()
    finally:
        drop_database(filled, name)
        with filled.connect("test", None) as connection:
            connection.execute("DROP TABLE pair_a, pair_b")


def test_a_killed_pg_dump_leaves_nothing_and_is_reported(filled: Database, tmp_path: Path) -> None:
    with blocked_dump(filled) as blocker, start_script(filled, tmp_path) as child:
        wait_for_pg_dump(child).kill()
        _, errors = child.communicate(timeout=TIMEOUT_SECONDS)
        blocker.rollback()
    assert child.returncode == 7
    assert "pg_backup: pg_dump ended with 137" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.embedded_only
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_backup_leaves_nothing(
    filled: Database, tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    with blocked_dump(filled) as blocker, start_script(filled, tmp_path) as child:
        wait_for_pg_dump(child)
        child.send_signal(sign)
        assert child.wait(timeout=TIMEOUT_SECONDS) == code
        blocker.rollback()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_script_leaves_only_a_partial_folder(filled: Database, tmp_path: Path) -> None:
    with blocked_dump(filled) as blocker, start_script(filled, tmp_path) as child:
        wait_for_pg_dump(child)
        started = descendants(child.pid)
        child.kill()
        child.wait()
        kill_all(*started)
        blocker.rollback()
    left = list(tmp_path.iterdir())
    assert [path.suffix for path in left] == [".partial"]
    assert list_backups(tmp_path) == []

    def succeeds() -> bool:  # once the server has closed the killed script's session
        try:
            create_backup(filled, tmp_path)
        except AlreadyRunningError:
            return False
        return True

    wait_until(succeeds, "the next backup")
    assert [path.name for path in tmp_path.iterdir()] == [list_backups(tmp_path)[0].folder.name], "the leftover is gone"


def test_a_second_backup_of_the_same_database_is_refused(filled: Database, tmp_path: Path) -> None:
    with blocked_dump(filled) as blocker, start_script(filled, tmp_path) as child:
        wait_for_pg_dump(child)
        with pytest.raises(AlreadyRunningError, match="another backup of .* is running"):
            create_backup(filled, tmp_path)
        blocker.rollback()
        child.communicate(timeout=TIMEOUT_SECONDS)
        assert child.returncode == 0
    assert len(list_backups(tmp_path)) == 1


@pytest.mark.needs("a mount")
def test_a_full_disk_is_reported_before_or_during_the_dump_and_leaves_nothing(filled: Database, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as mounted:
        code, errors = run_script(filled, mounted)
        assert code == 6
        assert "kB free" in errors
        # A small earlier backup makes the script expect a small one.
        older = mounted / f"{filled.parameters['dbname']}-20200101T000000Z"
        older.mkdir()
        (older / DUMP).write_bytes(b"x")
        code, errors = run_script(filled, mounted)
        assert code == 7
        assert "No space left" in errors
        assert [path.name for path in mounted.iterdir()] == [older.name]


def test_an_unwritable_folder_and_an_unknown_service_have_their_exit_codes(filled: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert run_script(filled, tmp_path / "file" / "below")[0] == 6
    code, errors = run_script(filled, tmp_path / "there", PGSERVICE="unknown")
    assert (code, "cannot be used" in errors) == (4, True)
    assert list((tmp_path / "there").iterdir()) == []


def test_a_pg_dump_older_than_the_server_is_refused(filled: Database, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("pg_dump", "pg_restore", "pg_dumpall"):
        (old / name).write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 9.6.24"\n')
        (old / name).chmod(0o755)
    (old / "psql").symlink_to(find_client_programs(filled.server_major) / "psql")
    code, errors = run_script(filled, tmp_path / "there", "-p", str(old))
    assert code == 3
    assert "an older pg_dump cannot dump it" in errors


def test_the_password_is_in_no_argument_variable_output_or_file(filled: Database, tmp_path: Path) -> None:
    parameters = filled.parameters
    secret = Database(
        f"postgresql://{parameters.get('user')}:hush-hush@{parameters['host'] if not str(parameters['host']).startswith('/') else ''}/{parameters['dbname']}?host={parameters['host']}"
    )
    with blocked_dump(filled) as blocker, start_script(secret, tmp_path) as child:
        wait_for_pg_dump(child)
        seen = visible_texts(child)
        blocker.rollback()
        output, errors = child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 0, errors
    assert not any("hush-hush" in text for text in [*seen, output, errors])
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hush-hush" not in path.read_bytes()


@pytest.mark.embedded_only
@pytest.mark.usefixtures("lowered_priorities")
def test_a_backup_runs_at_low_priority(filled: Database, tmp_path: Path) -> None:
    def has_low_priority() -> bool:
        nice: set[int] = set()
        for pid in backup_backends(filled):
            with suppress(psutil.NoSuchProcess):
                nice.add(psutil.Process(pid).nice())
        return 10 in nice

    with blocked_dump(filled) as blocker, start_script(filled, tmp_path) as child:
        assert os.sched_getscheduler(wait_for_pg_dump(child).pid) == os.SCHED_IDLE
        wait_until(has_low_priority, "the backends to have low priority", TIMEOUT_SECONDS)
        blocker.rollback()
        _, errors = child.communicate(timeout=TIMEOUT_SECONDS)
        assert child.returncode == 0, errors


def damage(made: Backup, kind: str) -> None:
    content = bytearray((made.folder / DUMP).read_bytes())
    if kind == "cut":
        del content[len(content) // 2 :]
    elif kind == "flipped":
        content[len(content) // 2] ^= 1
    (made.folder / DUMP).write_bytes(content)
    if kind == "deleted":
        (made.folder / DUMP).unlink()


@pytest.mark.embedded_only
@pytest.mark.parametrize("kind", ["cut", "flipped", "deleted"])
def test_a_damaged_backup_is_detected_and_not_restored(database: Database, tmp_path: Path, kind: str) -> None:
    undamaged, made = create_backup(database, tmp_path), create_backup(database, tmp_path)
    assert verify_backup(made, now()).problem is None
    damage(made, kind)
    with pytest.raises(BackupError, match=f"{made.folder.name} is damaged: database.dump"):
        restore(database, made, "not_created", now(), trust=UNSIGNED)
    with psycopg.connect(database.url_for("postgres")) as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = 'not_created'").fetchone() is None
    assert find_backup(tmp_path, None).folder == undamaged.folder, "the newest undamaged backup"
    rotate_backups(tmp_path, RotationPolicy(0, 0, 0, 0, 1), now())
    assert undamaged.folder.is_dir()


def test_a_restore_in_place_keeps_the_replaced_database(server: Database, tmp_path: Path) -> None:
    name = f"strikecast_test_{uuid4().hex}"
    from pipelines.storage.postgres.schema import migrate

    used = Database(server.url_for(name))
    migrate(used)
    kept_as = None
    try:
        with used.connect("test", None) as connection:
            connection.execute("CREATE TABLE here AS SELECT 1 AS n")
        made = create_backup(used, tmp_path / "folder with spaces")
        with used.connect("test", None) as connection:
            connection.execute("UPDATE here SET n = 2")
        with pytest.raises(BackupError, match=f"database {name} exists: restore with --into NAME"):
            restore_in_place(used, made, now(), trust=UNSIGNED)
        busy = psycopg.connect(used.url)
        busy.execute("SELECT 1")
        (kept_as,) = restore_in_place(used, made, now(), replace=True, trust=UNSIGNED).kept_as
        busy.close()
        assert kept_as is not None
        with used.connect("test", None) as connection:
            assert connection.execute("SELECT n FROM here").fetchone() == (1,)
        with Database(used.url_for(kept_as)).connect("test", None) as connection:
            assert connection.execute("SELECT n FROM here").fetchone() == (2,)
    finally:
        drop_database(server, name)
        if kept_as is not None:
            drop_database(server, kept_as)


def test_a_missing_backup_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="run `strikecast backup create`"):
        find_backup(tmp_path, None)
    with pytest.raises(NoDataError, match="there is no backup 'x'"):
        find_backup(tmp_path, "x")


@pytest.mark.embedded_only
def test_rotation_deletes_no_folder_without_a_valid_manifest(database: Database, tmp_path: Path) -> None:
    for name in ("photos", "strikecast-20200101T000000Z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / DUMP).write_bytes(b"mine")
    (tmp_path / "photos" / MANIFEST).write_text('{"format": 7}')
    create_backup(database, tmp_path)
    newest = create_backup(database, tmp_path)
    plan = rotate_backups(tmp_path, RotationPolicy(0, 0, 0, 0, 1), now())
    assert len(plan.delete) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["photos", "strikecast-20200101T000000Z", newest.folder.name]
    )


def test_the_script_prints_its_usage() -> None:
    done = subprocess.run(["sh", SCRIPT, "-h"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "usage: pg_backup.sh" in done.stdout
    assert "exit: 0 done" in done.stdout
    assert subprocess.run(["sh", SCRIPT], capture_output=True, check=False).returncode == 2


def test_a_large_object_of_another_login_stops_no_backup(database: Database, tmp_path: Path) -> None:
    """Any login can make one, and nobody else may read it."""
    with database.connect("test", Role.READER) as connection:
        connection.execute("SELECT lo_from_bytea(0, 'x')")
    assert create_backup(database, tmp_path).folder.is_dir()
