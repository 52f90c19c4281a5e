"""Retention: what is old goes, in small steps that yield to everyone; what a killed run left is done by the next."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from pipelines.domain.maintenance.retention import RetentionPlan, plan_retention, time_of_plan
from pipelines.domain.maintenance.vacuum import IndexStep, VacuumStep
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.maintenance import retention as stored
from pipelines.storage.maintenance.runs import (
    exclusive_run,
    latest_planned_for,
    record_start,
    skip_on_error,
    with_short_timeouts,
)
from pipelines.storage.maintenance.vacuum import read_indexes, reindex, vacuum
from pipelines.storage.postgres.connection import Connection, Database, Role

JOB = "retention"
#: Publications wait while a table is dropped: one that a reader holds on to is left sooner than they give up.
DROP_SECONDS = 5
#: An index up to this size is built anew within a second or two, which is worth it from this share of air on.
SMALL_BYTES = 64 * 2**20
AIRY_SHARE = 0.2


@dataclass(frozen=True)
class RetentionReport:
    """What was planned and what came of it: `rows` by table, cascades included, and what was left for the next run."""

    plan: RetentionPlan
    rows: dict[str, int]
    left: tuple[str, ...]


def plan(settings: Settings, database: Database, now: datetime) -> RetentionPlan:
    """What is to go at `now` (aware UTC), or as of two days after the run before. Raises ServerUnavailableError."""
    policy = settings.retention
    with with_short_timeouts(database).connect(JOB, Role.OWNER) as connection:
        clock, now = now, time_of_plan(now, latest_planned_for(connection, JOB))
        facts = stored.read_facts(connection, list(settings.symbols), now - timedelta(days=policy.session_days))
    with dagster_database(settings, database).connect(JOB, None) as connection:
        facts = replace(facts, runs=stored.read_runs(connection))
    decided = plan_retention(facts, policy, now)
    if now == clock:
        return decided
    return replace(
        decided, kept=(*decided.kept, f"all is judged as of {now:%Y-%m-%d}, not {clock:%Y-%m-%d}: two days a run")
    )


def run(
    settings: Settings, database: Database, now: datetime, log: Log = lambda _: None, run_id: str | None = None
) -> RetentionReport:
    """Carry the plan out. Raises AlreadyRunningError while another does."""
    with exclusive_run(database, JOB) as connection:
        decided = plan(settings, database, now)
        recorded = record_start(connection, JOB, decided, decided.planned_for, run_id)
        rows: Counter[str] = Counter()
        left: list[str] = []
        with with_short_timeouts(database).connect(JOB, Role.OWNER, autocommit=True) as working:
            rows += stored.mark_crashed_sessions(working, decided)
            rows += stored.delete_rows(working, decided, log)
        with with_short_timeouts(database, DROP_SECONDS).connect(JOB, Role.OWNER, autocommit=True) as working:
            rows += _drop(working, decided, left, log)
        with dagster_database(settings, database).connect(JOB, None, autocommit=True) as working:
            rows += stored.delete_runs(
                working, [one.target for one in decided.runs], lambda ids: _delete_compute_logs(settings, ids)
            )
            rows += stored.delete_ticks(working, decided.ticks_before)
            _tidy(working, [f"public.{table}" for table in stored.DAGSTER_TABLES if rows[table]], left, log)
        report = RetentionReport(decided, dict(sorted(rows.items())), tuple(left))
        recorded.finish({"rows": report.rows, "left": list(left)})
    return report


def _drop(working: Connection, decided: RetentionPlan, left: list[str], log: Log) -> Counter[str]:
    """Remove days and generations one by one; what someone holds on to is left."""
    rows: Counter[str] = Counter()
    steps: list[tuple[str, Callable[[], Counter[str]]]] = [
        *((one.target, partial(stored.drop_day, working, one.target)) for one in decided.partitions),
        *(
            (f"generation {one.target}", partial(stored.drop_generation, working, int(one.target)))
            for one in decided.generations
        ),
    ]
    for name, step in steps:
        with skip_on_error(left, log):
            with stored.maintenance_lock(working):
                rows += step()
            log(f"dropped {name}")
    return rows


def _tidy(working: Connection, tables: Sequence[str], left: list[str], log: Log) -> None:
    """Vacuum tables that lost rows, and build anew what became airy of their indexes.

    Small tables that lose a seventh each night grow for long before autovacuum finds that enough; and run ids come in
    no order, so that the pages of their indexes do not fill up again.
    """
    for table in tables:
        with skip_on_error(left, log):
            vacuum(working, VacuumStep(table, "rows were removed"))
    for index in read_indexes(working):
        if index.table in tables and index.bytes <= SMALL_BYTES and index.bloat_bytes >= AIRY_SHARE * index.bytes:
            with skip_on_error(left, log):
                reindex(working, IndexStep(index.index, "rows were removed"))


def _delete_compute_logs(settings: Settings, run_ids: Sequence[str]) -> None:
    """What Dagster's local compute logs of these runs are: a folder each."""
    for run_id in run_ids:
        shutil.rmtree(settings.dagster_home / "storage" / run_id, ignore_errors=True)


def dagster_database(settings: Settings, database: Database) -> Database:
    """Dagster's storage, in the same server."""
    return with_short_timeouts(replace(database, url=database.url_for(settings.dagster_database)))
