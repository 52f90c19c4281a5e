"""Faults during a backup: a killed server, a publication, a wrong clock, a wrong password."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from backups import (
    SCRIPT,
    TIMEOUT_SECONDS,
    UNSIGNED,
    blocked_dump,
    now,
    run_script,
    start_script,
    visible_texts,
    wait_for_pg_dump,
)
from processes import command_line, descendants, kill_all, postmaster
from server_folders import server_folder
from small_builds import RULE
from waiting import wait_until

from pipelines.domain.maintenance.backups import RotationPolicy
from pipelines.maintenance.backup import list_backups, rotate_backups, verify_backup
from pipelines.maintenance.client_programs import find_client_programs
from pipelines.maintenance.restore import restore
from pipelines.storage.maintenance.restored_databases import drop_database
from pipelines.storage.models.generations import active_generation, publish
from pipelines.storage.models.ladders import ladder_payload
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer

Build = Callable[..., int]


@pytest.fixture
def own_server() -> Iterator[tuple[EmbeddedServer, Database]]:
    """A server of the test's own, which may be killed or reconfigured."""
    with server_folder() as folder:
        server = EmbeddedServer(folder / "pg")
        with server.running():
            yield server, Database(server.url("postgres"))


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.glob("*.partial/database.dump")]


def test_a_server_killed_during_the_dump_leaves_nothing_and_the_next_backup_is_complete(
    own_server: tuple[EmbeddedServer, Database], tmp_path: Path
) -> None:
    server, database = own_server
    with database.connect("test", None) as connection:
        connection.execute("CREATE TABLE long AS SELECT n, md5(n::text) FROM generate_series(1, 500000) n")
    with blocked_dump(database) as blocker, start_script(database, tmp_path) as child:
        wait_for_pg_dump(child)
        wait_until(lambda: stream_process(child, "pg_restore"), "pg_restore to read the stream", TIMEOUT_SECONDS)
        reading = stream_process(child, "pg_restore")
        assert reading is not None
        reading.suspend()  # the dump stops when the pipes are full
        blocker.rollback()
        wait_until(lambda: any(size > 0 for size in sizes(tmp_path)), "the dump to be written", TIMEOUT_SECONDS)
        first = postmaster(server.data)
        kill_all(first, *first.children())
        reading.resume()
        _, errors = child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 7, errors
    assert "pg_backup: pg_dump ended with 1: " in errors
    assert list(tmp_path.iterdir()) == []
    server.restart_if_stopped()
    assert run_script(database, tmp_path)[0] == 0
    tables = {one.table: one.rows for one in list_backups(tmp_path)[0].manifest.tables}
    assert tables == {"public.held": 0, "public.long": 500_000}


def stream_process(child: subprocess.Popen[str], program: str, target: str = "") -> psutil.Process | None:
    """A process of the script's pipeline, by its program and the end of its last argument."""
    for one in descendants(child.pid):
        with suppress(psutil.NoSuchProcess):
            if one.name() == program and (command_line(one) or [""])[-1].endswith(target):
                return one
    return None


@pytest.mark.parametrize(
    ("victim", "message"),
    [
        ("to-read", "pg_dump ended with 1|tee ended with 137"),
        ("database.dump", "cannot be written: .*tee ended with 137"),
    ],
)
def test_a_killed_process_of_the_pipeline_leaves_nothing_and_is_reported(
    database: Database, tmp_path: Path, victim: str, message: str
) -> None:
    with blocked_dump(database) as blocker, start_script(database, tmp_path) as child:
        wait_for_pg_dump(child)
        wait_until(lambda: stream_process(child, "tee", victim), "the pipeline to run", TIMEOUT_SECONDS)
        killed = stream_process(child, "tee", victim)
        assert killed is not None
        killed.kill()
        blocker.rollback()
        _, errors = child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 7, errors
    assert re.search(message, errors)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_was_set_back_loses_no_backup(database: Database, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "date").write_text(f'#!/bin/sh\nexec {shutil.which("date")} -d 2020-02-02T02:02:02Z "$@"\n')
    (clock / "date").chmod(0o755)
    folder = tmp_path / "backups"
    assert run_script(database, folder)[0] == 0
    for _ in range(2):  # both with the same time, before the first
        assert run_script(database, folder, PATH=f"{clock}:{os.environ['PATH']}")[0] == 0
    found = list_backups(folder)
    name = database.parameters["dbname"]
    assert [one.folder.name for one in found[:2]] == [f"{name}-20200202T020202Z-2", f"{name}-20200202T020202Z"]
    assert [verify_backup(one, now()).problem for one in found] == [None, None, None]
    long_ago = found[-1].manifest.snapshot_at.replace(year=2019)
    assert rotate_backups(folder, RotationPolicy(0, 0, 0, 0, 3), long_ago).delete == ()
    assert rotate_backups(folder, RotationPolicy(1, 0, 0, 0, 1), long_ago).delete == ()
    assert len(list_backups(folder)) == 3


def test_a_wrong_password_is_reported_and_not_disclosed(
    own_server: tuple[EmbeddedServer, Database], tmp_path: Path
) -> None:
    server, database = own_server
    programs = find_client_programs(database.server_major)
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres PASSWORD 'the right one'")
        (server.data / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        connection.execute("SELECT pg_reload_conf()")

    def refused() -> bool:
        try:
            psycopg.connect(database.url).close()
        except psycopg.OperationalError:
            return True
        return False

    def with_password(password: str) -> Database:
        return Database(database.url.replace("postgres@", f"postgres:{password}@"))

    wait_until(refused, "the server to ask for passwords")
    code, errors = run_script(with_password("the%20wrong%20one"), tmp_path, programs=programs)
    assert code == 4
    assert "the server cannot be used" in errors
    assert "password authentication failed" in errors
    assert "wrong one" not in errors
    assert list(tmp_path.iterdir()) == []
    right = with_password("the%20right%20one")
    with blocked_dump(right) as blocker, start_script(right, tmp_path, programs=programs) as child:
        wait_for_pg_dump(child)
        seen = visible_texts(child)
        blocker.rollback()
        output, errors = child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 0, errors
    assert not any("right one" in text or "right%20one" in text for text in [*seen, output, errors])


def test_a_name_may_have_spaces(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "folder of mine"
    for _ in range(2):
        code, errors = run_script(database, folder, "-n", "my backup")
        assert code == 0, errors
    assert {one.kept.series for one in list_backups(folder)} == {"my backup"}
    assert [verify_backup(one, now()).problem for one in list_backups(folder)] == [None, None]
    rotate_backups(folder, RotationPolicy(0, 0, 0, 0, 1), now())
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("name", [".hidden", "a/b", "two\nlines"])
def test_an_invalid_name_is_wrong_usage(database: Database, tmp_path: Path, name: str) -> None:
    assert SCRIPT.is_file()
    code, errors = run_script(database, tmp_path / "there", "-n", name)
    assert (code, "a name must not contain" in errors) == (2, True)


@pytest.mark.embedded_only
def test_a_publication_during_the_dump_is_consistent(database: Database, build: Build, tmp_path: Path) -> None:
    """One publication starts before the dump's snapshot and one after it; both commit during the dump."""
    old = {symbol: build(symbol, seed=1) for symbol in ("AHEAD", "LATER")}
    new = {symbol: build(symbol, seed=2, publish_it=False) for symbol in old}
    with (
        database.connect("ahead", Role.PIPELINE) as ahead,
        database.connect("later", Role.PIPELINE) as later,
        blocked_dump(database) as blocker,
    ):
        publish(ahead, new["AHEAD"])
        with start_script(database, tmp_path, "-r", Role.BACKUP) as child:
            wait_for_pg_dump(child)
            publish(later, new["LATER"])
            ahead.commit()
            later.commit()
            assert child.poll() is None
            blocker.rollback()
            _, errors = child.communicate(timeout=TIMEOUT_SECONDS)
            assert child.returncode == 0, errors
    name = f"{database.parameters['dbname']}_instant"
    restored = Database(database.url_for(name))
    try:
        assert restore(database, list_backups(tmp_path)[0], name, now(), trust=UNSIGNED).differences == ()
        for symbol, generation in old.items():
            with restored.connect("test", Role.READER) as connection:
                assert active_generation(connection, symbol) == generation
                rows = connection.execute(
                    "SELECT count(*) FROM analytics.lookup WHERE generation = %s AND bucket = 1::smallint", [generation]
                ).fetchone()
            assert rows == (len(RULE.axes.ttcs_seconds),)
            assert len(ladder_payload(restored, symbol, 0.25, 100.0, 900, 0.0)["probabilities"]) > 1
            with database.connect("test", Role.READER) as connection:
                assert active_generation(connection, symbol) == new[symbol]
    finally:
        drop_database(database, name)
