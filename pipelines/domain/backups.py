"""Backups: what one says of itself, whether a restored database is the same, and which ones are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

MANIFEST_FORMAT = 1


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
    bytes: int
    problem: str | None = None


@dataclass(frozen=True)
class RotationPolicy:
    """All of the last `days`; the newest of each of the last `daily` days, `weekly` weeks and `monthly` months that
    have one; and whatever happens the newest `minimum` sound ones.
    """

    days: int = 14
    daily: int = 7
    weekly: int = 5
    monthly: int = 12
    minimum: int = 3


@dataclass(frozen=True)
class RotationPlan:
    """What stays and what goes, each with its reason, newest first."""

    keep: tuple[tuple[str, str], ...]
    delete: tuple[tuple[str, str], ...]


def plan_rotation(backups: Sequence[KeptBackup], policy: RotationPolicy, now: datetime) -> RotationPlan:
    """Which backups stay. `now` is aware UTC; a clock ahead of the newest backup makes none of them older.

    Damaged ones are kept for `days`, to be looked at, and count for nothing else.
    """
    newest_first = sorted(backups, key=lambda one: one.snapshot_at, reverse=True)
    if not newest_first:
        return RotationPlan((), ())
    reference = min(now, newest_first[0].snapshot_at)
    reasons: dict[str, str] = {}
    sound = [one for one in newest_first if one.problem is None]
    for one in sound[: policy.minimum]:
        reasons[one.name] = f"one of the newest {policy.minimum}"
    for one in newest_first:
        if reference - one.snapshot_at <= timedelta(days=policy.days):
            reasons.setdefault(one.name, f"of the last {policy.days} days")
    for count, what, period in (
        (policy.daily, "day", _day), (policy.weekly, "week", _week), (policy.monthly, "month", _month)
    ):  # fmt: skip
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
