"""A login that has strikecast_reader and no other role, and a command line that uses it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import conninfo, sql
from system import System

from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database, Role


@contextmanager
def reader_login(database: Database) -> Iterator[Database]:
    """The database as a new login whose only role is strikecast_reader."""
    name = f"strikecast_test_reader_{os.getpid()}"
    login = sql.Identifier(name)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'reader' IN ROLE {}").format(login, sql.Identifier(Role.READER))
        )
        try:
            yield Database(conninfo.make_conninfo(database.url, user=name, password="reader"))
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(login))


def command_line(database: Database, home: Path, **variables: str) -> System:
    """The command line with a home folder of its own, on a server that runs."""
    url = database.url_for(database.name)
    given = {"STRIKECAST_HOME": str(home), "STRIKECAST_DATABASE_URL": url, "COLUMNS": "200", "NO_COLOR": "1"}
    return System(home, load_settings(), database, {**os.environ, **given, **variables})
