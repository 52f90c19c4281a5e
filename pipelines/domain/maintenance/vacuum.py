"""Vacuum: which tables need it now, and why; which indexes are worth building anew. Facts and policy in, a plan out."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, ClassVar

#: PostgreSQL refuses to write at two thousand million; a forced vacuum begins at two hundred.
MILLION = 1_000_000


@dataclass(frozen=True)
class VacuumPolicy:
    """When a table is vacuumed: shares are of its rows, ages are in transactions, sizes in bytes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    #: With fewer dead rows than this nothing is gained.
    least_dead_rows: int = 1_000
    dead_share: float = 0.02
    #: Not to be left to the week's end.
    urgent_dead_share: float = 0.2
    freeze_age: int = 100 * MILLION
    urgent_age: int = 180 * MILLION
    #: A table that changed is vacuumed at least so often.
    days: int = 7
    #: An index this much larger than its entries need, and at least so large, is built anew when asked.
    index_bloat_share: float = 0.4
    least_index_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        wrong = [field.name for field in fields(self) if getattr(self, field.name) <= 0]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be more than 0")


@dataclass(frozen=True)
class TableHealth:
    """A table as the server's statistics see it; `xid_age` and `multixact_age` in transactions, times aware UTC.

    `parent`: it has partitions and no rows of its own, so autovacuum never analyzes it. `bloat_bytes` is an estimate
    from the planner's statistics, None without them.
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

    @property
    def dead_share(self) -> float:
        """Dead rows, of all rows."""
        return self.dead_rows / max(1, self.rows + self.dead_rows)


@dataclass(frozen=True)
class IndexHealth:
    """An index; `bloat_bytes` is an estimate, and not valid ones are what a killed REINDEX CONCURRENTLY left."""

    index: str
    table: str
    bytes: int
    bloat_bytes: int
    valid: bool


@dataclass(frozen=True)
class VacuumStep:
    """One table's turn; `freeze`: its rows are made independent of transaction numbers; `analyze_only`: no vacuum."""

    table: str
    why: str
    freeze: bool = False
    analyze_only: bool = False


@dataclass(frozen=True)
class IndexStep:
    """One index's turn; `drop`: it is a leftover."""

    index: str
    why: str
    drop: bool = False


@dataclass(frozen=True)
class VacuumPlan:
    """The most urgent first."""

    tables: tuple[VacuumStep, ...]
    indexes: tuple[IndexStep, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """(what, which, why), as people read it."""
        told = [
            ("analyze" if one.analyze_only else "vacuum, freeze" if one.freeze else "vacuum", one.table, one.why)
            for one in self.tables
        ]
        return told + [("drop" if one.drop else "reindex", one.index, one.why) for one in self.indexes]


def plan_vacuum(
    tables: Sequence[TableHealth],
    indexes: Sequence[IndexHealth],
    policy: VacuumPolicy,
    now: datetime,
    *,
    urgent_only: bool,
    reindex: bool,
) -> VacuumPlan:
    """What to vacuum at `now` (aware UTC); with `urgent_only` what cannot wait for the week's end.

    Leftovers of a killed REINDEX CONCURRENTLY always go: they are written to and never read.
    """
    ranked = sorted((one for table in tables if (one := _ranked(table, policy, now))), key=lambda one: -one.rank)
    leftovers = [IndexStep(one.index, "left over from a killed REINDEX", drop=True) for one in indexes if not one.valid]
    bloated = [one for one in sorted(indexes, key=lambda one: -one.bloat_bytes) if reindex and _is_bloated(one, policy)]
    return VacuumPlan(
        tuple(one.step for one in ranked if one.rank >= URGENT or not urgent_only),
        (
            *leftovers,
            *(
                IndexStep(one.index, f"about {one.bloat_bytes / one.bytes:.0%} of {one.bytes / 2**20:,.0f} MiB is air")
                for one in bloated
            ),
        ),
    )


#: Rank from which a step cannot wait.
URGENT = 2.0


@dataclass(frozen=True)
class _Ranked:
    rank: float
    step: VacuumStep


def _ranked(table: TableHealth, policy: VacuumPolicy, now: datetime) -> _Ranked | None:
    """A table's step and how urgent it is, None when it needs none."""
    if table.parent:
        # Half a day less than a week, or a schedule that is a minute early leaves it for another week.
        if table.analyzed_at is not None and now - table.analyzed_at < timedelta(days=policy.days - 0.5):
            return None
        return _Ranked(0.0, VacuumStep(table.table, "a parent of partitions: autovacuum leaves it", analyze_only=True))
    age = max(table.xid_age, table.multixact_age)
    if age >= policy.freeze_age:
        rank = URGENT + age / policy.urgent_age if age >= policy.urgent_age else 1.5
        return _Ranked(
            rank,
            VacuumStep(table.table, f"its oldest row is {age / MILLION:,.0f} million transactions old", freeze=True),
        )
    share = table.dead_share
    if table.dead_rows >= policy.least_dead_rows and share >= policy.dead_share:
        rank = URGENT + share if share >= policy.urgent_dead_share else 1.0 + share / 2
        return _Ranked(rank, VacuumStep(table.table, f"{table.dead_rows:,} dead rows, {share:.0%} of it"))
    seen = table.vacuumed_at
    if table.dead_rows + table.changed_rows and (seen is None or now - seen >= timedelta(days=policy.days - 0.5)):
        when = "never" if seen is None else f"last {seen:%Y-%m-%d}"
        return _Ranked(0.5, VacuumStep(table.table, f"it changed, and was vacuumed {when}"))
    return None


def _is_bloated(index: IndexHealth, policy: VacuumPolicy) -> bool:
    return (
        index.valid
        and index.bytes >= policy.least_index_bytes
        and index.bloat_bytes / index.bytes >= policy.index_bloat_share
    )
