"""The files of the archive, and those of whose months bars are stored, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


@dataclass(frozen=True)
class ArchiveFile:
    """A symbol's archived bars that opened in [since, until), one month, UTC."""

    symbol: str
    path: Path
    since: datetime
    until: datetime


def archive_files(folder: Path, symbol: str = "*") -> list[ArchiveFile]:
    """Files of the archive in `folder`, of one symbol or all, by symbol and month."""
    found = [
        archive_file(path)
        for path in folder.glob(f"{symbol}/*_1m_????-??.parquet")
        if path.stem.startswith(f"{path.parent.name.lower()}_1m_")
    ]
    return sorted(found, key=lambda file: (file.symbol, file.since))


def archive_file(path: Path) -> ArchiveFile:
    """The symbol and month of a file of the archive by its folder and name."""
    return ArchiveFile(path.parent.name, path, *month_span(date.fromisoformat(f"{path.stem[-7:]}-01")))


def month_span(month: date) -> tuple[datetime, datetime]:
    """Range [first, after) of a month in UTC."""
    first = datetime(month.year, month.month, 1, tzinfo=UTC)
    return first, datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def files_with_stored_bars(connection: Connection, files: Sequence[ArchiveFile]) -> list[ArchiveFile]:
    """The files of whose symbols and months there are bars in the database."""
    columns = [list(column) for column in zip(*((one.symbol, one.since, one.until) for one in files), strict=True)]
    if not columns:
        return []
    found = set(connection.execute(SQL["months_with_bars"], columns).fetchall())
    return [file for file in files if (file.symbol, file.since) in found]
