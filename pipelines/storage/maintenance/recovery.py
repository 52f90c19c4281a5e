"""Marks in time, by which a restore to a given second proves itself, and the state of the log's archive."""

from dataclasses import dataclass
from datetime import datetime

from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)


@dataclass(frozen=True)
class Archiving:
    """How the server archives its log, as it is set."""

    mode: str
    command: str
    library: str

    @property
    def is_on(self) -> bool:
        """Whether finished files of the log go anywhere."""
        return self.mode != "off" and bool(self.library or self.command not in {"", "(disabled)"})


def archiving(database: Database) -> Archiving:
    """The server's settings."""
    with database.connect("recovery", None) as connection:
        row = connection.execute(SQL["archive_settings"]).fetchone()
    assert row is not None
    return Archiving(*row)


def create_mark_table(database: Database) -> None:
    """Make the table of marks in an empty database."""
    with database.connect("recovery", None) as connection:
        connection.execute(SQL["create_recovery_mark"])


def write_mark(database: Database, label: str) -> None:
    """Commit a mark."""
    with database.connect("recovery", None) as connection:
        connection.execute(SQL["insert_recovery_mark"], [label])


def marks(database: Database) -> list[str]:
    """The marks that are there, oldest first."""
    with database.connect("recovery", None) as connection:
        return [row[0] for row in connection.execute(SQL["recovery_marks"]).fetchall()]


def server_time(database: Database) -> datetime:
    """The server's clock, UTC."""
    with database.connect("recovery", None) as connection:
        row = connection.execute(SQL["server_clock"]).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


def finish_wal_file(database: Database) -> str:
    """Let the server begin a new file of its log; the name of the one that is finished. Needs a superuser's rights."""
    with database.connect("recovery", None, autocommit=True) as connection:
        row = connection.execute(SQL["switch_wal"]).fetchone()
    assert row is not None
    return str(row[0])


def failed_wal(database: Database) -> str | None:
    """The file that the server has last tried to archive in vain, and not archived since."""
    with database.connect("recovery", None) as connection:
        row = connection.execute(SQL["failed_wal"]).fetchone()
    return None if row is None else str(row[0])
