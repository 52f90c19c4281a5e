"""Alert rules: the problems that facts show, and the alerts that start or end with them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from pipelines.domain.models.freshness import (
    ALERT_AFTER_SECONDS,
    EVENT_ALERT_AFTER_SECONDS,
    QUOTES_ALERT_AFTER_SECONDS,
    STALE_AFTER_SECONDS,
    Cause,
    Freshness,
    Status,
    TableFreshness,
    age_text,
)
from pipelines.domain.monitoring.audit.measurements import Unit, formatted
from pipelines.domain.monitoring.audit.targets import Breach, Severity
from pipelines.domain.monitoring.desk_facts import DeskFacts
from pipelines.domain.prices.quote_times import AHEAD_OF_CLOCK

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


class AlertSeverity(StrEnum):
    """Urgency of an alert; `critical`: probabilities are wrong or missing, or the system is about to stop."""

    WARNING = "warning"
    CRITICAL = "critical"


class RunbookHeading(StrEnum):
    """Headings of docs/runbook.md, one for each kind of problem."""

    SLOW_QUERIES = "Queries are slow"
    STORAGE = "Storage is growing"
    BACKUP = "A backup failed"
    RESTORE = "Restore the database"
    SERVER = "The server does not start"
    WATCHDOG = "Problems are not looked for"
    OFF = "A schedule or sensor is switched off"
    PROCESS = "A process was replaced"
    QUEUE = "No worker takes a run"
    COLLATION = "Text is sorted in another order"
    SESSION = "The live session does not start"
    PRICES = "Prices stop"
    QUOTES = "Market quotes are unavailable"
    CLOCK = "A clock is wrong"
    JOB = "A job failed or is late"
    TARGET = "A target of service is missed"
    SLOT = "A replication slot is not read"
    REPLICA = "The replica cannot be read from"
    DESK = "The paper desk needs attention"


CRITICAL = AlertSeverity.CRITICAL
#: Beginnings of the keys of problems whose facts are read from the database.
FROM_DATABASE = (
    "file ",
    "strike table ",
    "market quotes ",
    "market event ",
    "skipped by ",
    "target ",
    "days ahead",
    "slot ",
    "clock ",
    "collation ",
    "desk ",
)
#: Shares of the limits on free space, below each of which a disk's problem has one more level; at the last it is full.
DISK_SHARES = (1.0, 0.25, 0.001)
HEADING_OF_CAUSE = {
    Cause.SESSION: RunbookHeading.SESSION,
    Cause.PRICES: RunbookHeading.PRICES,
    Cause.STORAGE: RunbookHeading.STORAGE,
    Cause.CLOCK: RunbookHeading.CLOCK,
}


@dataclass(frozen=True)
class AlertLimits:
    """Age in seconds of a probability file or its price at which an alert starts, and times without quotes or an event;
    minimum free disk space; maximum WAL that an unread replication slot retains, and difference between clocks.
    """

    LEAST: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(("stale_seconds", "quotes_seconds", "event_seconds", "clock_seconds"), 0),
        **dict.fromkeys(("least_free_pct", "least_free_gibibytes", "most_retained_gibibytes"), 0),
    }
    #: Age of a probability file, or of its price, at which an alert starts.
    stale_seconds: float = ALERT_AFTER_SECONDS
    #: Time for which a market feed has no quotes at which an alert starts.
    quotes_seconds: float = QUOTES_ALERT_AFTER_SECONDS
    #: Time for which the exchange lists no event of a series at which an alert starts.
    event_seconds: float = EVENT_ALERT_AFTER_SECONDS
    #: Minimum free space of a disk, as a share of its size.
    least_free_pct: float = 10.0
    #: Minimum free space of a disk.
    least_free_gibibytes: float = 2.0
    #: Maximum WAL that a replication slot retains which nothing reads.
    most_retained_gibibytes: float = 1.0
    #: Maximum difference between this machine's clock and another.
    clock_seconds: float = STALE_AFTER_SECONDS

    def __post_init__(self) -> None:
        for name, least in self.LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class JobFacts:
    """A maintenance job: its last success (aware UTC), its interval, and the id of its newest run if that failed."""

    job: str
    succeeded_at: datetime | None
    at_most_every: timedelta
    failed_run: str | None


@dataclass(frozen=True)
class DiskFacts:
    """A disk that holds data of this system; `what`: what it holds, `folder`: where, `also`: what else it holds."""

    what: str
    free_bytes: int
    total_bytes: int
    folder: str = ""
    also: Sequence[str] = ()


@dataclass(frozen=True)
class SlotFacts:
    """A replication slot, and the WAL that it retains."""

    name: str
    is_active: bool
    retained_bytes: int


@dataclass(frozen=True)
class ClockFacts:
    """Another clock, by how much it is ahead of this machine's (negative: behind), and how precisely that is known."""

    of: str
    ahead_seconds: float
    uncertain_seconds: float = 0.0


@dataclass(frozen=True)
class Surroundings:
    """What the system depends on, as far as it can be seen."""

    disks: Sequence[DiskFacts] = ()
    slots: Sequence[SlotFacts] = ()
    clocks: Sequence[ClockFacts] = ()


@dataclass(frozen=True)
class Facts:
    """The state that the rules apply to. Times are aware UTC.

    `watching_since`: start of monitoring; jobs are not late before they were due since then. `drill_problem`: why the
    newest restore drill failed. `tables`: strike tables of symbols in `files`. `days_ahead`: number of coming days with
    partitions, of the table that has the fewest. `repeatedly_skipped`: reasons by job that skipped a step in two
    consecutive runs. `breaches`: service targets missed in consecutive audits. `collations`: those whose version
    differs from that of their indexes, with a description.
    """

    watching_since: datetime
    database_error: str | None = None
    jobs: Sequence[JobFacts] = ()
    drill_problem: str | None = None
    files: Sequence[Freshness] = ()
    tables: Sequence[TableFreshness] = ()
    surroundings: Surroundings = Surroundings()
    days_ahead: int | None = None
    repeatedly_skipped: Mapping[str, str] = field(default_factory=dict)
    breaches: Sequence[Breach] = ()
    collations: Mapping[str, str] = field(default_factory=dict)
    desk: DeskFacts | None = None


@dataclass(frozen=True)
class Problem:
    """A problem; `key` identifies it while it lasts, whatever the numbers in `message`.

    `transient`: it may end by itself, as after a restart, so an alert starts only at the second evaluation in a row,
    and once the problem has lasted for `after`. `level`: a problem that reaches a higher level than before is reported
    again.
    """

    key: str
    message: str
    heading: RunbookHeading
    transient: bool = False
    severity: AlertSeverity = AlertSeverity.WARNING
    level: int = 0
    after: timedelta = timedelta(0)


def problems(facts: Facts, limits: AlertLimits, now: datetime) -> list[Problem]:
    """All problems at `now` (aware UTC)."""
    found = []
    if facts.database_error is not None:
        found.append(Problem("database", facts.database_error, RunbookHeading.SERVER, severity=CRITICAL))
    for job in facts.jobs:
        found += _job_problems(job, facts.watching_since, now)
    if facts.drill_problem is not None:
        message = f"the newest restore drill failed: {facts.drill_problem}"
        found.append(Problem("restore drill", message, RunbookHeading.BACKUP))
    for file in facts.files:
        if file.cause is not None and file.is_overdue(limits.stale_seconds):
            message = f"{file.symbol}: {'; '.join(file.reasons)}"
            heading = HEADING_OF_CAUSE[file.cause]
            found.append(Problem(f"file {file.symbol}", message, heading, transient=True, severity=CRITICAL))
        ahead = next((reason for reason in file.reasons if reason.endswith(AHEAD_OF_CLOCK)), None)
        if ahead is not None:
            key, message = f"clock of prices of {file.symbol}", f"{file.symbol}: {ahead}"
            found.append(Problem(key, message, RunbookHeading.CLOCK, transient=True))
    overdue = {file.symbol for file in facts.files if file.is_overdue(limits.stale_seconds)}
    found += [one for table in facts.tables for one in _table_problems(table, limits, overdue)]
    found += surroundings_problems(facts.surroundings, limits)
    for job_name, reason in facts.repeatedly_skipped.items():
        message = f"{job_name} skipped a step in two consecutive runs: {reason}"
        found.append(Problem(f"skipped by {job_name}", message, RunbookHeading.JOB))
    for collation, difference in facts.collations.items():
        message = f"{collation} has another collation version: {difference}"
        found.append(Problem(f"collation version of {collation}", message, RunbookHeading.COLLATION))
    for key, text, after in () if facts.desk is None else facts.desk.findings(now):
        lasted = timedelta(0) if after is None else after
        found.append(Problem(key, text, RunbookHeading.DESK, transient=after is not None, after=lasted))
    for breach in facts.breaches:
        if breach.severity is not Severity.P3:
            severity = CRITICAL if breach.severity is Severity.P0 else AlertSeverity.WARNING
            found.append(Problem(f"target {breach.title}", breach.message, RunbookHeading.TARGET, severity=severity))
    if facts.days_ahead is not None and facts.days_ahead < MIN_DAYS_AHEAD:
        message = f"partitions exist for the next {facts.days_ahead} days; at least {MIN_DAYS_AHEAD} are expected"
        found.append(Problem("days ahead", message, RunbookHeading.JOB))
    return found


def is_unknown(key: str, facts: Facts) -> bool:
    """Whether it is not known if the problem with this key lasts, since the database could not be read."""
    return facts.database_error is not None and key.startswith(FROM_DATABASE)


def disk_problem(disk: DiskFacts, limits: AlertLimits) -> Problem | None:
    """A disk below a limit: a warning; critical below a quarter of the limit, and again when it is full."""
    free_pct = 100.0 * disk.free_bytes / max(1, disk.total_bytes)
    least_bytes = limits.least_free_gibibytes * GIBIBYTE
    shares = [
        one for one in DISK_SHARES if free_pct < one * limits.least_free_pct or disk.free_bytes < one * least_bytes
    ]
    if not shares:
        return None
    free = f"{formatted(disk.free_bytes, Unit.BYTES)} free, {free_pct:.1f} %"
    state = f"is full: No space left on device ({free})" if len(shares) == len(DISK_SHARES) else f"has {free}"
    severity, level = CRITICAL if len(shares) > 1 else AlertSeverity.WARNING, len(shares)
    also = f", also of {', '.join(disk.also)}," if disk.also else ""
    message = f"the disk of {disk.what} ({disk.folder}){also} {state}"
    return Problem(f"disk {disk.what}", message, RunbookHeading.STORAGE, severity=severity, level=level)


def slot_problem(slot: SlotFacts, limits: AlertLimits) -> Problem | None:
    """A slot that nobody reads and that retains WAL: a warning; critical at ten times the limit."""
    share = slot.retained_bytes / max(1.0, limits.most_retained_gibibytes * GIBIBYTE)
    if slot.is_active or share < 1.0:
        return None
    level = 1 if share < 10.0 else 2
    retained = formatted(slot.retained_bytes, Unit.BYTES)
    message = f"replication slot {slot.name} is not read and retains {retained} of WAL, which grows until it is dropped"
    severity = CRITICAL if level > 1 else AlertSeverity.WARNING
    return Problem(f"slot {slot.name}", message, RunbookHeading.SLOT, severity=severity, level=level)


def clock_problem(clock: ClockFacts, limits: AlertLimits) -> Problem | None:
    """A clock that differs from this machine's for certain: a warning; critical at ten times the limit.

    A single answer may be late, so it is transient.
    """
    share = (abs(clock.ahead_seconds) - clock.uncertain_seconds) / max(0.001, limits.clock_seconds)
    if share < 1.0:
        return None
    level = 1 if share < 10.0 else 2
    direction = "ahead of" if clock.ahead_seconds > 0 else "behind"
    message = f"the clock of {clock.of} is {age_text(abs(clock.ahead_seconds))} {direction} this machine's"
    severity = CRITICAL if level > 1 else AlertSeverity.WARNING
    return Problem(f"clock {clock.of}", message, RunbookHeading.CLOCK, transient=True, severity=severity, level=level)


def surroundings_problems(found: Surroundings, limits: AlertLimits) -> list[Problem]:
    """The problems of disks, replication slots and clocks, for alerts and for the audit."""
    problems = [
        *(disk_problem(one, limits) for one in found.disks),
        *(slot_problem(one, limits) for one in found.slots),
        *(clock_problem(one, limits) for one in found.clocks),
    ]
    return [one for one in problems if one is not None]


def _table_problems(table: TableFreshness, limits: AlertLimits, overdue: Collection[str]) -> list[Problem]:
    """A strike table that is not written although the probability file is, or has no quotes or no event: warnings.

    `overdue`: symbols whose probability file has an alert, which covers their tables. A table that was never written is
    not a problem: a session writes it after the first price.
    """
    file, title = table.file, table.title
    if table.unavailable is not None:
        message, after = f"{title}: {table.unavailable}", timedelta(seconds=limits.quotes_seconds)
        return [Problem(f"market quotes {title}", message, RunbookHeading.QUOTES, transient=True, after=after)]
    is_covered = file.status is Status.MISSING or file.symbol in overdue
    if table.without_event is not None and not is_covered:
        message, after = f"{title}: {table.without_event}", timedelta(seconds=limits.event_seconds)
        return [Problem(f"market event {title}", message, RunbookHeading.QUOTES, transient=True, after=after)]
    if table.is_written or is_covered or not file.is_overdue(limits.stale_seconds):
        return []
    message = f"{title}: {'; '.join(file.reasons)}"
    return [Problem(f"strike table {title}", message, RunbookHeading.QUOTES, transient=True)]


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
    """A problem that started, and ended if `ended_at` is set. Times are aware UTC.

    `severity` and `level` are the highest that it had.
    """

    key: str
    message: str
    heading: RunbookHeading
    began_at: datetime
    ended_at: datetime | None = None
    severity: AlertSeverity = AlertSeverity.WARNING
    level: int = 0

    @property
    def title(self) -> str:
        """One line, for a message's subject."""
        return f"strikecast: {f'resolved ({self.severity})' if self.ended_at else self.severity}: {self.key}"

    @property
    def text(self) -> str:
        """The problem, its time, and the runbook's heading for it; of one that is over, how long it lasted."""
        if self.ended_at is not None:
            lasted = age_text((self.ended_at - self.began_at).total_seconds())
            return f"Resolved at {self.ended_at:%Y-%m-%d %H:%M} UTC after {lasted}: {self.message}"
        return f'{self.message}\nSince {self.began_at:%Y-%m-%d %H:%M} UTC. See docs/runbook.md, "{self.heading}".'


def diff_alerts(
    active: Mapping[str, Alert], pending: Mapping[str, datetime], found: Sequence[Problem], now: datetime
) -> tuple[list[Alert], dict[str, Alert]]:
    """(alerts that started, worsened or ended; active alerts by key) at `now`, from those before and the problems.

    An active alert has the newest message. `pending`: transient problems without an alert that the evaluation before
    found, by key, with the time when they were found first.
    """
    reported, current = [], {}
    for one in found:
        before = active.get(one.key)
        if before is None and one.transient and (one.key not in pending or now - pending[one.key] < one.after):
            continue
        alert = Alert(one.key, one.message, one.heading, now, None, one.severity, one.level)
        if before is not None:
            worst = max((before, alert), key=lambda each: each.level)
            alert = replace(alert, began_at=before.began_at, severity=worst.severity, level=worst.level)
        if before is None or alert.level > before.level:
            reported.append(alert)
        current[one.key] = alert
    ended = [replace(one, ended_at=now) for key, one in active.items() if key not in current]
    return [*reported, *ended], current
