"""Log files: which are rotated, compressed and deleted, and why."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from pipelines.domain.maintenance.policies import require_one_or_more

#: `daemon-20261121T020000Z.log`, and PostgreSQL's own.
ROTATED = re.compile(r"^(?P<family>.+)-\d{8}T\d{6}Z(-\d+)?\.(log|jsonl)(?P<compressed>\.gz)?$")


@dataclass(frozen=True)
class LogPolicy:
    """`settle_minutes`: a writer that has not noticed the rotation yet may still be at the file for so long."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    keep_days: int = 30
    most_megabytes: int = 500
    settle_minutes: int = 10

    def __post_init__(self) -> None:
        require_one_or_more(self)


@dataclass(frozen=True)
class LogFile:
    """A log: its name, its size, when it was written last (aware UTC), and whether its writer rotates it."""

    folder: str
    name: str
    bytes: int
    written_at: datetime
    self_rotating: bool = False

    @property
    def family(self) -> str:
        """What it is a log of."""
        rotated = ROTATED.match(self.name)
        return rotated["family"] if rotated else self.name.rpartition(".")[0]

    @property
    def compressed(self) -> bool:
        """Whether it is compressed."""
        return self.name.endswith(".gz")


@dataclass(frozen=True)
class LogStep:
    """One file's turn: rotate, compress or delete."""

    action: str
    folder: str
    name: str
    bytes: int
    why: str


@dataclass(frozen=True)
class LogPlan:
    """In the order in which it is carried out."""

    steps: tuple[LogStep, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """(what, which, why), as people read it."""
        return [(one.action, f"{one.name} ({one.bytes:,} bytes)", one.why) for one in self.steps]


def plan_logs(files: Sequence[LogFile], policy: LogPolicy, now: datetime) -> LogPlan:
    """What to do at `now` (aware UTC): a file that is written to is renamed, and compressed the next time."""
    deleted = _too_old_or_too_many(files, policy, now)
    gone = {(one.folder, one.name) for one in deleted}
    rotated, compressed = [], []
    for one in files:
        if (one.folder, one.name) in gone or one.compressed or not one.bytes:
            continue
        if ROTATED.match(one.name) is None:
            rotated.append(LogStep("rotate", one.folder, one.name, one.bytes, "a day's lines"))
        elif one.self_rotating and _is_newest(one, files):
            continue  # still written to
        elif now - one.written_at >= timedelta(minutes=policy.settle_minutes):
            compressed.append(LogStep("compress", one.folder, one.name, one.bytes, "nobody writes to it"))
    return LogPlan((*deleted, *compressed, *rotated))


def _is_newest(one: LogFile, files: Sequence[LogFile]) -> bool:
    family = [other for other in files if (other.folder, other.family) == (one.folder, one.family)]
    # Either way: a clock that was set back gives a newer file an older name.
    return one.name == max(other.name for other in family) or one.written_at == max(
        other.written_at for other in family
    )


def _too_old_or_too_many(files: Sequence[LogFile], policy: LogPolicy, now: datetime) -> list[LogStep]:
    """Compressed files past their age; then the oldest, until all of them fit."""
    oldest_first = sorted((one for one in files if one.compressed), key=lambda one: one.written_at)
    old = [one for one in oldest_first if now - one.written_at > timedelta(days=policy.keep_days)]
    steps = [LogStep("delete", one.folder, one.name, one.bytes, f"older than {policy.keep_days} days") for one in old]
    left = [one for one in oldest_first if one not in old]
    total = sum(one.bytes for one in left)
    for one in left:
        if total <= policy.most_megabytes * 2**20:
            break
        steps.append(LogStep("delete", one.folder, one.name, one.bytes, f"more than {policy.most_megabytes} MiB"))
        total -= one.bytes
    return steps
