"""The documented set-up of a synchronous standby: replication, promotion, no loss of acknowledged rows."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from processes import kill_all, postmaster
from replicas import streaming_replica
from server_folders import server_folder
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.storage.monitoring.measurements import measure_standbys
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer


def rows(database: Database) -> set[int]:
    with psycopg.connect(database.url) as connection:
        return {row[0] for row in connection.execute("SELECT n FROM kept")}


@pytest.fixture
def pair() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """A server and its synchronous standby."""
    with server_folder() as folder:
        primary = EmbeddedServer(folder / "a")
        with primary.running():
            with psycopg.connect(primary.url("postgres"), autocommit=True) as connection:
                connection.execute("CREATE TABLE kept (n integer PRIMARY KEY)")
            with streaming_replica(primary, folder / "b") as standby:
                with psycopg.connect(primary.url("postgres"), autocommit=True) as connection:
                    connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                    connection.execute("SELECT pg_reload_conf()")
                yield primary, standby


def test_a_promoted_standby_has_all_rows_that_the_killed_primary_acknowledged(
    pair: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    primary, standby = (Database(server.url("postgres")) for server in pair)
    acknowledged: list[int] = []

    def write() -> None:
        with psycopg.connect(primary.url, autocommit=True) as connection:
            while True:
                try:
                    connection.execute("INSERT INTO kept VALUES (%s)", [len(acknowledged)])
                except psycopg.OperationalError:
                    return
                acknowledged.append(len(acknowledged))

    def synchronous() -> bool:
        with psycopg.connect(primary.url) as connection:
            return connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall() == [("sync",)]

    wait_until(synchronous, "commits to wait for the standby")
    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(acknowledged) > 200, "200 acknowledged rows")
    assert len(rows(standby)) > 0, "a standby answers queries"
    with primary.connect("test", None) as connection:
        [lag] = [one for one in measure_standbys(connection).items if one.name == "replication_lag_size"]
    assert 0 <= lag.value < 2**20, "an audit measures the lag"
    with psycopg.connect(standby.url) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO kept VALUES (-1)")
    first = postmaster(pair[0].data)
    kill_all(first, *first.children())
    writer.join(TIMEOUT_SECONDS)
    assert not writer.is_alive()
    with psycopg.connect(standby.url, autocommit=True) as connection:
        assert connection.execute("SELECT pg_promote()").fetchone() == (True,)
        # The copied configuration requires a synchronous standby, and there is none yet.
        connection.execute("SET synchronous_commit = local")
        connection.execute("INSERT INTO kept VALUES (-1)")
    found = rows(standby)
    assert -1 in found
    assert set(acknowledged) <= found, (
        f"{len(set(acknowledged) - found)} of {len(acknowledged)} acknowledged rows are lost"
    )
