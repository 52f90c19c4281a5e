"""Runs of maintenance jobs: exclusive, with short timeouts, and recorded with their plan and result."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipelines.errors import AlreadyRunningError, BuildError, DatabaseError, SharedFilesError
from pipelines.log import Log
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.locks import describe_holders, release_all
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

#: First key of the jobs' advisory locks; the second is the hash of the job's name.
JOB_LOCKS = 7_319
LOCK_TIMEOUT_SECONDS = 2
STATEMENT_TIMEOUT_SECONDS = 60
BATCH_ROWS = 500


def with_short_timeouts(database: Database, statement_seconds: int = STATEMENT_TIMEOUT_SECONDS) -> Database:
    """The database for work that must not delay others: short lock and statement timeouts."""
    return replace(database, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS, statement_timeout_seconds=statement_seconds)


@contextmanager
def exclusive_run(database: Database, job: str) -> Iterator[Connection]:
    """Hold the advisory lock of a job; yields the connection that holds it.

    Raises AlreadyRunningError while another run of the job holds it.
    """
    with database.connect(job, Role.PIPELINE, autocommit=True) as connection:
        if not read_value(connection, SQL["try_job_lock"], [JOB_LOCKS, job]):
            raise AlreadyRunningError(
                f"{job} is already running on {database.describe()} ({describe_holders(connection, JOB_LOCKS, job)}): "
                "wait until it has finished"
            )
        try:
            yield connection
        finally:
            with suppress(psycopg.Error):
                release_all(connection)


def latest_planned_for(connection: Connection, job: str) -> datetime | None:
    """The latest planning time of a job's finished runs, UTC."""
    found: datetime | None = read_value(connection, SQL["latest_planned_for"], [job])
    return found and found.astimezone(UTC)


def repeatedly_skipped(connection: Connection) -> dict[str, str]:
    """Jobs that skipped a step in both of their two newest runs, and the newest reason."""
    return dict(connection.execute(SQL["repeatedly_skipped"]).fetchall())


def record_start(connection: Connection, job: str, plan: object, now: datetime, run_id: str | None) -> int:
    """Store the plan of a run that starts; returns its number. `now`: its planning time (aware UTC)."""
    parameters = {"job": job, "run_id": run_id, "now": now, "plan": Jsonb(plan, orjson.dumps)}
    return int(read_value(connection, SQL["start_maintenance"], parameters))


def record_end(connection: Connection, maintenance_id: int, result: Mapping[str, Any]) -> None:
    """Store the end and the result of a run."""
    parameters = {"maintenance_id": maintenance_id, "result": Jsonb(result, orjson.dumps)}
    connection.execute(SQL["finish_maintenance"], parameters)


@contextmanager
def skip_on_error(skipped: list[str], log: Log) -> Iterator[None]:
    """Run a step that a later run may repeat.

    A DatabaseError, BuildError or SharedFilesError is logged and added to `skipped`.
    """
    try:
        yield
    except (DatabaseError, BuildError, SharedFilesError) as error:
        skipped.append(str(error))
        log(str(error))


def read_counts(connection: Connection, statement: LiteralString, parameters: Mapping[str, Any]) -> Counter[str]:
    """The row of counts of a statement, by the names of its columns."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return Counter(cursor.execute(statement, parameters).fetchone())


def delete_in_batches(
    connection: Connection, statement: LiteralString, parameters: Mapping[str, Any], log: Log = lambda _: None
) -> Counter[str]:
    """Repeat a statement that deletes at most `batch` rows until it deletes none; returns rows by table.

    Each batch is a transaction, followed by a pause of the same duration, which leaves others half of the disk. Commits
    do not wait for the disk: batches that a server crash undoes are deleted by the next run.
    """
    total: Counter[str] = Counter()
    connection.execute(SQL["disable_synchronous_commit"])
    while True:
        started = monotonic()
        counts = read_counts(connection, statement, {**parameters, "batch": BATCH_ROWS})
        total.update(counts)
        if not any(counts.values()):
            return total
        log(", ".join(f"{table} {rows:,}" for table, rows in total.items() if rows))
        sleep(monotonic() - started)
