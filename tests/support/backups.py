"""`pg_backup.sh` as cron would run it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
from processes import command_line, descendants
from psycopg import sql
from waiting import wait_until

from pipelines.maintenance.client_programs import client_environment, find_client_programs
from pipelines.storage.postgres.connection import Database

#: A backup gives way to everything else that wants the processor: beside busy processes it takes many times as long.
TIMEOUT_SECONDS = 900.0
SCRIPT = Path(__file__).parents[2] / "pipelines" / "maintenance" / "pg_backup.sh"


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def script(
    database: Database, folder: Path, *options: str, programs: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """The shell script as cron would run it; after the context the server has noticed that it is gone."""
    with client_environment(database) as environment:
        child = subprocess.Popen(
            ["sh", SCRIPT, "-p", programs or find_client_programs(database.server_major), *options, folder],
            env={**environment, **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()
            wait_until(lambda: not serves_backup(database), "the server to notice that the script has ended")


def serves_backup(database: Database) -> list[int]:
    """The server's processes that work for a backup of a database; one that holds its locks keeps the next one out."""
    with (
        suppress(psycopg.OperationalError),
        psycopg.connect(database.url) as connection,
    ):  # who cannot ask need not wait
        return [
            pid
            for (pid,) in connection.execute(
                "SELECT pid FROM pg_stat_activity "
                "WHERE application_name = 'strikecast backup' AND datname = current_database()"
            )
        ]
    return []


@contextmanager
def dump_held_up(database: Database, table: str = "held") -> Iterator[psycopg.Connection]:
    """A lock that pg_dump waits for until the connection rolls back, so that a test cannot miss a backup at work.

    Leave the script's context after the rollback: the server's part of a killed backup waits for the lock, too.
    """
    with psycopg.connect(database.url) as blocker:
        name = sql.Identifier(table)
        blocker.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} (n integer)").format(name))
        blocker.commit()
        blocker.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
        try:
            yield blocker
        finally:
            blocker.rollback()


def dumping(child: subprocess.Popen[str]) -> psutil.Process:
    """The pg_dump of a script, once it runs."""
    wait_until(lambda: pg_dump_of(child) or child.poll() is not None, "pg_dump to run", TIMEOUT_SECONDS)
    found = pg_dump_of(child)
    assert found is not None, child.communicate()
    return found


def run(
    database: Database, folder: Path, *options: str, programs: Path | None = None, **variables: str
) -> tuple[int, str]:
    """The script's exit code and what it complained of."""
    with script(database, folder, *options, programs=programs, **variables) as child:
        _, complaints = child.communicate(timeout=TIMEOUT_SECONDS)
        return child.returncode, complaints


def pg_dump_of(child: subprocess.Popen[str]) -> psutil.Process | None:
    return next((one for one in descendants(child.pid) if "--format=custom" in command_line(one)), None)


def shown_by(child: subprocess.Popen[str]) -> list[str]:
    """What anybody of the same user may see of a process and of those it started: arguments and environment."""
    seen = []
    for one in [psutil.Process(child.pid), *descendants(child.pid)]:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            seen.append(" ".join([*one.cmdline(), *one.environ().values()]))
    assert seen
    return seen
