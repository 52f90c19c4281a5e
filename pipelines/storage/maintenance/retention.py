"""Retention in the database: facts for the plan, and the deletions."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from pipelines.domain.maintenance.retention import (
    ClosedDayFacts,
    Facts,
    GenerationFacts,
    PartitionFacts,
    RetentionPlan,
    RunFacts,
    SessionFacts,
)
from pipelines.errors import DatabaseError
from pipelines.log import Log
from pipelines.storage.live.day_partitions import PARTITIONED
from pipelines.storage.maintenance.runs import LOCK_TIMEOUT_SECONDS, delete_in_batches, read_counts
from pipelines.storage.postgres.connection import Connection, primary_message
from pipelines.storage.postgres.locks import MAINTENANCE_LOCK, acquire, release
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)

RUNS_PER_BATCH = 50
#: Ids of markets that a statement which deletes some of them is given.
MARKETS_PER_STATEMENT = 200
QUOTES = "market_quote"
#: Dagster's tables that rows are deleted from.
DAGSTER_TABLES = ("runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions")
#: Raised for a table in use, and while the removal of another partition of its parent is unfinished.
IN_USE_ERRORS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


def read_facts(
    connection: Connection, symbols: Sequence[str], snapshots_before: datetime, markets_before: datetime
) -> Facts:
    """The facts of strikecast's database; snapshots older than `snapshots_before` are counted as old, and markets that
    closed and last changed before `markets_before` as expired.
    """
    newest = tuple(
        (table, read_value(connection, SQL[statement], [list(symbols)]))
        for table, statement in (("price_log", "newest_tick_of_any"), ("answer", "newest_answer_of_any"))
    )
    return Facts(
        sessions=read_rows(connection, SessionFacts, SQL["retention_sessions"], {"before": snapshots_before}),
        partitions=read_rows(connection, PartitionFacts, SQL["day_partitions"]),
        newest_row_at=newest,
        closed_days=read_rows(connection, ClosedDayFacts, SQL["closed_days"], {"before": markets_before}),
        generations=read_rows(connection, GenerationFacts, SQL["retention_generations"]),
    )


def read_runs(connection: Connection) -> Sequence[RunFacts]:
    """Dagster's runs, from its database; none before Dagster has created its tables."""
    if read_value(connection, SQL["dagster_event_logs"]) is None:
        return []
    return read_rows(connection, RunFacts, SQL["dagster_runs"])


def mark_crashed_sessions(connection: Connection, plan: RetentionPlan) -> Counter[str]:
    """Set the status of sessions without a heartbeat to crashed."""
    marked = connection.execute(SQL["crash_silent_sessions"], [plan.silent_before]).rowcount
    for one in plan.silent:
        parameters = {"session_id": one.session_id, "newest_snapshot": one.newest_snapshot}
        marked += connection.execute(SQL["crash_silent_snapshot"], parameters).rowcount
    return Counter({"crashed_sessions": marked})


def delete_rows(connection: Connection, plan: RetentionPlan, log: Log) -> Counter[str]:
    """Delete expired snapshots, sessions, reference values, inputs of desks, fees of events, reports, rejected rows and
    audits.

    Returns rows by table.
    """
    audits = {"quick_before": plan.quick_audits_before, "full_before": plan.full_audits_before}
    deletions: list[tuple[str, dict[str, Any]]] = [
        *(("delete_snapshots", asdict(one)) for one in plan.sessions),
        ("delete_live_sessions", {"before": plan.live_sessions_before}),
        ("delete_reference_values", {"before": plan.reference_values_before}),
        ("delete_desk_inputs", {"before": plan.desk_inputs_before}),
        ("delete_event_fees", {"before": plan.markets_before}),
        ("delete_reports", {"before": plan.reports_before}),
        ("delete_quarantined", {"before": plan.quarantine_before}),
        ("delete_audits", audits),
    ]
    total: Counter[str] = Counter()
    for statement, parameters in deletions:
        total += delete_in_batches(connection, SQL[statement], parameters, log)
    return total


def delete_markets(connection: Connection, ids: Sequence[int], unchanged_since: datetime, log: Log) -> Counter[str]:
    """Delete markets with their candles and revisions, except those that have changed since (aware); returns rows by
    table.
    """
    total: Counter[str] = Counter()
    for start in range(0, len(ids), MARKETS_PER_STATEMENT):
        parameters = {"markets": list(ids[start : start + MARKETS_PER_STATEMENT]), "before": unchanged_since}
        total += delete_in_batches(connection, SQL["delete_markets"], parameters, log)
    return total


@contextmanager
def maintenance_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock that backups, publications and migrations share, so that no table vanishes during them.

    Raises DatabaseError while one of them is in progress.
    """
    try:
        acquire(connection, MAINTENANCE_LOCK)
    except DatabaseError as error:
        raise DatabaseError(
            "a backup, publication or migration is in progress "
            f"(waited {LOCK_TIMEOUT_SECONDS} s; {error}): skipped until the next run"
        ) from error
    try:
        yield
    finally:
        release(connection, MAINTENANCE_LOCK)


def drop_day(connection: Connection, name: str) -> Counter[str]:
    """Drop a day partition such as price_log_20260131. Raises DatabaseError when it is in use. Needs autocommit."""
    table = name.rpartition("_")[0]
    return _drop_partition(connection, PARTITIONED[table], table, name)


def drop_quotes(connection: Connection, name: str, archived: int, archive_again: Callable[[], object]) -> Counter[str]:
    """As `drop_day` for a day of quotes, of which `archived` are in files; with others since then, they are first."""

    def before_drop(rows: int) -> None:
        if rows != archived:
            archive_again()

    return _drop_partition(connection, PARTITIONED[QUOTES], QUOTES, name, before_drop)


def drop_generation(connection: Connection, generation: int) -> Counter[str]:
    """Drop a generation's lookup and delete its fingerprints, unless it has been published meanwhile.

    Its row in `model_version` stays. Needs autocommit and `maintenance_lock`. Raises DatabaseError when it is in use.
    """
    if read_value(connection, SQL["is_active_generation"], [generation]):
        return Counter()
    rows = _drop_partition(connection, "analytics", "lookup", f"lookup_{generation}")
    with connection.transaction():
        rows["fingerprint"] = connection.execute(SQL["delete_fingerprints"], [generation]).rowcount
        connection.execute(SQL["set_pruned_at"], [generation])
    return rows


def _drop_partition(
    connection: Connection, schema: str, parent: str, name: str, before_drop: Callable[[int], None] = lambda _: None
) -> Counter[str]:
    """Detach concurrently, then drop, resuming an interrupted removal; returns the rows by parent.

    `before_drop` is called with the rows of the detached partition, to which none can be added.
    """
    row = connection.execute(SQL["partition_state"], [f"{schema}.{name}"]).fetchone()
    if row is None:
        return Counter()
    attached, detaching = row
    table, partition = sql.Identifier(schema, parent), sql.Identifier(schema, name)
    try:
        if attached:
            detach = SQL["finish_detach" if detaching else "detach_partition"]
            connection.execute(sql.SQL(detach).format(parent=table, partition=partition))
        rows = read_value(connection, sql.SQL(SQL["count_rows"]).format(table=partition))
        before_drop(rows)
        connection.execute(sql.SQL(SQL["drop_table"]).format(table=partition))
    except IN_USE_ERRORS as error:
        raise DatabaseError(f"{name} is in use, skipped until the next run: {primary_message(error)}") from error
    return Counter({parent: rows})


def delete_runs(
    connection: Connection, run_ids: Sequence[str], before_batch: Callable[[Sequence[str]], None]
) -> Counter[str]:
    """Delete Dagster's runs with all dependent rows in batches; returns rows by table.

    `before_batch` is called with the run ids of each batch, so that its work is repeated when the process is killed.
    """
    total: Counter[str] = Counter()
    for start in range(0, len(run_ids), RUNS_PER_BATCH):
        batch = list(run_ids[start : start + RUNS_PER_BATCH])
        before_batch(batch)
        total.update(read_counts(connection, SQL["delete_dagster_runs"], {"runs": batch}))
    return total
