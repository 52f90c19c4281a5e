"""PgBouncer before a server: what works through it, what does not, and what is refused with advice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from poolers import pooler
from server_folders import server_folder

from pipelines.errors import DatabaseError
from pipelines.storage.files.archive import Archive
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import DATABASE, EmbeddedServer
from pipelines.storage.postgres.reading import ReadDatabase, read
from pipelines.storage.postgres.schema import migrate, require_current
from pipelines.storage.queries.frames import read_query

pytestmark = pytest.mark.needs("PgBouncer")

SESSION = "SELECT current_user::text, current_setting('statement_timeout'), current_setting('transaction_read_only')"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:  # type: ignore[override]
    with server_folder() as folder:
        found = EmbeddedServer(folder / "pg")
        with found.running():
            migrate(Database(found.url()))
            yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as found:
        yield found / "pooler"


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_a_pooler_as_the_main_address_is_refused_with_advice(server: EmbeddedServer, folder: Path, mode: str) -> None:
    with pooler(server, folder, mode) as url, pytest.raises(DatabaseError) as refused:
        require_current(Database(f"{url}/{DATABASE}"))
    assert "is a connection pooler, such as PgBouncer" in str(refused.value)
    assert "STRIKECAST_DATABASE_URL must name the server's own address" in str(refused.value)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_that_ignores_startup_options_is_recognised(server: EmbeddedServer, folder: Path, mode: str) -> None:
    with (
        pooler(server, folder, mode, ignore_startup_parameters="options") as url,
        pytest.raises(DatabaseError, match="is a connection pooler"),
    ):
        migrate(Database(f"{url}/{DATABASE}"))


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_reads_work_through_a_pooler_and_leave_nothing_behind(
    server: EmbeddedServer, folder: Path, mode: str, tmp_path: Path
) -> None:
    with pooler(server, folder, mode) as url:
        database = ReadDatabase(f"{url}/{DATABASE}", statement_timeout_seconds=7)
        for _ in range(2):  # the pool has one connection, which both use
            with database.connect("test", Role.READER) as connection:
                assert connection.execute(SESSION).fetchone() == ("strikecast_reader", "7s", "on")
            with psycopg.connect(database.url) as plain:
                assert plain.execute(SESSION).fetchone() == ("postgres", "0", "off")
        query = "SELECT version_num AS revision FROM public.schema_version"
        assert len(read_query(database, Archive(tmp_path), "SELECT count(*) AS bars FROM price")) == 1
        assert read(database, "test", lambda connection: len(connection.execute(query.encode()).fetchall())) == 1


def test_statement_mode_is_refused_because_a_read_is_a_transaction(server: EmbeddedServer, folder: Path) -> None:
    with pooler(server, folder, "statement") as url, pytest.raises(DatabaseError, match="session or transaction"):
        read(ReadDatabase(f"{url}/{DATABASE}"), "test", lambda _: None)


def test_in_transaction_mode_two_clients_hold_the_same_advisory_lock(server: EmbeddedServer, folder: Path) -> None:
    """Why the main address must be direct: nothing raises an error, and both are leaders."""
    with pooler(server, folder, "transaction") as url:
        target = f"{url}/{DATABASE}"
        with (
            psycopg.connect(target, autocommit=True, prepare_threshold=None) as first,
            psycopg.connect(target, autocommit=True, prepare_threshold=None) as second,
        ):
            locks = [one.execute("SELECT pg_try_advisory_lock(1)").fetchone() for one in (first, second)]
    assert locks == [(True,), (True,)]


def test_in_transaction_mode_a_client_hears_no_notification(server: EmbeddedServer, folder: Path) -> None:
    async def notifications(url: str) -> list[str]:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=None)
        async with connection:
            await connection.execute("LISTEN published")
            async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as direct:
                await direct.execute("LISTEN published")
                await direct.execute("NOTIFY published, 'twice'")
                heard = [one.payload async for one in direct.notifies(timeout=60, stop_after=1)]
            assert heard == ["twice"], "a direct connection hears it"
            # The pooler passes on what the server sent by the end of this statement.
            return [one.payload async for one in connection.notifies(timeout=1)]

    with pooler(server, folder, "transaction") as url:
        assert asyncio.run(notifications(f"{url}/{DATABASE}")) == []
