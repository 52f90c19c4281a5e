"""What every job of maintenance shares: one at a time, short waits for locks, a record of plan and result."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipelines.errors import AlreadyRunningError, DatabaseError
from pipelines.log import Log
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.locks import release_all
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: First half of the advisory locks of jobs; the second is the job's name.
JOB_LOCKS = 7_319
LOCK_TIMEOUT_SECONDS = 2
STATEMENT_TIMEOUT_SECONDS = 60
BATCH_ROWS = 500


def with_short_timeouts(database: Database, statement_seconds: int = STATEMENT_TIMEOUT_SECONDS) -> Database:
    """The database for work that yields to everyone: it gives up a lock soon, and no statement takes long."""
    return replace(database, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS, statement_timeout_seconds=statement_seconds)


@contextmanager
def exclusive_run(database: Database, job: str) -> Iterator[Connection]:
    """Be the only run of a maintenance job on this database; the lock goes with the context or the process.

    Yields the connection that holds it. Raises AlreadyRunningError while another does.
    """
    with database.connect(job, Role.PIPELINE, autocommit=True) as connection:
        if connection.execute(SQL["try_job_lock"], [JOB_LOCKS, job]).fetchone() != (True,):
            raise AlreadyRunningError(f"{job} is running already on {database.describe()}: wait until it is done")
        try:
            yield connection
        finally:
            with suppress(psycopg.Error):
                release_all(connection)


def latest_planned_for(connection: Connection, job: str) -> datetime | None:
    """The time that the last finished run of a job took for now, UTC."""
    row = connection.execute(SQL["latest_planned_for"], [job]).fetchone()
    assert row is not None
    return None if row[0] is None else row[0].astimezone(UTC)


def repeatedly_skipped(connection: Connection) -> dict[str, str]:
    """Jobs whose two newest runs both left something undone, and what."""
    return dict(connection.execute(SQL["repeatedly_skipped"]).fetchall())


@dataclass(frozen=True)
class RecordedRun:
    """A run in `ops.maintenance`."""

    connection: Connection
    maintenance_id: int

    def finish(self, result: object) -> None:
        """Add what was done."""
        self.connection.execute(
            SQL["finish_maintenance"], {"maintenance_id": self.maintenance_id, "result": _json(result)}
        )


def record_start(connection: Connection, job: str, plan: object, now: datetime, run_id: str | None) -> RecordedRun:
    """Store what a run is about to do."""
    row = connection.execute(
        SQL["start_maintenance"], {"job": job, "run_id": run_id, "now": now, "plan": _json(plan)}
    ).fetchone()
    assert row is not None
    return RecordedRun(connection, int(row[0]))


def _json(value: Any) -> Jsonb:
    plain = value if isinstance(value, Mapping | list) else asdict(value)
    return Jsonb(orjson.loads(orjson.dumps(plain)))


@contextmanager
def skip_on_error(left: list[str], log: Log) -> Iterator[None]:
    """Do a step that may be left for the next run: what the database has against it is said, and kept in `left`."""
    try:
        yield
    except DatabaseError as error:
        left.append(str(error))
        log(str(error))


def delete_in_batches(
    connection: Connection,
    statement: LiteralString,
    parameters: Mapping[str, Any],
    log: Log = lambda _: None,
) -> Counter[str]:
    """Run a statement that deletes at most `batch` rows, again and again until nothing is left; rows by table.

    Each batch is a transaction of its own, followed by as long a pause: others get at least half of the disk. Nothing
    waits for the disk: what a crash brings back of the last batches, the next run deletes again.
    """
    total: Counter[str] = Counter()
    connection.execute(SQL["commit_lazily"])
    while True:
        began = monotonic()
        with connection.cursor(row_factory=dict_row) as cursor:
            counts = cursor.execute(statement, {**parameters, "batch": BATCH_ROWS}).fetchone()
        assert counts is not None
        total.update(counts)
        if not any(counts.values()):
            return total
        log(", ".join(f"{table} {rows:,}" for table, rows in total.items() if rows))
        sleep(monotonic() - began)
