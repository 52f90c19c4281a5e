"""Logs: rotated by renaming, compressed when nobody writes to them any more, deleted when they are old."""

import gzip
import hashlib
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.domain.maintenance.log_files import LogFile, LogPlan, LogStep, plan_logs
from pipelines.errors import BuildError
from pipelines.log import Log
from pipelines.maintenance.log_writer import rename_rotated
from pipelines.settings import Settings
from pipelines.storage.maintenance.runs import exclusive_run, record_start
from pipelines.storage.postgres.connection import Database

JOB = "logs"
SUFFIXES = (".log", ".jsonl", ".gz")


@dataclass(frozen=True)
class LogsReport:
    """What was planned, and bytes by family of logs before and after."""

    plan: LogPlan
    before: dict[str, int]
    after: dict[str, int]


def plan(settings: Settings, now: datetime) -> LogPlan:
    """What to do at `now` (aware UTC)."""
    return plan_logs(_files(settings), settings.logs, now)


def run(
    settings: Settings, database: Database, now: datetime, log: Log = lambda _: None, run_id: str | None = None
) -> LogsReport:
    """Carry the plan out. Raises AlreadyRunningError while another does."""
    with exclusive_run(database, JOB) as recording:
        decided = plan(settings, now)
        recorded = record_start(recording, JOB, decided, now, run_id)
        before = log_sizes(settings)
        for step in decided.steps:
            _carry_out(step, now)
            log(f"{step.action} {step.name}: {step.why}")
        report = LogsReport(decided, before, log_sizes(settings))
        recorded.finish({"before": report.before, "after": report.after})
    return report


def _folders(settings: Settings) -> dict[Path, bool]:
    """Where logs are, and whether their writer rotates them by itself."""
    return {settings.home / "logs": False, settings.embedded_dir / "log": True}


def _files(settings: Settings) -> list[LogFile]:
    found = []
    for folder, self_rotating in _folders(settings).items():
        for path in sorted(folder.glob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                facts = path.stat()
                written_at = datetime.fromtimestamp(facts.st_mtime, UTC)
                found.append(LogFile(str(folder), path.name, facts.st_size, written_at, self_rotating))
    return found


def log_sizes(settings: Settings) -> dict[str, int]:
    """Bytes by family of logs, such as `daemon.log` with all that were rotated from it."""
    sizes: dict[str, int] = defaultdict(int)
    for one in _files(settings):
        sizes[one.family] += one.bytes
    return dict(sorted(sizes.items()))


def _carry_out(step: LogStep, now: datetime) -> None:
    path = Path(step.folder) / step.name
    if not path.exists():
        return  # its writer was quicker
    if step.action == "rotate":
        rename_rotated(path, now)
    elif step.action == "delete":
        path.unlink()
    else:
        _compress(path)


def _compress(path: Path) -> None:
    """Put `path.gz` in the place of a file, once it was read back. Raises BuildError if that is not the same."""
    target = path.with_name(f"{path.name}.gz")
    partial = target.with_name(f"{target.name}.partial")
    with path.open("rb") as plain:
        digest = hashlib.file_digest(plain, "sha256").hexdigest()
        plain.seek(0)
        with partial.open("wb") as raw, gzip.open(raw, "wb", compresslevel=6) as compressed:
            shutil.copyfileobj(plain, compressed)
        written = path.stat()
        with partial.open("rb+") as finished:
            os.fsync(finished.fileno())
    with gzip.open(partial, "rb") as back:
        if hashlib.file_digest(back, "sha256").hexdigest() != digest or path.stat().st_size != written.st_size:
            partial.unlink()
            raise BuildError(f"{path} was not compressed: what was read back differs from what it holds")
    os.utime(partial, (written.st_atime, written.st_mtime))  # its age is that of its lines
    partial.replace(target)
    path.unlink()
