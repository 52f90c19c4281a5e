"""Log rotation: rename log files in use, compress them once they are no longer written, delete expired ones."""

import gzip
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.atomic_files import atomic_write
from pipelines.domain.maintenance.log_files import LogFile, LogPlan, LogStep, plan_logs
from pipelines.errors import BuildError
from pipelines.log import Log
from pipelines.maintenance.log_writer import rename_rotated
from pipelines.settings import Settings
from pipelines.storage.maintenance.runs import exclusive_run, record_end, record_start
from pipelines.storage.postgres.connection import Database

JOB = "logs"
SUFFIXES = (".log", ".jsonl", ".gz")


@dataclass(frozen=True)
class LogsReport:
    """The plan, and the size in bytes of each log with its rotated files before and after."""

    plan: LogPlan
    before: dict[str, int]
    after: dict[str, int]


def plan(settings: Settings, now: datetime) -> LogPlan:
    """The plan at `now` (aware UTC)."""
    return plan_logs(_files(settings), settings.logs, now)


def run(
    settings: Settings, database: Database, now: datetime, log: Log = lambda _: None, run_id: str | None = None
) -> LogsReport:
    """Execute the plan. Raises AlreadyRunningError during another run, BuildError when a file cannot be compressed."""
    with exclusive_run(database, JOB) as recording:
        planned = plan(settings, now)
        maintenance_id = record_start(recording, JOB, planned, now, run_id)
        before = log_sizes(settings)
        for step in planned.steps:
            _execute(step, now)
            log(f"{step.action} {step.name}: {step.reason}")
        report = LogsReport(planned, before, log_sizes(settings))
        record_end(recording, maintenance_id, {"before": report.before, "after": report.after})
    return report


def log_sizes(settings: Settings) -> dict[str, int]:
    """Size in bytes of each log, such as `daemon`, with its rotated files."""
    sizes: Counter[str] = Counter()
    for one in _files(settings):
        sizes[one.family] += one.bytes
    return dict(sorted(sizes.items()))


def _files(settings: Settings) -> list[LogFile]:
    """The log files; the embedded server rotates its own."""
    found = []
    for folder, self_rotating in ((settings.home / "logs", False), (settings.embedded_dir / "log", True)):
        for path in sorted(folder.glob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                status = path.stat()
                written_at = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append(LogFile(str(folder), path.name, status.st_size, written_at, self_rotating))
    return found


def _execute(step: LogStep, now: datetime) -> None:
    path = Path(step.folder) / step.name
    if not path.exists():
        return  # the log writer has rotated it since the plan
    if step.action == "rotate":
        rename_rotated(path, now)
    elif step.action == "delete":
        path.unlink()
    else:
        _compress(path)


def _compress(path: Path) -> None:
    """Replace a file by `path.gz`, keeping its times. Raises BuildError when it changes in the meantime."""
    before = path.stat()
    with atomic_write(path.with_name(f"{path.name}.gz"), durable=True) as partial:
        with path.open("rb") as plain, gzip.open(partial, "wb", compresslevel=6) as compressed:
            shutil.copyfileobj(plain, compressed)
            copied = plain.tell()
        if not copied == before.st_size == path.stat().st_size:
            raise BuildError(f"{path} was not compressed: it changed from {before.st_size:,} bytes while it was read")
        os.utime(partial, (before.st_atime, before.st_mtime))
    path.unlink()
