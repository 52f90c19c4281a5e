"""Log files: which to rotate, compress and delete."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.maintenance.policies import Policy

#: Name of a rotated file, such as `daemon-20261121T020000Z.log`; PostgreSQL's own log files have such names too.
ROTATED = re.compile(r"^(?P<family>.+)-\d{8}T\d{6}Z(-\d+)?\.(log|jsonl)(\.gz)?$")


@dataclass(frozen=True)
class LogPolicy(Policy):
    """Maximum age and total size of compressed logs, and when to compress a rotated file."""

    #: Maximum age of compressed logs.
    keep_days: int = 30
    #: Maximum total size of compressed logs.
    most_megabytes: int = 500
    #: A rotated file is compressed this long after its last write: until then a process may still have it open.
    settle_minutes: int = 10


@dataclass(frozen=True)
class LogFile:
    """A log file, the time of its last write (aware UTC), and whether the process that writes it rotates it."""

    folder: str
    name: str
    bytes: int
    written_at: datetime
    self_rotating: bool = False

    @property
    def family(self) -> str:
        """The log that the file belongs to, such as `daemon`."""
        rotated = ROTATED.match(self.name)
        return rotated["family"] if rotated else self.name.rpartition(".")[0]

    @property
    def compressed(self) -> bool:
        """Whether the file is compressed."""
        return self.name.endswith(".gz")


@dataclass(frozen=True)
class LogStep:
    """One file and its action: rotate, compress or delete."""

    action: str
    folder: str
    name: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class LogPlan:
    """Steps in the order of their execution."""

    steps: tuple[LogStep, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """(action, target, reason) of each step."""
        return [(one.action, f"{one.name} ({one.bytes:,} bytes)", one.reason) for one in self.steps]


def plan_logs(files: Sequence[LogFile], policy: LogPolicy, now: datetime) -> LogPlan:
    """The steps at `now` (aware UTC): a file in use is renamed, and compressed by the next run."""
    deleted = _deletions([one for one in files if one.compressed], policy, now)
    rotated, compressed = [], []
    for one in files:
        if one.compressed or not one.bytes:
            continue
        if ROTATED.match(one.name) is None:
            rotated.append(_step("rotate", one, "daily rotation"))
        elif one.self_rotating and _is_newest(one, files):
            continue  # in use
        elif now - one.written_at >= timedelta(minutes=policy.settle_minutes):
            compressed.append(_step("compress", one, "no longer in use"))
    return LogPlan((*deleted, *compressed, *rotated))


def _step(action: str, file: LogFile, reason: str) -> LogStep:
    return LogStep(action, file.folder, file.name, file.bytes, reason)


def _is_newest(one: LogFile, files: Sequence[LogFile]) -> bool:
    """Whether a file is the newest of its log by name or by time: a clock that was set back makes them differ."""
    family = [other for other in files if (other.folder, other.family) == (one.folder, one.family)]
    return one.name == max(other.name for other in family) or one.written_at == max(
        other.written_at for other in family
    )


def _deletions(compressed: Sequence[LogFile], policy: LogPolicy, now: datetime) -> list[LogStep]:
    """Files older than the policy keeps, then the oldest until the rest fits the maximum size."""
    steps = []
    total = sum(one.bytes for one in compressed)
    for one in sorted(compressed, key=lambda one: one.written_at):
        if now - one.written_at > timedelta(days=policy.keep_days):
            steps.append(_step("delete", one, f"older than {policy.keep_days} days"))
        elif total > policy.most_megabytes * 2**20:
            steps.append(_step("delete", one, f"more than {policy.most_megabytes} MiB in total"))
        else:
            break
        total -= one.bytes
    return steps
