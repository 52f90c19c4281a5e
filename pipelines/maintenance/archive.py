"""Archive old months of bars as files."""

from dataclasses import dataclass
from datetime import datetime

from pipelines.domain.maintenance.archive import ArchivePlan, plan_archive
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.files.archive import Archive
from pipelines.storage.maintenance.runs import exclusive_run, record_end, record_start, with_short_timeouts
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.archive import ArchivedMonth, archive_month, stored_months

JOB = "archive"


@dataclass(frozen=True)
class ArchiveReport:
    """The plan and the files written."""

    plan: ArchivePlan
    months: tuple[ArchivedMonth, ...]


def plan(settings: Settings, database: Database, now: datetime) -> ArchivePlan:
    """Plan the archive run at `now` (aware UTC)."""
    with database.connect(JOB, Role.READER) as connection:
        stored = stored_months(connection, list(settings.symbols), now)
    return plan_archive(stored, settings.archive, now)


def run(
    settings: Settings, database: Database, now: datetime, log: Log = lambda _: None, run_id: str | None = None
) -> ArchiveReport:
    """Archive the planned months one by one. Raises AlreadyRunningError during another run, and BuildError."""
    with exclusive_run(database, JOB) as recording:
        planned = plan(settings, database, now)
        maintenance_id = record_start(recording, JOB, planned, now, run_id)
        months: list[ArchivedMonth] = []
        archive = Archive.of(settings)
        with with_short_timeouts(database).connect(JOB, Role.PIPELINE, autocommit=True) as working:
            for month in planned.months:
                months.append(archive_month(working, archive, month))
                log(f"{months[-1].file}: {months[-1].rows:,} bars, {months[-1].bytes:,} bytes")
        record_end(recording, maintenance_id, {"months": months})
    return ArchiveReport(planned, tuple(months))
