"""Retention: delete expired data in small steps that do not delay others; the next run resumes an interrupted one."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

from pipelines.deployment import dagster_database
from pipelines.domain.maintenance.retention import (
    RetentionPlan,
    effective_time,
    markets_expire_before,
    plan_retention,
)
from pipelines.domain.maintenance.vacuum import IndexStep, VacuumStep
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.files.archive import Archive
from pipelines.storage.files.places import COMPUTE_LOGS, shared_place
from pipelines.storage.maintenance import retention as repository
from pipelines.storage.maintenance.runs import (
    exclusive_run,
    latest_planned_for,
    record_end,
    record_start,
    skip_on_error,
    with_short_timeouts,
)
from pipelines.storage.maintenance.vacuum import read_indexes, reindex, vacuum
from pipelines.storage.markets.archive import ArchivedDay, archive_quotes, archived_markets
from pipelines.storage.postgres.connection import Connection, Database, Role

JOB = "retention"
#: Publications wait while a partition is dropped; shorter than their own lock timeout.
DROP_SECONDS = 5
#: Deriving the candles of two million quotes takes a fraction of this.
ARCHIVE_SECONDS = 600
#: Indexes up to this size take a second or two to rebuild, which is worthwhile from this share of bloat.
SMALL_INDEX_BYTES = 64 * 2**20
BLOAT_SHARE = 0.2


@dataclass(frozen=True)
class RetentionReport:
    """The plan, the deleted rows by table including cascades, the reasons of skipped steps, and archived files."""

    plan: RetentionPlan
    rows: dict[str, int]
    skipped: tuple[str, ...]
    archived: tuple[ArchivedDay, ...] = ()


def plan(settings: Settings, database: Database, now: datetime) -> RetentionPlan:
    """The plan at `now` (aware UTC), or at two days after the previous run's time. Raises ServerUnavailableError."""
    policy = settings.retention
    with with_short_timeouts(database).connect(JOB, Role.OWNER) as connection:
        plan_time = effective_time(now, latest_planned_for(connection, JOB))
        before = plan_time - timedelta(days=policy.session_days)
        expired = markets_expire_before(policy, plan_time)
        facts = repository.read_facts(connection, list(settings.symbols), before, expired)
    with with_short_timeouts(dagster_database(settings, database)).connect(JOB, None) as connection:
        facts = replace(facts, runs=repository.read_runs(connection))
    planned = plan_retention(facts, policy, plan_time)
    if plan_time == now:
        return planned
    reason = f"planned for {plan_time:%Y-%m-%d}, not {now:%Y-%m-%d}: at most two days after the previous run"
    return replace(planned, kept=(*planned.kept, reason))


def run(
    settings: Settings, database: Database, now: datetime, log: Log = lambda _: None, run_id: str | None = None
) -> RetentionReport:
    """Execute the plan. Raises AlreadyRunningError during another run."""
    with exclusive_run(database, JOB) as recording:
        planned = plan(settings, database, now)
        maintenance_id = record_start(recording, JOB, planned, planned.planned_for, run_id)
        rows: Counter[str] = Counter()
        skipped: list[str] = []
        with with_short_timeouts(database).connect(JOB, Role.OWNER, autocommit=True) as connection:
            rows += repository.mark_crashed_sessions(connection, planned)
            rows += repository.delete_rows(connection, planned, log)
        archived = []
        for closed in planned.markets:
            with skip_on_error(skipped, log):
                files, deleted = _archive_and_delete(settings, database, planned, closed.target, log)
                archived += files
                rows += deleted
        dropping = with_short_timeouts(database, DROP_SECONDS)
        with dropping.connect(JOB, Role.OWNER, autocommit=True) as connection:
            rows += _drop_partitions(connection, planned, skipped, log)
            for partition in planned.quotes:
                with skip_on_error(skipped, log):
                    files, dropped = _archive_and_drop(settings, database, connection, partition.target, log)
                    archived += files
                    rows += dropped
        dagster = with_short_timeouts(dagster_database(settings, database))
        with dagster.connect(JOB, None, autocommit=True) as connection:
            run_ids = [one.target for one in planned.runs]
            with skip_on_error(skipped, log):
                rows += repository.delete_runs(connection, run_ids, partial(_delete_compute_logs, settings))
            tables = [f"public.{table}" for table in repository.DAGSTER_TABLES if rows[table]]
            _vacuum_and_reindex(connection, tables, skipped, log)
        report = RetentionReport(planned, dict(sorted(rows.items())), tuple(skipped), tuple(archived))
        record_end(recording, maintenance_id, {"rows": report.rows, "left": skipped, "archived": archived})
    return report


def _drop_partitions(connection: Connection, planned: RetentionPlan, skipped: list[str], log: Log) -> Counter[str]:
    """Drop days and generations one at a time, skipping those in use."""
    rows: Counter[str] = Counter()
    steps = [(one.target, partial(repository.drop_day, connection, one.target)) for one in planned.partitions]
    steps += [
        (f"generation {one.target}", partial(repository.drop_generation, connection, int(one.target)))
        for one in planned.generations
    ]
    for name, step in steps:
        with skip_on_error(skipped, log):
            with repository.maintenance_lock(connection):
                rows += step()
            log(f"dropped {name}")
    return rows


def _archive_and_drop(
    settings: Settings, database: Database, connection: Connection, name: str, log: Log
) -> tuple[list[ArchivedDay], Counter[str]]:
    """Archive a day of quotes, then drop it; what was added meanwhile is archived too."""

    def archive() -> tuple[int, list[ArchivedDay]]:
        with with_short_timeouts(database, ARCHIVE_SECONDS).connect(JOB, Role.OWNER, autocommit=True) as archiving:
            return archive_quotes(archiving, Archive.of(settings), name)

    quotes, files = archive()
    for one in files:
        log(f"{one.file}: {one.rows:,} quotes, {one.bytes:,} bytes")
    with repository.maintenance_lock(connection):
        dropped = repository.drop_quotes(connection, name, quotes, archive)
    log(f"dropped {name}")
    return files, dropped


def _archive_and_delete(
    settings: Settings, database: Database, planned: RetentionPlan, day: str, log: Log
) -> tuple[list[ArchivedDay], Counter[str]]:
    """Archive the markets that closed on a day, then delete them with what belongs to them."""
    patient = with_short_timeouts(database, ARCHIVE_SECONDS)
    with (
        patient.connect(JOB, Role.OWNER, autocommit=True) as archiving,
        archived_markets(archiving, Archive.of(settings), date.fromisoformat(day), planned.markets_before) as archived,
        with_short_timeouts(database).connect(JOB, Role.OWNER, autocommit=True) as connection,
    ):
        ids, files = archived
        for one in files:
            log(f"{one.file}: {one.rows:,} rows, {one.bytes:,} bytes")
        return files, repository.delete_markets(connection, ids, planned.markets_before, log)


def _vacuum_and_reindex(connection: Connection, tables: Sequence[str], skipped: list[str], log: Log) -> None:
    """Vacuum tables that lost rows, and rebuild their small bloated indexes.

    A small table that loses a seventh of its rows each night grows for a long time before autovacuum's threshold. Run
    ids are random, so the freed space in their indexes is not reused.
    """
    for table in tables:
        with skip_on_error(skipped, log):
            vacuum(connection, VacuumStep(table, "rows were deleted"))
    for index in read_indexes(connection):
        bloated = index.bloat_bytes >= BLOAT_SHARE * index.bytes
        if index.table in tables and index.bytes <= SMALL_INDEX_BYTES and bloated:
            with skip_on_error(skipped, log):
                reindex(connection, IndexStep(index.index, "rows were deleted"))


def _delete_compute_logs(settings: Settings, run_ids: Sequence[str]) -> None:
    """Delete the folders of Dagster's compute logs, here and in the shared place. Raises SharedFilesError."""
    place = shared_place(settings.shared_files)
    for run_id in run_ids:
        if place is not None:
            place.remove_folder(f"{COMPUTE_LOGS}/{run_id}")
        shutil.rmtree(settings.dagster_home / "storage" / run_id, ignore_errors=True)
