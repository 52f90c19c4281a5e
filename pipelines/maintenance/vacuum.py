"""Vacuum: vacuum the tables and rebuild the indexes of both databases, throttled, and report the changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from pipelines.deployment import dagster_database
from pipelines.domain.maintenance.vacuum import VacuumPlan, plan_vacuum
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.maintenance import vacuum as repository
from pipelines.storage.maintenance.runs import (
    LOCK_TIMEOUT_SECONDS,
    exclusive_run,
    record_end,
    record_start,
    skip_on_error,
)
from pipelines.storage.postgres.connection import Connection, Database, Role

JOB = "vacuum"
STATEMENT_SECONDS = 1_800


@dataclass(frozen=True)
class Change:
    """Dead rows and size of a table or an index before and after its step."""

    name: str
    reason: str
    dead_rows_before: int
    bytes_before: int
    dead_rows_after: int
    bytes_after: int


@dataclass(frozen=True)
class VacuumReport:
    """The plans by database, the changes, the reasons of skipped steps, and what holds dead rows back."""

    plans: dict[str, VacuumPlan]
    changes: tuple[Change, ...]
    settings_applied: int
    skipped: tuple[str, ...]
    held_back_by: tuple[str, ...]


def plan(
    settings: Settings, database: Database, now: datetime, *, urgent_only: bool = False, reindex: bool = False
) -> dict[str, VacuumPlan]:
    """The plans at `now` (aware UTC) by database. Raises ServerUnavailableError."""
    plans = {}
    for name in _databases(settings, database):
        with _connect(settings, database, name) as connection:
            tables, indexes = repository.read_tables(connection), repository.read_indexes(connection)
            plans[name] = plan_vacuum(tables, indexes, settings.vacuum, now, urgent_only=urgent_only, reindex=reindex)
    return plans


def run(
    settings: Settings,
    database: Database,
    now: datetime,
    log: Log = lambda _: None,
    run_id: str | None = None,
    *,
    urgent_only: bool = False,
    reindex: bool = False,
) -> VacuumReport:
    """Execute the plans, and apply the declared autovacuum settings. Raises AlreadyRunningError during another run."""
    with exclusive_run(database, JOB) as recording:
        plans = plan(settings, database, now, urgent_only=urgent_only, reindex=reindex)
        maintenance_id = record_start(recording, JOB, plans, now, run_id)
        changes: list[Change] = []
        skipped: list[str] = []
        held_back: list[str] = []
        applied = 0
        for name, planned in plans.items():
            with _connect(settings, database, name) as connection:
                if name == _databases(settings, database)[0]:
                    with skip_on_error(skipped, log):
                        applied = repository.apply_settings(connection)
                changes += _execute(connection, planned, skipped, log)
                held_back = repository.vacuum_blockers(connection)  # of the whole server
        report = VacuumReport(plans, tuple(changes), applied, tuple(skipped), tuple(held_back))
        record_end(recording, maintenance_id, {"changes": changes, "left": skipped, "held_back_by": held_back})
    return report


def autovacuum_drift(database: Database) -> list[repository.AutovacuumDrift]:
    """Tables whose autovacuum settings differ from the declared ones."""
    with database.connect(JOB, Role.READER) as connection:
        return repository.read_drift(connection)


def _databases(settings: Settings, database: Database) -> tuple[str, ...]:
    """Names of strikecast's and Dagster's databases."""
    return tuple(dict.fromkeys((str(database.parameters.get("dbname")), settings.dagster_database)))


@contextmanager
def _connect(settings: Settings, database: Database, name: str) -> Iterator[Connection]:
    """A throttled connection to one of the databases, as the owner of its tables."""
    own = name == _databases(settings, database)[0]
    target = replace(
        database if own else dagster_database(settings, database),
        statement_timeout_seconds=STATEMENT_SECONDS,
        lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
    )
    with target.connect(JOB, Role.OWNER if own else None, autocommit=True) as connection:
        repository.throttle_vacuum(connection)
        yield connection


def _execute(connection: Connection, planned: VacuumPlan, skipped: list[str], log: Log) -> list[Change]:
    before = _sizes(connection)
    steps = [(one.table, one.reason, partial(repository.vacuum, connection, one)) for one in planned.tables]
    steps += [(one.index, one.reason, partial(repository.reindex, connection, one)) for one in planned.indexes]
    executed = []
    for name, reason, step in steps:
        with skip_on_error(skipped, log):
            step()
            executed.append((name, reason))
            log(f"{name}: {reason}")
    after = _sizes(connection)
    return [
        Change(name, reason, *before[name], *after.get(name, (0, 0))) for name, reason in executed if name in before
    ]


def _sizes(connection: Connection) -> dict[str, tuple[int, int]]:
    """Dead rows and bytes of each table and index."""
    tables = {one.table: (one.dead_rows, one.bytes) for one in repository.read_tables(connection)}
    return tables | {one.index: (0, one.bytes) for one in repository.read_indexes(connection)}
