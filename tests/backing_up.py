"""`pg_backup.sh` as cron would run it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipelines.maintenance.programs import programs_for, reaching
from pipelines.storage.database import Database

SCRIPT = Path(__file__).parents[1] / "pipelines" / "maintenance" / "pg_backup.sh"


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def script(
    database: Database, folder: Path, *options: str, programs: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """The shell script as cron would run it."""
    with reaching(database) as environment:
        child = subprocess.Popen(
            ["sh", SCRIPT, "-p", programs or programs_for(database.server_major), *options, folder], env={**environment, **variables}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def run(
    database: Database, folder: Path, *options: str, programs: Path | None = None, **variables: str
) -> tuple[int, str]:
    """The script's exit code and what it complained of."""
    with script(database, folder, *options, programs=programs, **variables) as child:
        _, complaints = child.communicate(timeout=120)
        return child.returncode, complaints


def pg_dump_of(child: subprocess.Popen[str]) -> psutil.Process | None:
    try:
        below = psutil.Process(child.pid).children(recursive=True)
        return next((one for one in below if "--format=custom" in one.cmdline()), None)
    except psutil.NoSuchProcess:
        return None


def shown_by(child: subprocess.Popen[str]) -> list[str]:
    """What anybody of the same user may see of a process and of those it started: arguments and environment."""
    seen = []
    for one in [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            seen.append(" ".join([*one.cmdline(), *one.environ().values()]))
    assert seen
    return seen
