"""Retention: the plan of what to delete, from facts and a policy."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipelines.domain.maintenance.policies import Policy

#: Maximum advance of the planning time per run, so that a clock that jumps forward deletes a few days, not all.
MAX_TIME_STEP = timedelta(days=2)
#: Maximum age of a generation that is still being built.
BUILD_TIME = timedelta(days=1)


@dataclass(frozen=True)
class RetentionPolicy(Policy):
    """Maximum age of each kind of rows; `generations` and `runs_per_job` are the minimum kept, whatever the age."""

    #: Live sessions with all their snapshots, counted from the last one, and the paper desk's snapshots but the newest.
    session_days: int = 30
    #: A session recorded as running without a snapshot for this long counts as crashed.
    silent_hours: int = 6
    #: Prices of the live session, and the reference values that they are compared with.
    price_log_days: int = 30
    #: Probabilities that the live session has written.
    answer_days: int = 90
    #: Quotes of markets; before they are deleted, a day's candles are derived from them, and a file is archived.
    market_quote_days: int = 30
    #: The paper desk's journal of inputs, by which its decisions can be replayed; its events and trades are kept.
    desk_input_days: int = 7
    #: Closed markets with their candles, revisions and the fee terms of their events, counted from the last change;
    #: before they are deleted, files are archived.
    market_days: int = 400
    #: Generations kept per symbol and model; the published one and the one before it are always kept.
    generations: int = 3
    #: Reports and charts that are listed in the database, some with their content, counted from the newest version.
    report_days: int = 400
    #: Rejected rows.
    quarantine_days: int = 90
    #: Hourly audits; audits with a name are always kept.
    quick_audit_days: int = 30
    #: Nightly audits; audits with a name are always kept.
    full_audit_days: int = 400
    #: Dagster's runs with their events and logs.
    run_days: int = 6
    #: Newest runs of each job, kept regardless of age, as is a run with an asset's newest materialization or check.
    runs_per_job: int = 5
    #: Maximum number of partitions dropped per table and run.
    most_partitions: int = 10


@dataclass(frozen=True)
class SessionFacts:
    """A session by its newest snapshot; `old_snapshots`: number of expired snapshots before it. Times are aware UTC.

    `is_desk`: a paper account, which goes on from its newest snapshot, however old that is.
    """

    session_id: str
    newest_snapshot: int
    newest_at: datetime
    status: str
    snapshots: int
    old_snapshots: int
    is_desk: bool = False


@dataclass(frozen=True)
class PartitionFacts:
    """A day's partition. An interrupted removal leaves it `detaching`, or no longer `attached`."""

    table: str
    name: str
    day: date
    bytes: int
    attached: bool = True
    detaching: bool = False


@dataclass(frozen=True)
class ClosedDayFacts:
    """Expired markets that closed on a day (UTC)."""

    day: date
    markets: int


@dataclass(frozen=True)
class GenerationFacts:
    """A generation with tables; `complete`: built and checked; `published`: at least once. Times are aware UTC."""

    generation: int
    symbol: str
    model: str
    complete: bool
    published: bool
    active: bool
    created_at: datetime
    bytes: int


@dataclass(frozen=True)
class RunFacts:
    """A Dagster run; `holds_newest`: it has the newest materialization or execution of an asset or check."""

    run_id: str
    job: str
    ended_at: datetime | None
    holds_newest: bool


@dataclass(frozen=True)
class Facts:
    """Input of a plan; `newest_row_at`: for each table whose days are counted from it.

    `closed_days`: days with markets that are older than the policy's `market_days`.
    """

    sessions: Sequence[SessionFacts] = ()
    partitions: Sequence[PartitionFacts] = ()
    newest_row_at: tuple[tuple[str, datetime | None], ...] = ()
    closed_days: Sequence[ClosedDayFacts] = ()
    generations: Sequence[GenerationFacts] = ()
    runs: Sequence[RunFacts] = ()


@dataclass(frozen=True)
class SessionRemoval:
    """Deletion of a session's snapshots up to `last_snapshot`, of any age or created before `before`."""

    session_id: str
    newest_snapshot: int
    last_snapshot: int
    before: datetime | None
    snapshots: int
    reason: str


@dataclass(frozen=True)
class SilentSession:
    """A session to mark as crashed."""

    session_id: str
    newest_snapshot: int
    reason: str


@dataclass(frozen=True)
class Removal:
    """Removal of a partition, a generation or a run."""

    target: str
    reason: str
    bytes: int = 0


@dataclass(frozen=True)
class RetentionPlan:
    """Removals, oldest first; `quotes`, `markets`: days of quotes, and days on which markets closed, which are archived
    before; `kept`: reasons why expired data is kept. Times are aware UTC.
    """

    planned_for: datetime
    silent: tuple[SilentSession, ...]
    sessions: tuple[SessionRemoval, ...]
    partitions: tuple[Removal, ...]
    quotes: tuple[Removal, ...]
    markets: tuple[Removal, ...]
    generations: tuple[Removal, ...]
    runs: tuple[Removal, ...]
    markets_before: datetime
    live_sessions_before: datetime
    silent_before: datetime
    reference_values_before: datetime
    desk_inputs_before: datetime
    reports_before: datetime
    quarantine_before: datetime
    quick_audits_before: datetime
    full_audits_before: datetime
    kept: tuple[str, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """(action, target, reason) of each step, and the reasons for what is kept."""
        lines = [("mark as crashed", one.session_id, one.reason) for one in self.silent]
        lines += [("delete snapshots", f"{one.session_id} ({one.snapshots:,})", one.reason) for one in self.sessions]
        lines += [("drop partition", one.target, one.reason) for one in self.partitions]
        lines += [("archive and drop", one.target, one.reason) for one in self.quotes]
        lines += [("archive and delete", f"markets closed {one.target}", one.reason) for one in self.markets]
        lines += [("drop generation", one.target, one.reason) for one in self.generations]
        if self.runs:
            lines.append(("delete Dagster runs", f"{len(self.runs):,}", self.runs[0].reason))
        return [*lines, *(("keep", "", reason) for reason in self.kept)]


def effective_time(now: datetime, previous: datetime | None) -> datetime:
    """The time to plan for: `now`, at most two days after the time of the previous plan. Aware UTC."""
    return now if previous is None else min(now, previous + MAX_TIME_STEP)


def markets_expire_before(policy: RetentionPolicy, now: datetime) -> datetime:
    """Markets that closed and last changed before this (aware UTC) have expired at `now`."""
    return now - timedelta(days=policy.market_days)


def plan_retention(facts: Facts, policy: RetentionPolicy, now: datetime) -> RetentionPlan:
    """The plan at `now` (aware UTC)."""
    kept: list[str] = []
    silent, sessions = _sessions(facts.sessions, policy, now, kept)
    return RetentionPlan(
        now,
        silent,
        sessions,
        _partitions(facts, policy, now, kept),
        _quotes(facts.partitions, policy, now, kept),
        _markets(facts, policy, kept),
        _generations(facts.generations, policy, now, kept),
        _runs(facts.runs, policy, now, kept),
        markets_before=markets_expire_before(policy, now),
        live_sessions_before=now - timedelta(days=policy.session_days),
        silent_before=now - timedelta(hours=policy.silent_hours),
        reference_values_before=now - timedelta(days=policy.price_log_days),
        desk_inputs_before=now - timedelta(days=policy.desk_input_days),
        reports_before=now - timedelta(days=policy.report_days),
        quarantine_before=now - timedelta(days=policy.quarantine_days),
        quick_audits_before=now - timedelta(days=policy.quick_audit_days),
        full_audits_before=now - timedelta(days=policy.full_audit_days),
        kept=tuple(kept),
    )


def _sessions(
    sessions: Sequence[SessionFacts], policy: RetentionPolicy, now: datetime, kept: list[str]
) -> tuple[tuple[SilentSession, ...], tuple[SessionRemoval, ...]]:
    """Ended sessions are deleted as a whole when the newest snapshot expires, running ones lose expired snapshots.

    So do desks, whether or not they run: the newest snapshot has the account's cash and positions.
    """
    silent: list[SilentSession] = []
    removals: list[SessionRemoval] = []
    cutoff = now - timedelta(days=policy.session_days)
    for one in sessions:
        running = one.status == "running" and not one.is_desk
        last, before, snapshots = one.newest_snapshot, None, one.snapshots
        if running and now - one.newest_at > timedelta(hours=policy.silent_hours):
            silent.append(SilentSession(one.session_id, last, f"no heartbeat since {one.newest_at:%F %H:%M}"))
            continue
        if (running or one.is_desk) and one.old_snapshots:
            last, before, snapshots = last - 1, cutoff, one.old_snapshots
            kind = "running" if running else "a paper account"
            reason = f"{kind}; snapshots older than {policy.session_days} days except the newest"
        elif not (running or one.is_desk) and one.newest_at < cutoff:
            reason = f"ended {one.newest_at:%F}, more than {policy.session_days} days ago"
        else:
            if one.old_snapshots:
                kept.append(f"{one.old_snapshots:,} snapshots of {one.session_id}: it ended {one.newest_at:%F}")
            continue
        removals.append(SessionRemoval(one.session_id, one.newest_snapshot, last, before, snapshots, reason))
    return tuple(silent), tuple(removals)


def _partitions(facts: Facts, policy: RetentionPolicy, now: datetime, kept: list[str]) -> tuple[Removal, ...]:
    """Expired days, counted from the clock or the newest row, whichever is earlier: clocks may jump."""
    removals: list[Removal] = []
    days_of = {"price_log": policy.price_log_days, "answer": policy.answer_days}
    for table, newest in facts.newest_row_at:
        reference = None if newest is None else min(now, newest)
        removals += _expired(facts.partitions, table, days_of[table], policy.most_partitions, reference, kept)
        if newest is not None and now - newest > timedelta(days=1):
            kept.append(f"days of {table} are counted from its newest row, {newest:%F %H:%M}, not from {now:%F %H:%M}")
    return tuple(removals)


def _quotes(
    partitions: Sequence[PartitionFacts], policy: RetentionPolicy, now: datetime, kept: list[str]
) -> tuple[Removal, ...]:
    """Expired days of quotes, counted from the clock: none is lost, because they are archived."""
    return tuple(_expired(partitions, "market_quote", policy.market_quote_days, policy.most_partitions, now, kept))


def _markets(facts: Facts, policy: RetentionPolicy, kept: list[str]) -> tuple[Removal, ...]:
    """The oldest days of expired markets, except those of which quotes may be stored: their archive needs the markets.

    A quote may be received shortly after the close, on the next day.
    """
    days = sorted(facts.closed_days, key=lambda one: one.day)
    first_quotes = min((one.day for one in facts.partitions if one.table == "market_quote"), default=date.max)
    free = [one for one in days if one.day + timedelta(days=1) < first_quotes]
    if len(free) < len(days):
        number = sum(one.markets for one in days[len(free) :])
        kept.append(f"{number:,} expired markets: quotes are stored from {first_quotes} on")
    most = policy.most_partitions
    if len(free) > most:
        kept.append(f"{len(free) - most} days of expired markets: the limit is {most} per run")
    reason = f"{{}} markets, older than {policy.market_days} days"
    return tuple(Removal(str(one.day), reason.format(f"{one.markets:,}")) for one in free[:most])


def _expired(
    partitions: Sequence[PartitionFacts], table: str, days: int, most: int, reference: datetime | None, kept: list[str]
) -> list[Removal]:
    """Interrupted removals of a table, and the oldest of its days that ended `days` before `reference`."""
    of_table = sorted((one for one in partitions if one.table == table), key=lambda one: one.day)
    unfinished = [one for one in of_table if one.detaching]
    removals = [Removal(one.name, "an earlier removal was interrupted", one.bytes) for one in unfinished]
    if reference is None:
        return removals
    cutoff = (reference.astimezone(UTC) - timedelta(days=days)).date()
    old = [one for one in of_table if one.day < cutoff and one not in unfinished]
    reason = f"older than {days} days"
    removals += [
        Removal(one.name, reason if one.attached else f"{reason}, already detached", one.bytes) for one in old[:most]
    ]
    if len(old) > most:
        kept.append(f"{len(old) - most} expired days of {table}: the limit is {most} per run")
    return removals


def _generations(
    generations: Sequence[GenerationFacts], policy: RetentionPolicy, now: datetime, kept: list[str]
) -> tuple[Removal, ...]:
    """All but the newest, the active one and the target of a rollback; incomplete ones after a day."""
    removals: list[GenerationFacts] = []
    groups: dict[tuple[str, str], list[GenerationFacts]] = defaultdict(list)
    for one in sorted(generations, key=lambda one: one.generation, reverse=True):
        groups[one.symbol, one.model].append(one)
    for (symbol, model), found in groups.items():
        newest = {one.generation for one in [one for one in found if one.complete][: policy.generations]}
        active = next((one.generation for one in found if one.active), 0)
        previous = next((one.generation for one in found if one.published and one.generation < active), 0)
        for one in found:
            if one.generation in newest or (not one.complete and now - one.created_at < BUILD_TIME):
                continue
            if one.generation in (active, previous):
                reason = "it is published" if one.active else "it is the target of a rollback"
                kept.append(f"generation {one.generation} of {symbol} ({model}): {reason}")
                continue
            removals.append(one)
    return tuple(
        Removal(
            str(one.generation),
            f"{one.symbol} {one.model}: "
            + (f"older than the newest {policy.generations}" if one.complete else "incomplete"),
            one.bytes,
        )
        for one in sorted(removals, key=lambda one: one.generation)
    )


def _runs(runs: Iterable[RunFacts], policy: RetentionPolicy, now: datetime, kept: list[str]) -> tuple[Removal, ...]:
    """Expired runs, except the newest of each job and those that hold the newest event of an asset or check."""
    by_job: dict[str, list[tuple[datetime, RunFacts]]] = defaultdict(list)
    for run in runs:
        if run.ended_at is not None:
            by_job[run.job].append((run.ended_at, run))
    expired = [
        run
        for finished in by_job.values()
        for ended_at, run in sorted(finished, key=lambda one: one[0], reverse=True)[policy.runs_per_job :]
        if ended_at < now - timedelta(days=policy.run_days)
    ]
    holders = sum(run.holds_newest for run in expired)
    if holders:
        kept.append(f"{holders} old runs: they hold the newest materialization or check of something")
    reason = f"finished more than {policy.run_days} days ago"
    return tuple(Removal(run.run_id, reason) for run in expired if not run.holds_newest)
