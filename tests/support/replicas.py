"""A server and its streaming replica."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from server_folders import server_folder
from waiting import wait_until

from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import DATABASE, EmbeddedServer, postgres_bin_dir
from pipelines.storage.postgres.schema import migrate


@contextmanager
def streaming_replica(primary: EmbeddedServer, directory: Path, **settings: str) -> Iterator[EmbeddedServer]:
    """A replica of a running server in a new directory, with settings of its own; it follows by a slot."""
    replica = EmbeddedServer(directory)
    directory.mkdir()
    subprocess.run(
        [
            postgres_bin_dir() / "pg_basebackup",
            "--write-recovery-conf",
            "--checkpoint=fast",
            f"--slot={directory.name}",
            "--create-slot",
            f"--pgdata={replica.data}",
            f"--host={primary.socket_dir}",
            "--username=postgres",
        ],
        check=True,
    )
    with (replica.data / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    replica.adopt_files()
    with replica.running():
        yield replica


@contextmanager
def migrated_server_with_replica(**settings: str) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """A server with the schema, and its replica with settings of its own."""
    with server_folder() as folder:
        primary = EmbeddedServer(folder / "a")
        with primary.running():
            migrate(Database(primary.url()))
            with streaming_replica(primary, folder / "b", **settings) as replica:
                wait_for_replay(primary, replica)
                yield primary, replica


def execute(server: EmbeddedServer, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
    """The rows of a statement on a server, by its superuser."""
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def wait_for_replay(primary: EmbeddedServer, replica: EmbeddedServer) -> None:
    """Wait until a replica has replayed all that was written."""
    (written,) = execute(primary, "SELECT pg_current_wal_flush_lsn()")[0]
    replayed = f"SELECT pg_last_wal_replay_lsn() >= '{written}'"
    wait_until(lambda: execute(replica, replayed) == [(True,)], "the replay of what was written")


@contextmanager
def stopped_replay(primary: EmbeddedServer, replica: EmbeddedServer, statement: str) -> Iterator[None]:
    """Within the context, the replica has received what a statement wrote, and does not replay it."""
    execute(replica, "SELECT pg_wal_replay_pause()")
    try:
        paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
        wait_until(lambda: execute(replica, paused) == [(True,)], "the pause of the replay")
        execute(primary, statement, DATABASE)
        received = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
        wait_until(lambda: execute(replica, received) == [(True,)], "the WAL to be received")
        yield
    finally:
        execute(replica, "SELECT pg_wal_replay_resume()")
