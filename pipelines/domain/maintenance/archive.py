"""The price archive: which months of bars leave the database for files, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pipelines.domain.maintenance.policies import Policy


@dataclass(frozen=True)
class ArchivePolicy(Policy):
    """Bars of months that ended more than `after_months` ago are archived; builds use what is in the database."""

    #: Age of a month of bars from which it is moved to files.
    after_months: int = 72
    #: Maximum number of months moved per run, of all symbols.
    most_months: int = 24


@dataclass(frozen=True)
class StoredMonth:
    """Bars of one symbol and month (its first day, UTC) in the database; `newest_bar_at` is the symbol's newest."""

    symbol: str
    month: date
    bars: int
    newest_bar_at: datetime


@dataclass(frozen=True)
class ArchivePlan:
    """Months to archive, oldest first, and what waits."""

    months: tuple[StoredMonth, ...]
    why: str
    kept: tuple[str, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """(action, target, reason) of each step, and the reasons for what waits."""
        lines = [("archive", f"{one.symbol} {one.month:%Y-%m} ({one.bars:,} bars)", self.why) for one in self.months]
        return lines + [("stays", "", why) for why in self.kept]


def plan_archive(stored: Sequence[StoredMonth], policy: ArchivePolicy, now: datetime) -> ArchivePlan:
    """What to archive at `now` (aware UTC), counted from a symbol's newest bar where that is older than the clock."""
    old = [one for one in stored if _months(one.month, min(now, one.newest_bar_at)) > policy.after_months]
    old.sort(key=lambda one: (one.month, one.symbol))
    waiting = len(old) - policy.most_months
    kept = (f"{waiting} more months: {policy.most_months} go in one run",) if waiting > 0 else ()
    return ArchivePlan(tuple(old[: policy.most_months]), f"ended more than {policy.after_months} months ago", kept)


def _months(first: date, now: datetime) -> int:
    """Whole months from the first day of one month to now's."""
    today = now.astimezone(UTC)
    return (today.year - first.year) * 12 + today.month - first.month
