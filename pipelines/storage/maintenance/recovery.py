"""Marker rows that verify point-in-time recovery, and the state of WAL archiving."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


@dataclass(frozen=True)
class Archiving:
    """The server's settings for WAL archiving."""

    mode: str
    command: str
    library: str

    @property
    def enabled(self) -> bool:
        """Whether WAL files are archived."""
        return self.mode != "off" and bool(self.library or self.command not in {"", "(disabled)"})


def archiving(database: Database) -> Archiving:
    """The server's settings for WAL archiving."""
    return Archiving(*_rows(database, "archive_settings")[0])


def create_marker_table(database: Database) -> None:
    """Create the table of markers in an empty database."""
    with database.connect("recovery", None) as connection:
        connection.execute(SQL["create_recovery_mark"])


def write_marker(database: Database, label: str) -> None:
    """Insert and commit a marker."""
    with database.connect("recovery", None) as connection:
        connection.execute(SQL["insert_recovery_mark"], [label])


def markers(database: Database) -> list[str]:
    """The markers in the database, oldest first."""
    return [label for (label,) in _rows(database, "recovery_marks")]


def server_time(database: Database) -> datetime:
    """The server's clock, UTC."""
    now: datetime = _rows(database, "server_clock")[0][0]
    return now


def switch_wal_file(database: Database) -> str:
    """Switch to a new WAL file; returns the name of the finished one. Needs superuser rights."""
    return str(_rows(database, "switch_wal")[0][0])


def failed_wal(database: Database) -> str | None:
    """The WAL file that the server most recently failed to archive, None if it has archived one since."""
    found = _rows(database, "failed_wal")
    return str(found[0][0]) if found else None


def _rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.connect("recovery", None, autocommit=True) as connection:
        return connection.execute(SQL[statement]).fetchall()
