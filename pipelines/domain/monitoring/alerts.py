"""Alerts: what is wrong from the facts, and which of it is news. Nothing here looks or tells."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pipelines.domain.monitoring.audit.targets import Breach, Severity

GIBIBYTE = 2**30
#: After its schedule's turn a job may take so long, or wait.
GRACE = timedelta(hours=2)
#: How long what a job of maintenance makes is fresh.
FRESH_FOR = {
    "day_partitions": timedelta(days=1) + GRACE,
    "vacuum": timedelta(days=1) + GRACE,
    "log_files": timedelta(days=1) + GRACE,
    "retention": timedelta(days=1) + GRACE,
    "price_archive": timedelta(days=31) + GRACE,
    "backup": timedelta(days=1) + GRACE,
    "restores": timedelta(days=7) + GRACE,
    "audit": timedelta(hours=1) + GRACE,
}


class Heading(StrEnum):
    """The headings of docs/runbook.md, each for one kind of trouble."""

    SLOW_QUERIES = "Queries are slow"
    STORAGE = "Storage is growing"
    BACKUP = "A backup failed"
    RESTORE = "Restore the database"
    SERVER = "The server does not start"
    SESSION = "The live session does not start"
    JOB = "A job failed or is late"
    TARGET = "A target of service is missed"


@dataclass(frozen=True)
class AlertLimits:
    """When something is wrong: seconds without a fresh file, and free space below which a disk is low."""

    stale_seconds: float = 60.0
    least_free_pct: float = 10.0
    least_free_gibibytes: float = 2.0


@dataclass(frozen=True)
class JobFacts:
    """A job of maintenance: when it last succeeded (aware UTC), how seldom it may, its newest run if that failed."""

    job: str
    succeeded_at: datetime | None
    at_most_every: timedelta
    failed_run: str | None


@dataclass(frozen=True)
class DiskFacts:
    """A disk that something of ours is on."""

    what: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class FileFacts:
    """A probability file that ought to be there: its age, None when there is none, and why it is not relied upon."""

    symbol: str
    age_seconds: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What was looked at; `watching_since`: nothing can be late that was not due since then. Times are aware UTC.

    `days_ahead`: partitions of the coming days, of the table that has the fewest; `drill_problem`: why the newest
    restore drill failed; `left_twice`: jobs that left something undone twice running, and what; `breaches`: targets of
    service that audit after audit missed.
    """

    watching_since: datetime
    database_error: str | None = None
    jobs: Sequence[JobFacts] = ()
    drill_problem: str | None = None
    files: Sequence[FileFacts] = ()
    disks: Sequence[DiskFacts] = ()
    days_ahead: int | None = None
    left_twice: Mapping[str, str] = field(default_factory=dict)
    breaches: Sequence[Breach] = ()


@dataclass(frozen=True)
class Problem:
    """Something wrong: `key` names it for as long as it lasts, whatever the figures in `message`.

    `passing`: it may be over in a moment, as after a restart, and is told only if the next look sees it, too.
    """

    key: str
    message: str
    heading: Heading
    passing: bool = False


LEAST_DAYS_AHEAD = 3
_OF_BACKUPS = {"backup_database", "restore_drill"}


def problems(facts: Facts, limits: AlertLimits, now: datetime) -> list[Problem]:
    """All that is wrong at `now` (aware UTC)."""
    found = []
    if facts.database_error is not None:
        found.append(Problem("database", facts.database_error, Heading.SERVER))
    for job in facts.jobs:
        found += _of_job(job, facts.watching_since, now)
    if facts.drill_problem is not None:
        found.append(
            Problem("restore drill", f"the newest restore drill failed: {facts.drill_problem}", Heading.BACKUP)
        )
    for file in facts.files:
        if file.age_seconds is None or file.age_seconds > limits.stale_seconds:
            age = "is missing" if file.age_seconds is None else f"is {file.age_seconds:,.0f} s old"
            why = f" ({'; '.join(file.reasons)})" if file.reasons else ""
            found.append(
                Problem(
                    f"file {file.symbol}", f"the probability file of {file.symbol} {age}{why}", Heading.SESSION, True
                )
            )
    for disk in facts.disks:
        free_pct = 100.0 * disk.free_bytes / max(1, disk.total_bytes)
        if free_pct < limits.least_free_pct or disk.free_bytes < limits.least_free_gibibytes * GIBIBYTE:
            message = f"the disk of {disk.what} has {disk.free_bytes / GIBIBYTE:.1f} GiB free, {free_pct:.0f} %"
            found.append(Problem(f"disk {disk.what}", message, Heading.STORAGE))
    for name, what in facts.left_twice.items():
        found.append(Problem(f"left by {name}", f"{name} could not do all, twice running: {what}", Heading.JOB))
    for breach in facts.breaches:
        if breach.severity is not Severity.P3:
            found.append(Problem(f"target {breach.title}", breach.message, Heading.TARGET))
    if facts.days_ahead is not None and facts.days_ahead < LEAST_DAYS_AHEAD:
        message = f"partitions are made for {facts.days_ahead} days ahead, not {LEAST_DAYS_AHEAD} or more"
        found.append(Problem("days ahead", message, Heading.JOB))
    return found


def _of_job(job: JobFacts, watching_since: datetime, now: datetime) -> list[Problem]:
    heading = Heading.BACKUP if job.job in _OF_BACKUPS else Heading.JOB
    if job.failed_run is not None:
        return [Problem(f"failed {job.job}", f"job {job.job} failed, run {job.failed_run}", heading)]
    waited = now - max(job.succeeded_at or watching_since, watching_since)
    if waited <= job.at_most_every:
        return []
    last = "never" if job.succeeded_at is None else f"{job.succeeded_at:%Y-%m-%d %H:%M} UTC"
    hours = job.at_most_every.total_seconds() / 3600
    return [Problem(f"late {job.job}", f"job {job.job} is late: last done {last}, wanted every {hours:.0f} h", heading)]


@dataclass(frozen=True)
class Alert:
    """News: a problem that began or ended. Times are aware UTC."""

    key: str
    message: str
    heading: Heading
    began_at: datetime
    ended_at: datetime | None = None

    @property
    def title(self) -> str:
        """One line, for a subject."""
        return f"strikecast: {'over' if self.ended_at else 'problem'}: {self.key}"

    @property
    def text(self) -> str:
        """What to know and what to read."""
        if self.ended_at is not None:
            return f"Over since {self.ended_at:%Y-%m-%d %H:%M} UTC: {self.message}"
        return f'{self.message}\nSince {self.began_at:%Y-%m-%d %H:%M} UTC. See docs/runbook.md, "{self.heading}".'


def news(
    lasting: Mapping[str, Alert], suspected: Collection[str], found: Sequence[Problem], now: datetime
) -> tuple[list[Alert], list[Alert], dict[str, Alert]]:
    """(what began, what ended, all that lasts now), from what lasted before and what is wrong at `now`.

    `suspected`: keys of passing problems that the look before saw first.
    """
    wrong = {one.key: one for one in found if not one.passing or one.key in suspected or one.key in lasting}
    began = [Alert(one.key, one.message, one.heading, now) for key, one in wrong.items() if key not in lasting]
    ended = [
        Alert(one.key, one.message, one.heading, one.began_at, now) for key, one in lasting.items() if key not in wrong
    ]
    still = {key: one for key, one in lasting.items() if key in wrong}
    return began, ended, still | {one.key: one for one in began}
