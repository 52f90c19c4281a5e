"""Vacuum: both databases' tables in their turn, gently, and what it changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from pipelines.domain.maintenance.vacuum import VacuumPlan, plan_vacuum
from pipelines.log import Log
from pipelines.maintenance.retention import dagster_database
from pipelines.settings import Settings
from pipelines.storage.maintenance import vacuum as stored
from pipelines.storage.maintenance.runs import LOCK_TIMEOUT_SECONDS, exclusive_run, record_start, skip_on_error
from pipelines.storage.postgres.connection import Connection, Database, Role

JOB = "vacuum"
STATEMENT_SECONDS = 1_800


@dataclass(frozen=True)
class Change:
    """A table or an index before and after."""

    name: str
    why: str
    dead_rows_before: int
    bytes_before: int
    dead_rows_after: int
    bytes_after: int


@dataclass(frozen=True)
class VacuumReport:
    """What was planned for both databases, what it changed, and what was left or held back."""

    plans: dict[str, VacuumPlan]
    changes: tuple[Change, ...]
    settings_applied: int
    left: tuple[str, ...]
    held_back_by: tuple[str, ...]


def plan(
    settings: Settings, database: Database, now: datetime, *, urgent_only: bool = False, reindex: bool = False
) -> dict[str, VacuumPlan]:
    """What to do at `now` (aware UTC), by database. Raises ServerUnavailableError."""
    decided = {}
    for name in _databases(settings, database):
        with _connected(settings, database, name) as connection:
            decided[name] = plan_vacuum(
                stored.read_tables(connection),
                stored.read_indexes(connection),
                settings.vacuum,
                now,
                urgent_only=urgent_only,
                reindex=reindex,
            )
    return decided


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
    """Carry the plan out. Raises AlreadyRunningError while another does."""
    with exclusive_run(database, JOB) as recording:
        decided = plan(settings, database, now, urgent_only=urgent_only, reindex=reindex)
        recorded = record_start(recording, JOB, decided, now, run_id)
        changes: list[Change] = []
        left: list[str] = []
        held_back: list[str] = []
        applied = 0
        for name, of_database in decided.items():
            with _connected(settings, database, name) as connection:
                if name == _databases(settings, database)[0]:
                    with skip_on_error(left, log):
                        applied = stored.apply_settings(connection)
                changes += _carry_out(connection, of_database, left, log)
                held_back = stored.vacuum_blockers(connection)  # of the whole server
        report = VacuumReport(decided, tuple(changes), applied, tuple(left), tuple(held_back))
        recorded.finish({"changes": list(changes), "left": left, "held_back_by": held_back})
    return report


def drift(database: Database) -> list[stored.Drift]:
    """Tables whose autovacuum settings are not the declared ones."""
    with database.connect(JOB, Role.READER) as connection:
        return stored.read_drift(connection)


def _databases(settings: Settings, database: Database) -> tuple[str, ...]:
    """Ours, then Dagster's."""
    ours = str(database.parameters.get("dbname"))
    return tuple(dict.fromkeys((ours, settings.dagster_database)))


@contextmanager
def _connected(settings: Settings, database: Database, name: str) -> Iterator[Connection]:
    """As the owner of a database's tables."""
    ours = name == _databases(settings, database)[0]
    where = replace(
        database if ours else dagster_database(settings, database),
        statement_timeout_seconds=STATEMENT_SECONDS,
        lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
    )
    with where.connect(JOB, Role.OWNER if ours else None, autocommit=True) as connection:
        stored.throttle_vacuum(connection)
        yield connection


def _carry_out(connection: Connection, decided: VacuumPlan, left: list[str], log: Log) -> list[Change]:
    before = _sizes(connection)
    steps = [(one.table, one.why, partial(stored.vacuum, connection, one)) for one in decided.tables]
    steps += [(one.index, one.why, partial(stored.reindex, connection, one)) for one in decided.indexes]
    done = []
    for name, why, step in steps:
        with skip_on_error(left, log):
            step()
            done.append((name, why))
            log(f"{name}: {why}")
    after = _sizes(connection)
    return [Change(name, why, *before[name], *after.get(name, (0, 0))) for name, why in done if name in before]


def _sizes(connection: Connection) -> dict[str, tuple[int, int]]:
    """Dead rows and bytes of each table, and of each index."""
    tables = {one.table: (one.dead_rows, one.bytes) for one in stored.read_tables(connection)}
    return tables | {one.index: (0, one.bytes) for one in stored.read_indexes(connection)}
