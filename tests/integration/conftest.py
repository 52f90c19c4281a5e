"""PostgreSQL servers: the embedded one, and the server of STRIKECAST_TEST_DATABASE_URL if that is set.

Each test module gets its own migrated database, which is dropped afterwards.
"""

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import gettempdir

import psycopg
import pytest
from psycopg import sql
from server_folders import server_folder
from small_builds import build_generation

from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.schema import migrate

REAL_SERVER = os.environ.get("STRIKECAST_TEST_DATABASE_URL")
SERVERS = ["embedded", *(["real"] if REAL_SERVER else [])]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    """URL of an embedded server that runs for the test session."""
    with server_folder() as folder, EmbeddedServer(folder / "pg").running() as url:
        yield url


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Database:
    """A database of each server, from which others can be created."""
    if request.param == "real":
        assert REAL_SERVER is not None
        with _one_process_at_a_time():  # the first migration creates the server's roles
            created = Database(Database(REAL_SERVER).url_for(f"strikecast_test_{os.getpid()}"))
            migrate(created)
            _drop(created)
        return Database(REAL_SERVER)
    url: str = request.getfixturevalue("embedded_url")
    return Database(url)


@pytest.fixture(scope="module")
def empty_database(server: Database) -> Iterator[Database]:
    """This module's database, not created yet; dropped at the end."""
    name = f"strikecast_test_{os.getpid()}_{next(_numbers)}"
    created = Database(server.url_for(name))
    yield created
    _drop(created)


@contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    with (Path(gettempdir()) / "strikecast-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _drop(database: Database) -> None:
    name = sql.Identifier(str(database.parameters["dbname"]))
    with psycopg.connect(database.url_for("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@pytest.fixture(scope="module")
def database(empty_database: Database) -> Database:
    """This module's database, migrated."""
    migrate(empty_database)
    return empty_database


@pytest.fixture
def pipeline(database: Database) -> Iterator[Connection]:
    """A connection with the pipeline role; uncommitted changes are rolled back."""
    with psycopg.connect(database.conninfo("test", Role.PIPELINE)) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def build(database: Database) -> Callable[..., int]:
    """`build(symbol, seed=..., publish_it=True)` in this module's database."""
    return partial(build_generation, database)


@pytest.fixture
def settings(database: Database) -> Settings:
    """Settings with the test's home folder."""
    return load_settings()


@pytest.fixture
def published(database: Database, build: Callable[..., int]) -> Database:
    """This module's database with a published generation of BTC."""
    with database.connect("test", None) as connection:
        if connection.execute("SELECT FROM analytics.active_generation").fetchone() is None:
            build("BTC", seed=1)
    return database


@pytest.fixture
def no_bars(database: Database) -> None:
    """Remove the bars of other tests, which may be the same under other symbols."""
    with database.connect("test", Role.PIPELINE) as connection:
        connection.execute("DELETE FROM historical_data.price_history")
