"""Backups: their manifest, the comparison of a restored database with it, and which backups and WAL to keep."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pipelines.domain.maintenance.policies import require_dates

MANIFEST_FORMAT = 1
#: Name of a backup by `pg_backup.sh`: series, time (UTC), and a number where the name is taken.
_NAME = re.compile(r"(?P<series>.+)-(?P<at>\d{8}T\d{6}Z)(-(?P<number>\d+))?")
ENCRYPTIONS = ("age", "gpg")
_FILE_NAME = re.compile(r"[a-z]+(\.[a-z]+)+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,3}\b.{0,99}")
_CHECKSUM = re.compile(r"-?[0-9]{1,60}")
_START_WAL = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$", re.MULTILINE)


@dataclass(frozen=True)
class FileFacts:
    """A file of a backup with its size and SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TableFacts:
    """A table's row count, and the sum of its rows' hashes, which does not depend on their order."""

    table: str
    rows: int
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """Content of a backup's manifest; `snapshot_at` (aware UTC) is the time of the dumped snapshot.

    `dagster_tables`: those of Dagster's database; None if the backup does not contain it.
    """

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
    dagster_tables: tuple[TableFacts, ...] | None = None

    @property
    def bytes(self) -> int:
        """Total size of the files."""
        return sum(one.bytes for one in self.files)

    @property
    def rows(self) -> int:
        """Total number of rows."""
        return sum(one.rows for one in self.tables)


def parse_manifest(raw: object) -> Manifest:
    """Parse a manifest of `pg_backup.sh`. Raises ValueError with the reason for an invalid one."""
    manifest = _Fields(raw, "the manifest")
    if manifest.count("format") != MANIFEST_FORMAT:
        raise ValueError(f"it has format {manifest.count('format')}; this version supports {MANIFEST_FORMAT}")
    facts, dagster = manifest.fields("facts"), manifest.raw.get("dagster")
    encryption = manifest.text("encryption") if manifest.raw.get("encryption") else None
    if encryption not in {None, *ENCRYPTIONS}:
        raise ValueError(f"its encryption is {_shown(encryption)}, neither of {' and '.join(ENCRYPTIONS)}")
    files = tuple(
        FileFacts(one.text("name", _FILE_NAME), one.count("bytes"), one.text("sha256", _SHA256))
        for one in manifest.several("files")
    )
    return Manifest(
        database=facts.text("database"),
        snapshot_at=facts.time("snapshot_at"),
        server_version=facts.text("server_version", _VERSION),
        server_size_bytes=facts.count("server_size_bytes"),
        client_version=manifest.text("client_version", _VERSION),
        compression=manifest.text("compression"),
        encryption=encryption,
        seconds=manifest.count("seconds"),
        files=files,
        tables=_parse_tables(manifest),
        dagster_tables=_parse_tables(manifest.fields("dagster")) if dagster else None,
    )


class _Fields:
    """Fields of an object from a JSON file that may be forged; each read raises ValueError for a wrong one."""

    def __init__(self, raw: object, name: str) -> None:
        if not isinstance(raw, dict):
            raise ValueError(f"{name} is no object")
        self.raw: Mapping[str, Any] = raw

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        found = self.raw.get(name)
        if not isinstance(found, str) or not found.isprintable() or (pattern and not pattern.fullmatch(found)):
            raise ValueError(f"its {name} is {_shown(found)}")
        return found

    def count(self, name: str) -> int:
        found = self.raw.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise ValueError(f"its {name} is {_shown(found)}, not a whole number of 0 or more")
        return found

    def time(self, name: str) -> datetime:
        text = self.text(name)
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"its {name} is {_shown(text)}, not a time") from error

    def fields(self, name: str) -> "_Fields":
        return _Fields(self.raw.get(name), f"its {name}")

    def several(self, name: str) -> list["_Fields"]:
        found = self.raw.get(name)
        if not isinstance(found, list):
            raise ValueError(f"its {name} is {_shown(found)}, not a list")
        return [_Fields(one, f"one of its {name}") for one in found]


def _shown(value: object) -> str:
    return "missing" if value is None else f"{str(value)[:60]!r}"


def _parse_tables(of: _Fields) -> tuple[TableFacts, ...]:
    return tuple(
        TableFacts(one.text("table"), one.count("rows"), one.text("checksum", _CHECKSUM))
        for one in of.several("tables")
    )


def differences(expected: Sequence[TableFacts], found: Sequence[TableFacts]) -> tuple[str, ...]:
    """Differences between a backup's tables and those of a restored database, one message each; empty if equal."""
    backup, restored = ({one.table: one for one in tables} for tables in (expected, found))
    messages = [f"{table} is missing" for table in backup.keys() - restored.keys()]
    messages += [f"{table} is not in the backup" for table in restored.keys() - backup.keys()]
    for table in backup.keys() & restored.keys():
        before, after = backup[table], restored[table]
        if before.rows != after.rows:
            messages.append(f"{table} has {after.rows:,} rows, the backup {before.rows:,}")
        elif before.checksum != after.checksum:
            messages.append(f"{table} has other content than the backup")
    return tuple(sorted(messages))


@dataclass(frozen=True)
class KeptBackup:
    """A backup that exists; `problem`: the damage found by its verification."""

    name: str
    snapshot_at: datetime
    problem: str | None = None

    @property
    def series(self) -> str:
        """What it is a backup of, from its name; the policy applies to each series separately."""
        match = _NAME.fullmatch(self.name)
        return match["series"] if match else ""


def parse_backup_name(name: str) -> KeptBackup | None:
    """A backup by its name alone; None for another name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    at = datetime.strptime(match["at"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    # Microseconds keep the order of backups of the same second.
    return KeptBackup(name, at + timedelta(microseconds=int(match["number"] or 1)))


@dataclass(frozen=True)
class RotationPolicy:
    """Keep all backups of the last `keep_days`, the newest of each of the last `keep_daily` days, `keep_weekly` weeks
    and `keep_monthly` months that have one, and always the newest `minimum` undamaged ones.

    Raises ValueError for negative numbers and for a minimum of less than 1.
    """

    LEAST: ClassVar[Mapping[str, int]] = {
        "keep_days": 0,
        "keep_daily": 0,
        "keep_weekly": 0,
        "keep_monthly": 0,
        "minimum": 1,
    }
    #: All backups of this period are kept, and then the newest of each day, week and month.
    keep_days: int = 14
    #: Days of which the newest backup is kept.
    keep_daily: int = 7
    #: Weeks of which the newest backup is kept.
    keep_weekly: int = 5
    #: Months of which the newest backup is kept.
    keep_monthly: int = 12
    #: Newest undamaged backups that are kept regardless of their age.
    minimum: int = 3

    def __post_init__(self) -> None:
        for name, least in self.LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")
        require_dates(self)


@dataclass(frozen=True)
class RotationPlan:
    """Backups to keep and to delete, each with the reason, newest first."""

    keep: tuple[tuple[str, str], ...]
    delete: tuple[tuple[str, str], ...]


def plan_rotation(backups: Sequence[KeptBackup], policy: RotationPolicy, now: datetime) -> RotationPlan:
    """Apply the policy to each series at `now` (aware UTC), or at its newest backup if that is older.

    Damaged backups are kept for `keep_days`, for inspection, and do not count otherwise.
    """
    newest_first = sorted(backups, key=lambda one: one.snapshot_at, reverse=True)
    keep: list[tuple[str, str]] = []
    delete: list[tuple[str, str]] = []
    for series in sorted({one.series for one in newest_first}):
        members = [one for one in newest_first if one.series == series]
        reasons = _reasons_to_keep(members, policy, min(now, members[0].snapshot_at))
        for one in members:
            if one.name in reasons:
                keep.append((one.name, reasons[one.name]))
            else:
                problem = "older than any rule keeps" if one.problem is None else f"damaged: {one.problem}"
                delete.append((one.name, problem))
    return RotationPlan(tuple(keep), tuple(delete))


def _reasons_to_keep(newest_first: Sequence[KeptBackup], policy: RotationPolicy, reference: datetime) -> dict[str, str]:
    """The first rule that keeps each backup of a series, by name."""
    undamaged = [one for one in newest_first if one.problem is None]
    reasons = {one.name: f"one of the newest {policy.minimum}" for one in undamaged[: policy.minimum]}
    for one in newest_first:
        if reference - one.snapshot_at <= timedelta(days=policy.keep_days):
            reasons.setdefault(one.name, f"of the last {policy.keep_days} days")
    for count, unit, label_format in (
        (policy.keep_daily, "day", "%Y-%m-%d"),
        (policy.keep_weekly, "week", "%G-W%V"),
        (policy.keep_monthly, "month", "%Y-%m"),
    ):
        newest: dict[str, str] = {}
        for one in undamaged:
            newest.setdefault(one.snapshot_at.strftime(label_format), one.name)
        for label, name in list(newest.items())[:count]:
            reasons.setdefault(name, f"newest of {unit} {label}")
    return reasons


@dataclass(frozen=True)
class BaseBackup:
    """A base backup of a whole server, the first WAL file that it needs, and its time (aware UTC)."""

    name: str
    start_wal: str
    taken_at: datetime


@dataclass(frozen=True)
class BasePlan(RotationPlan):
    """Base backups to keep and to delete; WAL before `wal_from` is not needed."""

    wal_from: str | None


def parse_start_wal(label: str) -> str:
    """The first WAL file that a base backup needs, from its `backup_label`. Raises ValueError without one."""
    match = _START_WAL.search(label)
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
