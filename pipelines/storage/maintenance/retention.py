"""Retention in the database: the facts it is planned from, and the removals."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipelines.domain.maintenance.retention import (
    Facts,
    GenerationFacts,
    PartitionFacts,
    RetentionPlan,
    RunFacts,
    SessionFacts,
    SilentSession,
)
from pipelines.errors import DatabaseError
from pipelines.log import Log
from pipelines.storage.maintenance.runs import LOCK_TIMEOUT_SECONDS, delete_in_batches
from pipelines.storage.postgres.connection import Connection, primary_message
from pipelines.storage.postgres.locks import MAINTENANCE_LOCK, acquire, release
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)

RUNS_AT_ONCE = 50
#: Dagster's tables that rows are removed from.
DAGSTER_TABLES = (
    "runs",
    "run_tags",
    "event_logs",
    "asset_event_tags",
    "asset_check_executions",
    "job_ticks",
    "asset_daemon_asset_evaluations",
)
#: Someone uses it; or another partition's removal was cut short, which comes first.
HELD_UP = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.ObjectNotInPrerequisiteState)


def read_facts(connection: Connection, symbols: Sequence[str], snapshots_before: datetime) -> Facts:
    """What there is, of this database. `snapshots_before`: older ones are counted as old."""
    sessions = read_rows(connection, SessionFacts, SQL["retention_sessions"], {"before": snapshots_before})
    partitions = read_rows(connection, PartitionFacts, SQL["day_partitions"])
    generations = read_rows(connection, GenerationFacts, SQL["retention_generations"])
    newest = tuple(
        (table, _one(connection, statement, [list(symbols)]))
        for table, statement in (("price_log", "newest_tick_of_any"), ("answer", "newest_answer_of_any"))
    )
    return Facts(sessions, partitions, newest, generations)


def read_runs(connection: Connection) -> Sequence[RunFacts]:
    """Dagster's runs, from its own database."""
    if _one(connection, "dagster_is_set_up", []) is None:
        return []
    return read_rows(connection, RunFacts, SQL["dagster_runs"])


def _one(connection: Connection, statement: str, parameters: Sequence[Any]) -> Any:
    row = connection.execute(SQL[statement], parameters).fetchone()
    assert row is not None
    return row[0]


def mark_crashed_sessions(connection: Connection, plan: RetentionPlan) -> Counter[str]:
    """Record as crashed what has been silent for too long."""
    marked = sum(_crash(connection, one) for one in plan.silent)
    live = connection.execute(SQL["crash_silent_sessions"], [plan.silent_before]).rowcount
    return Counter({"crashed_sessions": marked + live})


def _crash(connection: Connection, one: SilentSession) -> int:
    parameters = {"session_id": one.session_id, "newest_snapshot": one.newest_snapshot}
    return connection.execute(SQL["crash_silent_snapshot"], parameters).rowcount


def delete_rows(connection: Connection, plan: RetentionPlan, log: Log) -> Counter[str]:
    """Delete old snapshots, sessions, quarantined rows and audits in batches; rows by table, cascades included."""
    total: Counter[str] = Counter()
    for removal in plan.sessions:
        total += delete_in_batches(connection, SQL["delete_snapshots"], asdict(removal), log)
    total += delete_in_batches(connection, SQL["delete_live_sessions"], {"before": plan.live_sessions_before}, log)
    total += delete_in_batches(connection, SQL["delete_quarantined"], {"before": plan.quarantine_before}, log)
    audits = {"quick_before": plan.quick_audits_before, "full_before": plan.full_audits_before}
    total += delete_in_batches(connection, SQL["delete_audits"], audits, log)
    return total


@contextmanager
def maintenance_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock that backups, publications and migrations share: none of them sees a table vanish.

    Raises DatabaseError when one of them is at work.
    """
    try:
        acquire(connection, MAINTENANCE_LOCK)
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseError(
            f"a backup, publication or migration is at work (waited {LOCK_TIMEOUT_SECONDS} s): left for the next run"
        ) from error
    try:
        yield
    finally:
        release(connection, MAINTENANCE_LOCK)


def drop_day(connection: Connection, name: str) -> Counter[str]:
    """Remove a partition such as price_log_20260131; needs autocommit. Raises DatabaseError when it is in use."""
    return _drop_partition(connection, "live_data", name.rpartition("_")[0], name)


def drop_generation(connection: Connection, generation: int) -> Counter[str]:
    """Remove a generation's lookup, then its fingerprints; its record_start stays.

    Needs autocommit, and `maintenance_lock`. Raises DatabaseError when someone holds on to it. Nothing is removed if it
    was published meanwhile.
    """
    if connection.execute(SQL["is_active_generation"], [generation]).fetchone() is not None:
        return Counter()
    gone = _drop_partition(connection, "analytics", "lookup", f"lookup_{generation}")
    with connection.transaction():
        gone["fingerprint"] = connection.execute(SQL["delete_fingerprints"], [generation]).rowcount
        connection.execute(SQL["record_pruned"], [generation])
    return gone


def _drop_partition(connection: Connection, schema: str, parent: str, name: str) -> Counter[str]:
    """Detach without locking the parent, then drop; goes on where a run before was killed. Rows by parent."""
    row = connection.execute(SQL["partition_state"], [f"{schema}.{name}"]).fetchone()
    if row is None:
        return Counter()
    attached, detaching = row
    table, partition = sql.Identifier(schema, parent), sql.Identifier(schema, name)
    try:
        rows = connection.execute(sql.SQL(SQL["count_rows"]).format(table=partition)).fetchone()
        if attached:
            how = SQL["finish_detach" if detaching else "detach_partition"]
            connection.execute(sql.SQL(how).format(parent=table, partition=partition))
        connection.execute(sql.SQL(SQL["drop_table"]).format(table=partition))
    except HELD_UP as error:
        raise DatabaseError(f"{name} is in use, and is left for the next run: {primary_message(error)}") from error
    assert rows is not None
    return Counter({parent: rows[0]})


def delete_runs(connection: Connection, run_ids: Sequence[str], going: Callable[[Sequence[str]], None]) -> Counter[str]:
    """Delete Dagster's runs with all that belongs to them, batch by batch.

    `going` is told which, beforehand: what it removes is planned again after a kill, while the rows are there.
    """
    total: Counter[str] = Counter()
    for first in range(0, len(run_ids), RUNS_AT_ONCE):
        batch = list(run_ids[first : first + RUNS_AT_ONCE])
        going(batch)
        with connection.cursor(row_factory=dict_row) as cursor:
            counts = cursor.execute(SQL["delete_dagster_runs"], {"runs": batch}).fetchone()
        assert counts is not None
        total.update(counts)
    return total


def delete_ticks(connection: Connection, before: datetime) -> Counter[str]:
    """Delete Dagster's old ticks and evaluations."""
    if _one(connection, "dagster_is_set_up", []) is None:
        return Counter()
    naive = before.replace(tzinfo=None)  # Dagster's columns are naive UTC
    return delete_in_batches(connection, SQL["delete_dagster_ticks"], {"before": naive}) + delete_in_batches(
        connection, SQL["delete_dagster_evaluations"], {"before": naive}
    )
