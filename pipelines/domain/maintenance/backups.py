"""Backups: what one says of itself, whether a restored database is the same, and which ones are kept."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

MANIFEST_FORMAT = 1
#: How `pg_backup.sh` names a backup: what is backed up, when (UTC), and a number where that is taken.
_NAME = re.compile(r"(?P<series>.+)-(?P<at>\d{8}T\d{6}Z)(-(?P<number>\d+))?")


@dataclass(frozen=True)
class FileFacts:
    """A file of a backup: its size and the SHA-256 of its content."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TableFacts:
    """A table at one instant: its rows, and a sum over their hashes, whatever their order."""

    table: str
    rows: int
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself; `snapshot_at` (aware UTC) is the instant that it holds."""

    database: str
    snapshot_at: datetime
    server_version: str
    server_size_bytes: int
    client_version: str
    compression: str
    encryption: str | None
    seconds: int
    files: tuple[FileFacts, ...]
    tables: tuple[TableFacts, ...]

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(one.bytes for one in self.files)

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(one.rows for one in self.tables)


def parse_manifest(raw: Mapping[str, Any]) -> Manifest:
    """A manifest as `pg_backup.sh` writes it. Raises ValueError that says what is wrong with another."""
    try:
        if raw["format"] != MANIFEST_FORMAT:
            raise ValueError(f"it has format {raw['format']}, this program knows {MANIFEST_FORMAT}")
        facts = raw["facts"]
        return Manifest(
            database=str(facts["database"]),
            snapshot_at=datetime.fromisoformat(facts["snapshot_at"]).astimezone(UTC),
            server_version=str(facts["server_version"]),
            server_size_bytes=int(facts["server_size_bytes"]),
            client_version=str(raw["client_version"]),
            compression=str(raw["compression"]),
            encryption=raw.get("encryption") or None,
            seconds=int(raw["seconds"]),
            files=tuple(FileFacts(one["name"], int(one["bytes"]), one["sha256"]) for one in raw["files"]),
            tables=tuple(TableFacts(one["table"], int(one["rows"]), one["checksum"]) for one in raw["tables"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def differences(expected: Sequence[TableFacts], found: Sequence[TableFacts]) -> tuple[str, ...]:
    """What a restored database has otherwise than its backup, in plain words; nothing when it is the same."""
    then, now = ({one.table: one for one in tables} for tables in (expected, found))
    told = [f"{table} is missing" for table in then if table not in now]
    told += [f"{table} is not in the backup" for table in now if table not in then]
    for table in then.keys() & now.keys():
        before, after = then[table], now[table]
        if before.rows != after.rows:
            told.append(f"{table} has {after.rows:,} rows, the backup {before.rows:,}")
        elif before.checksum != after.checksum:
            told.append(f"{table} has other content than the backup")
    return tuple(sorted(told))


@dataclass(frozen=True)
class KeptBackup:
    """A backup in its folder; `problem`: why it cannot be trusted, None when nothing speaks against it."""

    name: str
    snapshot_at: datetime
    problem: str | None = None

    @property
    def series(self) -> str:
        """What it is a backup of, by its name: of another one's backups it takes no place."""
        match = _NAME.fullmatch(self.name)
        return match["series"] if match else ""


def named_backup(name: str) -> KeptBackup | None:
    """A backup of which only the name is known; None for what is not named like one."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    at = datetime.strptime(match["at"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    return KeptBackup(name, at + timedelta(microseconds=int(match["number"] or 1)))  # of the same second, in order


@dataclass(frozen=True)
class RotationPolicy:
    """All of the last `keep_days`; the newest of each of the last `keep_daily` days, `keep_weekly` weeks and
    `keep_monthly` months that have one; and whatever happens the newest `minimum` sound ones.

    Raises ValueError for a negative number, and without a minimum.
    """

    keep_days: int = 14
    keep_daily: int = 7
    keep_weekly: int = 5
    keep_monthly: int = 12
    minimum: int = 3

    def __post_init__(self) -> None:
        for name in ("keep_days", "keep_daily", "keep_weekly", "keep_monthly"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.minimum < 1:
            raise ValueError(f"minimum must be 1 or more, not {self.minimum}")


@dataclass(frozen=True)
class RotationPlan:
    """What stays and what goes, each with its reason, newest first."""

    keep: tuple[tuple[str, str], ...]
    delete: tuple[tuple[str, str], ...]


def plan_rotation(backups: Sequence[KeptBackup], policy: RotationPolicy, now: datetime) -> RotationPlan:
    """Which backups stay, of each series by itself. `now` is aware UTC; a clock ahead of the newest makes none older.

    Damaged ones are kept for `keep_days`, to be looked at, and count for nothing else.
    """
    newest_first = sorted(backups, key=lambda one: one.snapshot_at, reverse=True)
    plans = [
        _plan_series([one for one in newest_first if one.series == series], policy, now)
        for series in sorted({one.series for one in newest_first})
    ]
    return RotationPlan(
        tuple(row for one in plans for row in one.keep), tuple(row for one in plans for row in one.delete)
    )


def _plan_series(newest_first: Sequence[KeptBackup], policy: RotationPolicy, now: datetime) -> RotationPlan:
    reference = min(now, newest_first[0].snapshot_at)
    reasons: dict[str, str] = {}
    sound = [one for one in newest_first if one.problem is None]
    for one in sound[: policy.minimum]:
        reasons[one.name] = f"one of the newest {policy.minimum}"
    for one in newest_first:
        if reference - one.snapshot_at <= timedelta(days=policy.keep_days):
            reasons.setdefault(one.name, f"of the last {policy.keep_days} days")
    for count, what, period in (
        (policy.keep_daily, "day", _day),
        (policy.keep_weekly, "week", _week),
        (policy.keep_monthly, "month", _month),
    ):
        for label, name in _newest_of_each(sound, period, count):
            reasons.setdefault(name, f"newest of {what} {label}")
    keep = tuple((one.name, reasons[one.name]) for one in newest_first if one.name in reasons)
    delete = tuple(
        (one.name, "older than any rule keeps" if one.problem is None else f"damaged: {one.problem}")
        for one in newest_first
        if one.name not in reasons
    )
    return RotationPlan(keep, delete)


def _newest_of_each(
    newest_first: Sequence[KeptBackup], period: Callable[[datetime], str], count: int
) -> list[tuple[str, str]]:
    newest: dict[str, str] = {}
    for one in newest_first:
        newest.setdefault(period(one.snapshot_at), one.name)
    return list(newest.items())[:count]


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def _week(at: datetime) -> str:
    return f"{at:%G-W%V}"


def _month(at: datetime) -> str:
    return f"{at:%Y-%m}"
