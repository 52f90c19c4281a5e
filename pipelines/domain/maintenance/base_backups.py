"""Base backups of a whole server: which stay, and which archived write-ahead log they need."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_START = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$", re.MULTILINE)


@dataclass(frozen=True)
class BaseBackup:
    """A base backup; `start_wal` is the first file of the write-ahead log that it needs. Names sort by time."""

    name: str
    start_wal: str


@dataclass(frozen=True)
class BasePlan:
    """What stays and what goes, each with its reason, newest first; archived log before `wal_from` goes too."""

    keep: tuple[tuple[str, str], ...]
    delete: tuple[tuple[str, str], ...]
    wal_from: str | None


def parse_start_wal(label: str) -> str:
    """The first file of the log that a base backup needs, from its `backup_label`. Raises ValueError without one."""
    match = _START.search(label)
    if match is None:
        raise ValueError("its backup_label names no START WAL LOCATION")
    return match[1]


def plan_bases(bases: Sequence[BaseBackup], keep: int) -> BasePlan:
    """Keep the newest `keep` by name, and by place in the log: then a clock that went back deletes no newer one.

    Raises ValueError when none is to be kept.
    """
    if keep < 1:
        raise ValueError(f"at least one base backup is kept, not {keep}")
    newest_first = sorted(bases, key=lambda one: one.name, reverse=True)
    furthest_first = sorted(bases, key=lambda one: one.start_wal, reverse=True)
    stays = {one.name for one in (*newest_first[:keep], *furthest_first[:keep])}
    return BasePlan(
        tuple((one.name, f"one of the newest {keep}") for one in newest_first if one.name in stays),
        tuple((one.name, f"older than the newest {keep}") for one in newest_first if one.name not in stays),
        # By place alone, as pg_archivecleanup compares: after a restore a later timeline begins at an earlier place.
        min((one.start_wal for one in bases if one.name in stays), key=lambda wal: wal[8:], default=None),
    )
