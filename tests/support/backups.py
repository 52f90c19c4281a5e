"""Run `pg_backup.sh` as cron does, and hold it in the middle of a dump."""

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
from pipelines.maintenance.restore import Trust
from pipelines.storage.postgres.connection import Database

#: For tests of something else than the origin of a backup.
UNSIGNED = Trust(None, unsigned=True)
#: A backup runs at low priority, so it takes many times as long on a busy host.
TIMEOUT_SECONDS = 900.0
SCRIPT = Path(__file__).parents[2] / "pipelines" / "maintenance" / "pg_backup.sh"


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def start_script(
    database: Database, folder: Path, *options: str, programs: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """The running script; on exit it is killed, and the server has closed its sessions."""
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
            wait_until(lambda: not backup_backends(database), "the server to close the script's sessions")


def backup_backends(database: Database) -> list[int]:
    """Process ids of the server's backends of a backup; their locks prevent the next backup."""
    with suppress(psycopg.OperationalError), psycopg.connect(database.url) as connection:  # no server, no backends
        return [
            pid
            for (pid,) in connection.execute(
                "SELECT pid FROM pg_stat_activity "
                "WHERE application_name = 'strikecast backup' AND datname = current_database()"
            )
        ]
    return []


@contextmanager
def blocked_dump(database: Database, table: str = "held") -> Iterator[psycopg.Connection]:
    """Hold a lock that pg_dump waits for, until the yielded connection rolls back.

    Leave the script's context after the rollback: the backend of a killed backup waits for the lock, too.
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


def wait_for_pg_dump(child: subprocess.Popen[str]) -> psutil.Process:
    """The script's pg_dump process, once it runs."""
    wait_until(lambda: pg_dump_of(child) or child.poll() is not None, "pg_dump to run", TIMEOUT_SECONDS)
    found = pg_dump_of(child)
    assert found is not None, child.communicate()
    return found


def run_script(
    database: Database, folder: Path, *options: str, programs: Path | None = None, **variables: str
) -> tuple[int, str]:
    """Run the script; returns its exit code and its messages."""
    with start_script(database, folder, *options, programs=programs, **variables) as child:
        _, errors = child.communicate(timeout=TIMEOUT_SECONDS)
        return child.returncode, errors


def pg_dump_of(child: subprocess.Popen[str]) -> psutil.Process | None:
    return next((one for one in descendants(child.pid) if "--format=custom" in command_line(one)), None)


def visible_texts(child: subprocess.Popen[str]) -> list[str]:
    """Arguments and environment of a process and its descendants, which the same user may read."""
    texts = []
    for one in [psutil.Process(child.pid), *descendants(child.pid)]:
        with suppress(psutil.NoSuchProcess):  # it has exited
            texts.append(" ".join([*one.cmdline(), *one.environ().values()]))
    assert texts
    return texts
