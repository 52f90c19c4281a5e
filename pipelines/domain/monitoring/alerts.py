"""Alert rules: the problems that facts show, and the alerts that start or end with them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pipelines.domain.monitoring.audit.targets import Breach, Severity

GIBIBYTE = 2**30
MIN_DAYS_AHEAD = 3
DAY = timedelta(days=1)
#: Time that a job may wait and run after it is due.
GRACE = timedelta(hours=2)
#: Maximum age of the last success of jobs and assets of maintenance.
FRESH_FOR = {
    **dict.fromkeys(("make_partitions", "vacuum_database", "rotate_logs", "retention", "backup"), DAY + GRACE),
    "restores": 7 * DAY + GRACE,
    "price_archive": 31 * DAY + GRACE,
    "audit": timedelta(hours=1) + GRACE,
}


class RunbookHeading(StrEnum):
    """Headings of docs/runbook.md, one for each kind of problem."""

    SLOW_QUERIES = "Queries are slow"
    STORAGE = "Storage is growing"
    BACKUP = "A backup failed"
    RESTORE = "Restore the database"
    SERVER = "The server does not start"
    WATCHDOG = "Problems are not looked for"
    SESSION = "The live session does not start"
    JOB = "A job failed or is late"
    TARGET = "A target of service is missed"


@dataclass(frozen=True)
class AlertLimits:
    """Maximum age of a probability file in seconds, and minimum free disk space."""

    stale_seconds: float = 60.0
    least_free_pct: float = 10.0
    least_free_gibibytes: float = 2.0


@dataclass(frozen=True)
class JobFacts:
    """A maintenance job: its last success (aware UTC), its interval, and the id of its newest run if that failed."""

    job: str
    succeeded_at: datetime | None
    at_most_every: timedelta
    failed_run: str | None


@dataclass(frozen=True)
class DiskFacts:
    """A disk that holds data of this system."""

    what: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class FileFacts:
    """The probability file of a published symbol: its age, None when it is missing, and why it is not valid."""

    symbol: str
    age_seconds: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """The state that the rules apply to. Times are aware UTC.

    `watching_since`: start of monitoring; jobs are not late before they were due since then. `drill_problem`: why the
    newest restore drill failed. `days_ahead`: number of coming days with partitions, of the table that has the fewest.
    `repeatedly_skipped`: reasons by job that skipped a step in two consecutive runs. `breaches`: service targets missed
    in consecutive audits.
    """

    watching_since: datetime
    database_error: str | None = None
    jobs: Sequence[JobFacts] = ()
    drill_problem: str | None = None
    files: Sequence[FileFacts] = ()
    disks: Sequence[DiskFacts] = ()
    days_ahead: int | None = None
    repeatedly_skipped: Mapping[str, str] = field(default_factory=dict)
    breaches: Sequence[Breach] = ()


@dataclass(frozen=True)
class Problem:
    """A problem; `key` identifies it while it lasts, whatever the numbers in `message`.

    `transient`: it may end by itself, as after a restart, so an alert starts only at the second evaluation in a row.
    """

    key: str
    message: str
    heading: RunbookHeading
    transient: bool = False


def problems(facts: Facts, limits: AlertLimits, now: datetime) -> list[Problem]:
    """All problems at `now` (aware UTC)."""
    found = []
    if facts.database_error is not None:
        found.append(Problem("database", facts.database_error, RunbookHeading.SERVER))
    for job in facts.jobs:
        found += _job_problems(job, facts.watching_since, now)
    if facts.drill_problem is not None:
        message = f"the newest restore drill failed: {facts.drill_problem}"
        found.append(Problem("restore drill", message, RunbookHeading.BACKUP))
    for file in facts.files:
        if file.age_seconds is None or file.age_seconds > limits.stale_seconds:
            age = "is missing" if file.age_seconds is None else f"is {file.age_seconds:,.0f} s old"
            reasons = f" ({'; '.join(file.reasons)})" if file.reasons else ""
            message = f"the probability file of {file.symbol} {age}{reasons}"
            found.append(Problem(f"file {file.symbol}", message, RunbookHeading.SESSION, transient=True))
    for disk in facts.disks:
        free_pct = 100.0 * disk.free_bytes / max(1, disk.total_bytes)
        if free_pct < limits.least_free_pct or disk.free_bytes < limits.least_free_gibibytes * GIBIBYTE:
            message = f"the disk of {disk.what} has {disk.free_bytes / GIBIBYTE:.1f} GiB free, {free_pct:.0f} %"
            found.append(Problem(f"disk {disk.what}", message, RunbookHeading.STORAGE))
    for job_name, reason in facts.repeatedly_skipped.items():
        message = f"{job_name} skipped a step in two consecutive runs: {reason}"
        found.append(Problem(f"skipped by {job_name}", message, RunbookHeading.JOB))
    for breach in facts.breaches:
        if breach.severity is not Severity.P3:
            found.append(Problem(f"target {breach.title}", breach.message, RunbookHeading.TARGET))
    if facts.days_ahead is not None and facts.days_ahead < MIN_DAYS_AHEAD:
        message = f"partitions exist for the next {facts.days_ahead} days; at least {MIN_DAYS_AHEAD} are expected"
        found.append(Problem("days ahead", message, RunbookHeading.JOB))
    return found


def _job_problems(job: JobFacts, watching_since: datetime, now: datetime) -> list[Problem]:
    heading = RunbookHeading.BACKUP if job.job in {"backup_database", "restore_drill"} else RunbookHeading.JOB
    if job.failed_run is not None:
        return [Problem(f"failed {job.job}", f"job {job.job} failed, run {job.failed_run}", heading)]
    if now - max(job.succeeded_at or watching_since, watching_since) <= job.at_most_every:
        return []
    last = "never" if job.succeeded_at is None else f"{job.succeeded_at:%Y-%m-%d %H:%M} UTC"
    hours = job.at_most_every.total_seconds() / 3600
    message = f"job {job.job} is late: last success {last}, expected every {hours:.0f} h"
    return [Problem(f"late {job.job}", message, heading)]


@dataclass(frozen=True)
class Alert:
    """A problem that started, and ended if `ended_at` is set. Times are aware UTC."""

    key: str
    message: str
    heading: RunbookHeading
    began_at: datetime
    ended_at: datetime | None = None

    @property
    def title(self) -> str:
        """One line, for a message's subject."""
        return f"strikecast: {'resolved' if self.ended_at else 'problem'}: {self.key}"

    @property
    def text(self) -> str:
        """The problem, its time, and the runbook's heading for it."""
        if self.ended_at is not None:
            return f"Resolved at {self.ended_at:%Y-%m-%d %H:%M} UTC: {self.message}"
        return f'{self.message}\nSince {self.began_at:%Y-%m-%d %H:%M} UTC. See docs/runbook.md, "{self.heading}".'


def diff_alerts(
    active: Mapping[str, Alert], pending: Collection[str], found: Sequence[Problem], now: datetime
) -> tuple[list[Alert], dict[str, Alert]]:
    """(alerts that started or ended, active alerts by key), from the alerts active before and the problems at `now`.

    `pending`: keys of transient problems that were found for the first time by the evaluation before.
    """
    current = {one.key: one for one in found if not one.transient or one.key in pending or one.key in active}
    began = {key: Alert(key, one.message, one.heading, now) for key, one in current.items() if key not in active}
    ended = [replace(one, ended_at=now) for key, one in active.items() if key not in current]
    return [*began.values(), *ended], {key: one for key, one in active.items() if key in current} | began
