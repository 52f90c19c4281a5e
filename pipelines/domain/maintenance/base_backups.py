"""Base backups of a whole server: which to keep, and which archived WAL they need."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_START = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$", re.MULTILINE)


@dataclass(frozen=True)
class BaseBackup:
    """A base backup, and the first WAL file that it needs. Names sort by time."""

    name: str
    start_wal: str


@dataclass(frozen=True)
class BasePlan:
    """Base backups to keep and to delete, each with the reason, newest first; WAL before `wal_from` is not needed."""

    keep: tuple[tuple[str, str], ...]
    delete: tuple[tuple[str, str], ...]
    wal_from: str | None


def parse_start_wal(label: str) -> str:
    """The first WAL file that a base backup needs, from its `backup_label`. Raises ValueError without one."""
    match = _START.search(label)
    if match is None:
        raise ValueError("its backup_label names no START WAL LOCATION")
    return match[1]


def plan_bases(bases: Sequence[BaseBackup], keep: int) -> BasePlan:
    """Keep the newest `keep` by name and by WAL position, so that a clock that was set back deletes no newer one.

    Raises ValueError when `keep` is less than 1.
    """
    if keep < 1:
        raise ValueError(f"at least one base backup must be kept, not {keep}")
    newest_first = sorted(bases, key=lambda one: one.name, reverse=True)
    furthest_first = sorted(bases, key=lambda one: one.start_wal, reverse=True)
    kept = {one.name for one in (*newest_first[:keep], *furthest_first[:keep])}
    return BasePlan(
        tuple((one.name, f"one of the newest {keep}") for one in newest_first if one.name in kept),
        tuple((one.name, f"older than the newest {keep}") for one in newest_first if one.name not in kept),
        # Without the timeline, like pg_archivecleanup: after a restore, a later timeline starts at an earlier position.
        min((one.start_wal for one in bases if one.name in kept), key=lambda wal: wal[8:], default=None),
    )
