"""Provide a current database and the environment of Dagster's programs, without loading Dagster itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.deployment import dagster_environment, running_server
from pipelines.errors import DatabaseError
from pipelines.log import Log
from pipelines.service.dagster_home import write_dagster_home
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.schema import ensure_database, migrate


@contextmanager
def prepared_environment(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """Run the server with a current schema, Dagster's database, DAGSTER_HOME, and the environment for children."""
    with running_server(settings, log) as database:
        before = migrate(database)
        if not before.is_current:
            log(f"database schema {before.found or 'none'} -> {before.needed}")
        ensure_database(database, settings.dagster_database)
        write_dagster_home(settings)
        os.environ.update(dagster_environment(settings, database))
        yield database


@contextmanager
def prepared_system(settings: Settings, log: Log = lambda _: None) -> Iterator[Database]:
    """As `instance.prepared_instance`, whose work is done by a child process.

    A process that loads Dagster keeps 100 MB of it, which the supervisor does not need. Raises DatabaseError with the
    child's message.
    """
    with prepared_environment(settings, log) as database:
        command = [sys.executable, "-m", "pipelines.service.instance"]
        child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        for line in child.stdout.splitlines():
            log(line)
        if child.returncode != 0:
            last = (child.stderr.splitlines() or [f"exit code {child.returncode}"])[-1]
            raise DatabaseError(f"Dagster's database cannot be prepared: {last}")
        yield database
