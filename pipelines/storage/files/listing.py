"""The list of files that other machines may read: `ops.file`."""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from socket import gethostname

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)
#: Of a file that is stored in the database; the table has the same limit.
MAX_STORED_BYTES = 1 << 20


class KeptIn(StrEnum):
    """Where a file can be read: everywhere, or only on the host that wrote it."""

    SHARED = "shared"
    DATABASE = "database"
    HOST = "host"


@dataclass(frozen=True)
class NewFile:
    """A file to list; `name`: its path in the home folder. `content`: only of one that is kept in the database."""

    name: str
    kept_in: KeptIn
    host: str
    size_bytes: int
    sha256: str
    content: bytes | None = None
    dagster_run_id: str | None = None


@dataclass(frozen=True)
class ListedFile:
    """A listed file, without its content. The time is aware UTC."""

    name: str
    kept_in: KeptIn
    host: str
    size_bytes: int
    sha256: str
    dagster_run_id: str | None
    written_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept_in", KeptIn(self.kept_in))


def list_files(connection: Connection, beginning: str = "") -> list[ListedFile]:
    """The files whose names have this beginning, by name."""
    return read_rows(connection, ListedFile, SQL["list_files"], [beginning])


def find_file(connection: Connection, name: str) -> ListedFile | None:
    """The file of this name."""
    return next((one for one in list_files(connection, name) if one.name == name), None)


def store_file(connection: Connection, new: NewFile) -> ListedFile:
    """List a file, in place of an older one of the same name."""
    [stored] = read_rows(connection, ListedFile, SQL["store_file"], asdict(new))
    return stored


def stored_content(connection: Connection, name: str) -> bytes | None:
    """The content of a file that is kept in the database."""
    content: bytes | None = read_value(connection, SQL["content_of_file"], [name])
    return content


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(home: Path, path: Path, kept_in: KeptIn, run_id: str | None = None) -> NewFile:
    """A file of the home folder of this host. Raises OSError."""
    content = path.read_bytes() if kept_in is KeptIn.DATABASE else None
    return NewFile(
        path.relative_to(home).as_posix(),
        kept_in,
        gethostname(),
        path.stat().st_size,
        file_sha256(path),
        content,
        run_id,
    )
