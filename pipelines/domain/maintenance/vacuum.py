"""Vacuum: the plan of tables to vacuum and indexes to rebuild, from statistics and a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.maintenance.policies import Policy

#: PostgreSQL forces a vacuum at a transaction age of 200 million, and refuses writes near 2,000 million.
MILLION = 1_000_000
#: Rank from which a step is urgent.
URGENT = 2.0


@dataclass(frozen=True)
class VacuumPolicy(Policy):
    """When to vacuum a table: shares of its rows, ages in transactions, sizes in bytes."""

    #: A table with fewer dead rows is not vacuumed for their sake.
    least_dead_rows: int = 1_000
    #: Dead rows as a share of a table's rows from which it is vacuumed.
    dead_share: float = 0.02
    #: Dead rows as a share of a table's rows from which it is vacuumed on weekdays too.
    urgent_dead_share: float = 0.2
    #: Age in transactions from which a table is frozen.
    freeze_age: int = 100 * MILLION
    #: Age in transactions from which a table is frozen on weekdays too.
    urgent_age: int = 180 * MILLION
    #: Maximum time between vacuums of a table that changes.
    days: int = 7
    #: Estimated bloat as a share of an index from which `strikecast vacuum --reindex` rebuilds it.
    index_bloat_share: float = 0.4
    #: Smaller indexes are not rebuilt.
    least_index_bytes: int = 4 * 2**20


@dataclass(frozen=True)
class TableHealth:
    """Statistics of a table; ages in transactions, times aware UTC.

    `parent`: a partitioned table, which autovacuum never analyzes. `bloat_bytes`: estimated from the planner's
    statistics, None without them.
    """

    table: str
    parent: bool
    rows: int
    dead_rows: int
    changed_rows: int
    bytes: int
    bloat_bytes: int | None
    xid_age: int
    multixact_age: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None


@dataclass(frozen=True)
class IndexHealth:
    """An index; `bloat_bytes` is an estimate. An interrupted REINDEX CONCURRENTLY leaves an invalid one."""

    index: str
    table: str
    bytes: int
    bloat_bytes: int
    valid: bool


@dataclass(frozen=True)
class VacuumStep:
    """VACUUM of a table, with FREEZE, or ANALYZE only."""

    table: str
    reason: str
    freeze: bool = False
    analyze_only: bool = False


@dataclass(frozen=True)
class IndexStep:
    """REINDEX of an index, or DROP of an invalid one."""

    index: str
    reason: str
    drop: bool = False


@dataclass(frozen=True)
class VacuumPlan:
    """Steps, the most urgent first."""

    tables: tuple[VacuumStep, ...]
    indexes: tuple[IndexStep, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """(action, target, reason) of each step."""
        lines = [
            ("analyze" if one.analyze_only else "vacuum, freeze" if one.freeze else "vacuum", one.table, one.reason)
            for one in self.tables
        ]
        return lines + [("drop" if one.drop else "reindex", one.index, one.reason) for one in self.indexes]


def plan_vacuum(
    tables: Sequence[TableHealth],
    indexes: Sequence[IndexHealth],
    policy: VacuumPolicy,
    now: datetime,
    *,
    urgent_only: bool,
    reindex: bool,
) -> VacuumPlan:
    """The plan at `now` (aware UTC); with `urgent_only` only the steps that must not wait for the weekly run.

    Invalid indexes are always dropped: they cost writes and are never read.
    """
    ranked = sorted((one for table in tables if (one := _ranked(table, policy, now))), key=lambda one: -one[0])
    index_steps = [
        IndexStep(one.index, "left by an interrupted REINDEX", drop=True) for one in indexes if not one.valid
    ]
    large = [one for one in indexes if reindex and one.valid and one.bytes >= policy.least_index_bytes]
    for index in sorted(large, key=lambda one: -one.bloat_bytes):
        if (share := index.bloat_bytes / index.bytes) >= policy.index_bloat_share:
            reason = f"about {share:.0%} of {index.bytes / 2**20:,.0f} MiB is bloat"
            index_steps.append(IndexStep(index.index, reason))
    return VacuumPlan(tuple(step for rank, step in ranked if rank >= URGENT or not urgent_only), tuple(index_steps))


def _ranked(table: TableHealth, policy: VacuumPolicy, now: datetime) -> tuple[float, VacuumStep] | None:
    """A table's step with its rank, the higher the more urgent; None when it needs none."""
    # Half a day of tolerance: a run that starts a minute early must not postpone the table by a week.
    interval = timedelta(days=policy.days - 0.5)
    if table.parent:
        if table.analyzed_at is not None and now - table.analyzed_at < interval:
            return None
        return 0.0, VacuumStep(table.table, "partitioned: autovacuum does not analyze it", analyze_only=True)
    age = max(table.xid_age, table.multixact_age)
    if age >= policy.freeze_age:
        rank = URGENT + age / policy.urgent_age if age >= policy.urgent_age else 1.5
        return rank, VacuumStep(
            table.table, f"its oldest row is {age / MILLION:,.0f} million transactions old", freeze=True
        )
    share = table.dead_rows / max(1, table.rows + table.dead_rows)
    if table.dead_rows >= policy.least_dead_rows and share >= policy.dead_share:
        rank = URGENT + share if share >= policy.urgent_dead_share else 1.0 + share / 2
        return rank, VacuumStep(table.table, f"{table.dead_rows:,} dead rows, {share:.0%} of its rows")
    last = table.vacuumed_at
    if table.dead_rows + table.changed_rows and (last is None or now - last >= interval):
        return 0.5, VacuumStep(table.table, f"changed; last vacuum: {'never' if last is None else f'{last:%Y-%m-%d}'}")
    return None
