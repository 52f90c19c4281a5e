"""What goes wrong around a backup: the server dies, a publication is under way, the clock is wrong, the password too."""

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
from backups import SCRIPT, TIMEOUT_SECONDS, dump_held_up, dumping, now, run, script, shown_by
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
def mortal() -> Iterator[tuple[EmbeddedServer, Database]]:
    """A server of a test's own, to be killed or locked."""
    with server_folder() as folder:
        server = EmbeddedServer(folder / "pg")
        with server.running():
            yield server, Database(server.url("postgres"))


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.glob("*.partial/database.dump")]


def test_a_server_killed_in_mid_dump_leaves_nothing_and_the_next_backup_is_whole(
    mortal: tuple[EmbeddedServer, Database], tmp_path: Path
) -> None:
    server, database = mortal
    with database.connect("test", None) as connection:
        connection.execute("CREATE TABLE long AS SELECT n, md5(n::text) FROM generate_series(1, 500000) n")
    with dump_held_up(database) as blocker, script(database, tmp_path) as child:
        dumping(child)
        wait_until(lambda: part_of(child, "pg_restore"), "the stream to be read", TIMEOUT_SECONDS)
        reading = part_of(child, "pg_restore")
        assert reading is not None
        reading.suspend()  # so that the dump stops where the pipes are full
        blocker.rollback()
        wait_until(lambda: any(size > 0 for size in sizes(tmp_path)), "the dump to be written", TIMEOUT_SECONDS)
        first = postmaster(server.data)
        kill_all(first, *first.children())
        reading.resume()
        _, complaints = child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 7, complaints
    assert "pg_backup: pg_dump ended with 1: " in complaints
    assert list(tmp_path.iterdir()) == []
    server.restart_if_stopped()
    assert run(database, tmp_path)[0] == 0
    tables = {one.table: one.rows for one in list_backups(tmp_path)[0].manifest.tables}
    assert tables == {"public.held": 0, "public.long": 500_000}


def part_of(child: subprocess.Popen[str], program: str, target: str = "") -> psutil.Process | None:
    """A process of the script's stream, by its program and the end of its last argument."""
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
def test_a_killed_part_of_the_stream_leaves_nothing_and_is_told(
    database: Database, tmp_path: Path, victim: str, message: str
) -> None:
    with dump_held_up(database) as blocker, script(database, tmp_path) as child:
        dumping(child)
        wait_until(lambda: part_of(child, "tee", victim), "the stream to flow", TIMEOUT_SECONDS)
        killed = part_of(child, "tee", victim)
        assert killed is not None
        killed.kill()
        blocker.rollback()
        _, complaints = child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 7, complaints
    assert re.search(message, complaints)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_went_back_loses_no_backup(database: Database, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "date").write_text(f'#!/bin/sh\nexec {shutil.which("date")} -d 2020-02-02T02:02:02Z "$@"\n')
    (clock / "date").chmod(0o755)
    folder = tmp_path / "backups"
    assert run(database, folder)[0] == 0
    for _ in range(2):  # of one stamp, and older by it than the first
        assert run(database, folder, PATH=f"{clock}:{os.environ['PATH']}")[0] == 0
    found = list_backups(folder)
    name = database.parameters["dbname"]
    assert [one.folder.name for one in found[:2]] == [f"{name}-20200202T020202Z-2", f"{name}-20200202T020202Z"]
    assert [verify_backup(one, now()).problem for one in found] == [None, None, None]
    long_ago = found[-1].manifest.snapshot_at.replace(year=2019)
    assert rotate_backups(folder, RotationPolicy(0, 0, 0, 0, 3), long_ago).delete == ()
    assert rotate_backups(folder, RotationPolicy(1, 0, 0, 0, 1), long_ago).delete == ()
    assert len(list_backups(folder)) == 3


def test_a_wrong_password_is_told_and_seen_by_nobody(mortal: tuple[EmbeddedServer, Database], tmp_path: Path) -> None:
    server, database = mortal
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

    def by(password: str) -> Database:
        return Database(database.url.replace("postgres@", f"postgres:{password}@"))

    wait_until(refused, "the server to ask for passwords")
    code, complaints = run(by("the%20wrong%20one"), tmp_path, programs=programs)
    assert code == 4
    assert "the server cannot be used" in complaints
    assert "password authentication failed" in complaints
    assert "wrong one" not in complaints
    assert list(tmp_path.iterdir()) == []
    right = by("the%20right%20one")
    with dump_held_up(right) as blocker, script(right, tmp_path, programs=programs) as child:
        dumping(child)
        seen = shown_by(child)
        blocker.rollback()
        said, complaints = child.communicate(timeout=TIMEOUT_SECONDS)
    assert child.returncode == 0, complaints
    assert not any("right one" in text or "right%20one" in text for text in [*seen, said, complaints])


def test_a_name_may_have_spaces(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "folder of mine"
    for _ in range(2):
        code, complaints = run(database, folder, "-n", "my backup")
        assert code == 0, complaints
    assert {one.kept.series for one in list_backups(folder)} == {"my backup"}
    assert [verify_backup(one, now()).problem for one in list_backups(folder)] == [None, None]
    rotate_backups(folder, RotationPolicy(0, 0, 0, 0, 1), now())
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("name", [".hidden", "a/b", "two\nlines"])
def test_a_name_that_is_none_is_wrong_usage(database: Database, tmp_path: Path, name: str) -> None:
    assert SCRIPT.is_file()
    code, complaints = run(database, tmp_path / "there", "-n", name)
    assert (code, "a name has neither slashes" in complaints) == (2, True)


@pytest.mark.embedded_only
def test_a_publication_during_the_dump_is_not_half_in_it(database: Database, build: Build, tmp_path: Path) -> None:
    """One begun before the dump's snapshot, one after it; both end while the dump runs."""
    old = {symbol: build(symbol, seed=1) for symbol in ("AHEAD", "LATER")}
    new = {symbol: build(symbol, seed=2, publish_it=False) for symbol in old}
    with (
        database.connect("ahead", Role.PIPELINE) as ahead,
        database.connect("later", Role.PIPELINE) as later,
        dump_held_up(database) as blocker,
    ):
        publish(ahead, new["AHEAD"])
        with script(database, tmp_path, "-r", Role.BACKUP) as child:
            dumping(child)
            publish(later, new["LATER"])
            ahead.commit()
            later.commit()
            assert child.poll() is None
            blocker.rollback()
            _, complaints = child.communicate(timeout=TIMEOUT_SECONDS)
            assert child.returncode == 0, complaints
    name = f"{database.parameters['dbname']}_instant"
    restored = Database(database.url_for(name))
    try:
        assert restore(database, list_backups(tmp_path)[0], name, now()).differences == ()
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
