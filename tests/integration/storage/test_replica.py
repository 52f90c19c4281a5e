"""Reads from a real streaming replica: what they need, how old they may be, and what they refuse."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from replicas import execute, migrated_server_with_replica, stopped_replay, streaming_replica, wait_for_replay
from server_folders import server_folder
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.errors import (
    DatabaseError,
    ReadCancelledError,
    ReplicaLagError,
    SchemaVersionError,
    ServerUnavailableError,
)
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.embedded import DATABASE, EmbeddedServer
from pipelines.storage.postgres.reading import (
    ReadDatabase,
    ReadState,
    inspect_reading,
    noting,
    read,
    read_state,
    wal_position,
)
from pipelines.storage.postgres.schema import migrate, needed_revision

ROW = "INSERT INTO kept VALUES (1)"

Servers = tuple[EmbeddedServer, EmbeddedServer]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """A server with the schema and a table, and its replica, which waits for no reader."""
    with migrated_server_with_replica(max_standby_streaming_delay="0") as both:
        execute(both[0], "CREATE TABLE kept (n integer); GRANT ALL ON kept TO PUBLIC", DATABASE)
        yield both


@pytest.fixture
def primary(servers: Servers) -> Database:
    return Database(servers[0].url())


@pytest.fixture
def replica(servers: Servers) -> Iterator[ReadDatabase]:
    """The replica, which has replayed all; a test may stop its replay."""
    primary, standby = servers
    execute(primary, "TRUNCATE kept", DATABASE)
    found = ReadDatabase(standby.url())
    wait_for_replay(*servers)
    yield found
    execute(standby, "SELECT pg_wal_replay_resume()")
    wait_for_replay(*servers)


def without_age(message: str) -> str:
    """A message without the age of the data, which has changed when it is asked for again."""
    return re.sub(r"[\d.,]+ s ago", "", message)


def count(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def test_a_replica_is_read_with_its_age_by_a_role_that_cannot_write(servers: Servers, replica: ReadDatabase) -> None:
    execute(servers[0], "INSERT INTO kept VALUES (1)", DATABASE)
    wait_for_replay(*servers)
    states: list[ReadState] = []
    with noting(replica, states.append).connect("test", Role.PIPELINE) as connection:
        assert connection.execute("SELECT current_user, current_setting('TimeZone')").fetchone() == (
            Role.PIPELINE,
            "UTC",
        )
        assert count(connection) == 1
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO kept VALUES (2)")
    (state,) = states
    assert state.is_replica
    assert state.as_of is not None
    assert state.as_of <= state.read_at
    assert "a replica, as of 20" in str(state)


def test_reads_of_a_primary_are_read_only_and_never_old(primary: Database) -> None:
    found = ReadDatabase(primary.url, max_lag_seconds=0)
    with found.connect("test", Role.PIPELINE) as connection:
        state = read_state(connection)
        assert (state.is_replica, state.lag_seconds, state.caught_up) == (False, 0.0, True)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO kept VALUES (2)")
    with found.connect("test", None) as connection, pytest.raises(psycopg.errors.ActiveSqlTransaction):
        connection.execute("SET transaction_read_only = off")


def test_a_read_waits_until_the_replica_has_what_the_primary_has(servers: Servers, replica: ReadDatabase) -> None:
    primary, standby = servers
    waiting, results = threading.Event(), list[int]()

    def read_all() -> None:
        found = replace(replica, needed=wal_position(Database(primary.url())), wait_seconds=TIMEOUT_SECONDS)
        waiting.set()
        results.append(read(found, "test", count))

    with stopped_replay(*servers, ROW):
        thread = threading.Thread(target=read_all)
        thread.start()
        assert waiting.wait(TIMEOUT_SECONDS)
        connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strikecast test'"
        wait_until(lambda: execute(standby, connected) == [(1,)], "the read to begin")
        assert results == []
    thread.join(TIMEOUT_SECONDS)
    assert results == [1]


def test_a_read_of_what_is_not_replayed_is_refused_and_never_answered_by_half(
    servers: Servers, replica: ReadDatabase
) -> None:
    with stopped_replay(*servers, ROW):
        needed = wal_position(Database(servers[0].url()))
        for one in (replace(replica, needed=needed), replace(replica, needed_at=datetime.now(UTC))):
            with pytest.raises(ReplicaLagError, match=r"has not replayed .* within 0 s: .*STRIKECAST_READ_LAG_SECONDS"):
                read(replace(one, wait_seconds=0), "test", count)
        assert read(replica, "test", count) == 0, "a read that needs nothing of now is answered"


def test_a_replica_that_lags_too_far_is_refused_with_its_age(servers: Servers, replica: ReadDatabase) -> None:
    with stopped_replay(*servers, ROW):
        strict = replace(replica, max_lag_seconds=0)
        with pytest.raises(ReplicaLagError, match=r"is a replica, as of .* s ago; reads accept 0 s") as refused:
            read(strict, "test", count)
        assert "unset STRIKECAST_READ_URL" in str(refused.value)
        report = inspect_reading(strict)
        assert without_age(report.problem or "") == without_age(str(refused.value))
        assert report.facts["caught_up"] is False
        assert report.facts["lag_seconds"] > 0
    wait_for_replay(*servers)
    wait_until(lambda: inspect_reading(strict).problem is None, "a replica that has all that it received to be read")


def test_a_migration_that_is_not_replayed_is_waited_for(servers: Servers, replica: ReadDatabase) -> None:
    change = "UPDATE public.schema_version SET version_num = '{}'"
    execute(servers[0], change.format("0001"), DATABASE)
    wait_for_replay(*servers)
    with pytest.raises(SchemaVersionError, match="has schema 0001, .* has not replayed the migration yet"):
        read(replica, "test", count)
    with stopped_replay(*servers, ROW):
        execute(servers[0], change.format(needed_revision()), DATABASE)
        with pytest.raises(SchemaVersionError, match="has not replayed the migration yet"):
            read(replace(replica, wait_seconds=0), "test", count)
    patient = replace(replica, needed=wal_position(Database(servers[0].url())), wait_seconds=TIMEOUT_SECONDS)
    assert read(patient, "test", count) == 1


def test_a_server_that_is_no_replica_of_the_database_is_refused(servers: Servers, primary: Database) -> None:
    needed = wal_position(primary)
    with ReadDatabase(primary.url, needed=needed).connect("test", Role.READER) as connection:
        assert not read_state(connection).is_replica, "the primary itself may be named"
    execute(servers[0], "CREATE DATABASE other")
    try:
        other = ReadDatabase(servers[0].url("other"))
        with pytest.raises(DatabaseError, match="is not a replica of the database of STRIKECAST_DATABASE_URL"):
            read(replace(other, needed=needed), "test", count)
        with pytest.raises(SchemaVersionError, match=r"\(STRIKECAST_READ_URL\) has no strikecast schema"):
            read(other, "test", count)
        problem = inspect_reading(replace(other), needed.database_id).problem
        assert problem is not None
        assert "has no strikecast schema" in problem
    finally:
        execute(servers[0], "DROP DATABASE other WITH (FORCE)")


def test_a_login_without_the_readers_role_is_told_what_it_lacks(servers: Servers, replica: ReadDatabase) -> None:
    execute(servers[0], "CREATE ROLE stranger LOGIN")
    wait_for_replay(*servers)
    stranger = replace(replica, url=replica.url.replace("postgres@", "stranger@"))
    with pytest.raises(DatabaseError, match="GRANT strikecast_reader TO stranger"):
        read(stranger, "test", count)


def test_a_replica_as_the_main_address_is_refused_where_scores_are_stored(replica: ReadDatabase) -> None:
    with pytest.raises(DatabaseError, match=r"\(STRIKECAST_DATABASE_URL\) is a replica: name the primary"):
        wal_position(Database(replica.url))


def test_a_read_that_the_replay_cancels_is_repeated(servers: Servers, replica: ReadDatabase) -> None:
    attempts: list[int] = []

    def conflicting(connection: Connection) -> int:
        attempts.append(count(connection))  # its lock lasts until the transaction ends
        if len(attempts) == 1:
            execute(servers[0], "ALTER TABLE kept ADD COLUMN later integer", DATABASE)
            connection.execute("SELECT pg_sleep(%s)", [TIMEOUT_SECONDS])
        return attempts[-1]

    assert read(replica, "test", conflicting) == 0
    assert attempts == [0, 0]


def test_a_read_that_is_always_cancelled_is_explained(servers: Servers, replica: ReadDatabase) -> None:
    def conflicting(connection: Connection) -> None:
        count(connection)
        execute(servers[0], "ALTER TABLE kept ADD COLUMN IF NOT EXISTS again integer", DATABASE)
        execute(servers[0], "ALTER TABLE kept DROP COLUMN again", DATABASE)
        connection.execute("SELECT pg_sleep(%s)", [TIMEOUT_SECONDS])

    with pytest.raises(ReadCancelledError, match="hot_standby_feedback = on"):
        read(replica, "test", conflicting)


def test_a_replica_without_its_primary_is_read_until_it_is_too_old_and_a_promoted_one_is_refused() -> None:
    with server_folder() as folder:
        first = EmbeddedServer(folder / "a")
        with first.running():
            migrate(Database(first.url()))
            with streaming_replica(first, folder / "b") as second:
                found = ReadDatabase(second.url(), max_lag_seconds=3_600)
                execute(first, "CREATE TABLE kept (n integer)", DATABASE)
                needed = wal_position(Database(first.url()))
                read(replace(found, needed=needed, wait_seconds=TIMEOUT_SECONDS), "test", read_state)
                first.stop()
                wait_until(lambda: not read(found, "test", read_state).caught_up, "the connection to be lost")
                with pytest.raises(ReplicaLagError, match="reads accept 0 s"):
                    read(replace(found, max_lag_seconds=0), "test", read_state)
                execute(second, "SELECT pg_promote()")
                with pytest.raises(DatabaseError, match="is no replica any more"):
                    read(replace(found, needed=needed), "test", read_state)
        with pytest.raises(ServerUnavailableError, match="STRIKECAST_READ_URL names it: start it, or unset"):
            read(found, "test", read_state)
