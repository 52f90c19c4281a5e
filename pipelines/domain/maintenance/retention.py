"""Retention: what is old enough to go, and why. Facts and policy in, a plan out; nothing here deletes anything."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

from pipelines.domain.maintenance.policies import require_one_or_more

#: A policy's time goes on by so much in one run: a clock that jumped takes a few days' rows, not all of them.
LONGEST_STEP = timedelta(days=2)
#: A generation that is being built is younger than this.
BUILD_TIME = timedelta(days=1)


@dataclass(frozen=True)
class RetentionPolicy:
    """How long each family of rows is kept; `generations` and `runs_per_job` are floors whatever the age."""

    #: Read by whoever builds it from a file: a name that is none of these is an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    session_days: int = 30
    #: A session that says it runs, but has been silent for so long, has crashed.
    silent_hours: int = 6
    price_log_days: int = 30
    answer_days: int = 90
    #: Per symbol and model, the published one among them.
    generations: int = 3
    quarantine_days: int = 90
    quick_audit_days: int = 30
    full_audit_days: int = 400
    run_days: int = 6
    runs_per_job: int = 5
    tick_days: int = 6
    #: Of one table in one run: what jumps is a clock, not time.
    most_partitions: int = 10

    def __post_init__(self) -> None:
        require_one_or_more(self)


@dataclass(frozen=True)
class SessionFacts:
    """A session by its newest snapshot; `old_snapshots`: older than the policy keeps them. Times are aware UTC."""

    session_id: str
    newest_snapshot: int
    newest_at: datetime
    status: str
    snapshots: int
    old_snapshots: int


@dataclass(frozen=True)
class PartitionFacts:
    """A day's partition; `attached` is false for one whose removal was cut short, `detaching` within it."""

    table: str
    name: str
    day: date
    bytes: int
    attached: bool = True
    detaching: bool = False


@dataclass(frozen=True)
class GenerationFacts:
    """A generation that still has tables; `complete`: built and checked; `published`: once at least; times in UTC."""

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
    """A Dagster run; `holds_newest`: what it materialized or checked has not been done again since."""

    run_id: str
    job: str
    ended_at: datetime | None
    holds_newest: bool


@dataclass(frozen=True)
class Facts:
    """All that a plan is made from; `newest_row_at`: of each table that is partitioned by day."""

    sessions: Sequence[SessionFacts] = ()
    partitions: Sequence[PartitionFacts] = ()
    newest_row_at: tuple[tuple[str, datetime | None], ...] = ()
    generations: Sequence[GenerationFacts] = ()
    runs: Sequence[RunFacts] = ()


@dataclass(frozen=True)
class SessionRemoval:
    """Snapshots of one session: those up to `last_snapshot` that are older than `before` (None: whatever their age)."""

    session_id: str
    newest_snapshot: int
    last_snapshot: int
    before: datetime | None
    snapshots: int
    why: str


@dataclass(frozen=True)
class SilentSession:
    """A session that is to be recorded as crashed."""

    session_id: str
    newest_snapshot: int
    why: str


@dataclass(frozen=True)
class Removal:
    """A table, a generation or a run that is to go."""

    target: str
    why: str
    bytes: int = 0


@dataclass(frozen=True)
class RetentionPlan:
    """What is to go, oldest first, and what stays though it is old (`kept`). Cutoffs are aware UTC."""

    planned_for: datetime
    silent: tuple[SilentSession, ...]
    sessions: tuple[SessionRemoval, ...]
    partitions: tuple[Removal, ...]
    generations: tuple[Removal, ...]
    runs: tuple[Removal, ...]
    live_sessions_before: datetime
    silent_before: datetime
    quarantine_before: datetime
    quick_audits_before: datetime
    full_audits_before: datetime
    ticks_before: datetime
    kept: tuple[str, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """(what, which, why), as people read it."""
        named = [("session is crashed", one.session_id, one.why) for one in self.silent]
        named += [("snapshots go", f"{one.session_id} ({one.snapshots:,})", one.why) for one in self.sessions]
        named += [("partition goes", one.target, one.why) for one in self.partitions]
        named += [("generation goes", one.target, one.why) for one in self.generations]
        if self.runs:
            named.append(("runs go", f"{len(self.runs):,} of Dagster's", self.runs[0].why))
        return [*named, *(("stays", "", why) for why in self.kept)]


def time_of_plan(now: datetime, before: datetime | None) -> datetime:
    """What a plan takes for now: the clock, but not more than two days after the plan before. Aware UTC."""
    return now if before is None else min(now, before + LONGEST_STEP)


def plan_retention(facts: Facts, policy: RetentionPolicy, now: datetime) -> RetentionPlan:
    """What is to go at `now` (aware UTC)."""
    kept: list[str] = []
    silent, sessions = _sessions(facts.sessions, policy, now, kept)
    return RetentionPlan(
        now,
        silent,
        sessions,
        _partitions(facts, policy, now, kept),
        _generations(facts.generations, policy, now, kept),
        _runs(facts.runs, policy, now, kept),
        live_sessions_before=now - timedelta(days=policy.session_days),
        silent_before=now - timedelta(hours=policy.silent_hours),
        quarantine_before=now - timedelta(days=policy.quarantine_days),
        quick_audits_before=now - timedelta(days=policy.quick_audit_days),
        full_audits_before=now - timedelta(days=policy.full_audit_days),
        ticks_before=now - timedelta(days=policy.tick_days),
        kept=tuple(kept),
    )


def _sessions(
    sessions: Sequence[SessionFacts], policy: RetentionPolicy, now: datetime, kept: list[str]
) -> tuple[tuple[SilentSession, ...], tuple[SessionRemoval, ...]]:
    """Per session, from its newest snapshot: one that has ended goes as a whole, one that runs loses old ones."""
    silent, removals = [], []
    cutoff = now - timedelta(days=policy.session_days)
    for one in sessions:
        runs = one.status == "running"
        if runs and now - one.newest_at > timedelta(hours=policy.silent_hours):
            silent.append(SilentSession(one.session_id, one.newest_snapshot, f"silent since {one.newest_at:%F %H:%M}"))
        elif not runs and one.newest_at < cutoff:
            why = f"ended {one.newest_at:%F}, more than {policy.session_days} days ago"
            removals.append(
                SessionRemoval(one.session_id, one.newest_snapshot, one.newest_snapshot, None, one.snapshots, why)
            )
        elif runs and one.old_snapshots:
            why = f"it runs; snapshots older than {policy.session_days} days go, the newest never"
            removals.append(
                SessionRemoval(
                    one.session_id, one.newest_snapshot, one.newest_snapshot - 1, cutoff, one.old_snapshots, why
                )
            )
        elif one.old_snapshots:
            kept.append(f"{one.old_snapshots:,} snapshots of {one.session_id}: it ended {one.newest_at:%F}")
    return tuple(silent), tuple(removals)


def _partitions(facts: Facts, policy: RetentionPolicy, now: datetime, kept: list[str]) -> tuple[Removal, ...]:
    """Days that are old by the clock and by the newest row's own time; a clock that jumped makes none old."""
    removals: list[Removal] = []
    days_of = {"price_log": policy.price_log_days, "answer": policy.answer_days}
    for table, newest in facts.newest_row_at:
        of_table = sorted((one for one in facts.partitions if one.table == table), key=lambda one: one.day)
        unfinished = [one for one in of_table if one.detaching]
        removals += [Removal(one.name, "its removal was cut short", one.bytes) for one in unfinished]
        if newest is None:
            continue
        reference = min(now, newest)
        cutoff = (reference.astimezone(UTC) - timedelta(days=days_of[table])).date()
        old = [one for one in of_table if one.day < cutoff and one not in unfinished]
        why = f"older than {days_of[table]} days"
        removals += [
            Removal(one.name, why if one.attached else f"{why}, detached already", one.bytes)
            for one in old[: policy.most_partitions]
        ]
        if len(old) > policy.most_partitions:
            kept.append(
                f"{len(old) - policy.most_partitions} old days of {table}: {policy.most_partitions} go in one run"
            )
        if now - newest > timedelta(days=1):
            kept.append(f"days of {table} are counted from its newest row, {newest:%F %H:%M}, not from {now:%F %H:%M}")
    return tuple(removals)


def _generations(
    generations: Sequence[GenerationFacts], policy: RetentionPolicy, now: datetime, kept: list[str]
) -> tuple[Removal, ...]:
    """All but the newest, the active one and the one to go back to; one that was not completed goes after a day."""
    removals: list[GenerationFacts] = []
    groups: dict[tuple[str, str], list[GenerationFacts]] = defaultdict(list)
    for one in sorted(generations, key=lambda one: one.generation, reverse=True):
        groups[one.symbol, one.model].append(one)
    for (symbol, model), found in groups.items():
        staying = {one.generation for one in [one for one in found if one.complete][: policy.generations]}
        active = next((one.generation for one in found if one.active), 0)
        before = next((one.generation for one in found if one.published and one.generation < active), 0)
        for one in found:
            if one.generation in staying or (not one.complete and now - one.created_at < BUILD_TIME):
                continue
            if one.generation in (active, before):
                what = "it is the published one" if one.active else "a rollback would go back to it"
                kept.append(f"generation {one.generation} of {symbol} ({model}): {what}")
                continue
            removals.append(one)
    return tuple(
        Removal(
            str(one.generation),
            f"{one.symbol} {one.model}: "
            + (f"older than the newest {policy.generations}" if one.complete else "never completed"),
            one.bytes,
        )
        for one in sorted(removals, key=lambda one: one.generation)
    )


def _runs(runs: Iterable[RunFacts], policy: RetentionPolicy, now: datetime, kept: list[str]) -> tuple[Removal, ...]:
    """Ended runs; per job the last `run_days` and at least `runs_per_job`; never one that holds what is newest."""
    by_job: dict[str, list[RunFacts]] = defaultdict(list)
    for run in runs:
        if run.ended_at is not None:
            by_job[run.job].append(run)
    cutoff, newest_holders, removals = now - timedelta(days=policy.run_days), 0, []
    for ended in by_job.values():
        newest_first = sorted(ended, key=lambda run: run.ended_at or now, reverse=True)
        for run in newest_first[policy.runs_per_job :]:
            if run.ended_at is None or run.ended_at >= cutoff:
                continue
            if run.holds_newest:
                newest_holders += 1
                continue
            removals.append(Removal(run.run_id, f"ended more than {policy.run_days} days ago"))
    if newest_holders:
        kept.append(f"{newest_holders} old runs: they hold the newest materialization or check of something")
    return tuple(removals)
