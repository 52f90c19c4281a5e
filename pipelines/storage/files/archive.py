"""The archive: files in the home folder, listed in the database, with copies in the shared place if there is one.

A copy's name ends with its checksum, so that the list, which is stored with the deletion of the rows, names a complete
copy at any time: an interrupted run leaves at most a copy that nothing names.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from socket import gethostname
from tempfile import TemporaryDirectory, TemporaryFile

from pipelines.atomic_files import atomic_write
from pipelines.errors import SharedFilesError
from pipelines.log import Log
from pipelines.settings import Settings
from pipelines.storage.files.listing import (
    KeptIn,
    ListedFile,
    described,
    file_sha256,
    find_file,
    list_files,
    store_file,
)
from pipelines.storage.files.places import Place, shared_place
from pipelines.storage.postgres.connection import Connection

ARCHIVE = "archive/"
#: Of the files whose rows queries read: those of bars, not of markets.
MARKETS = f"{ARCHIVE}markets/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Archive:
    """The archive of a home folder; `place`: of the copies. Every method raises SharedFilesError."""

    home: Path
    place: Place | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Archive":
        """The configured archive. Raises SettingsError when the shared place cannot be used at all."""
        return cls(settings.home, shared_place(settings.shared_files))

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.home / "archive"

    def refresh(self, connection: Connection, path: Path) -> None:
        """Fetch a file if another host archived it, or its newest version; before rows are added to it."""
        listed = find_file(connection, self._name(path))
        if listed is None:
            return
        if listed.kept_in is KeptIn.SHARED:
            self._fetch_unless_current(listed)
        elif not _is_ours(path, listed):
            raise SharedFilesError(
                f"{listed.name} is only on {listed.host}: archive there, or copy it to {path}, and set "
                "shared_files.url to a place that all hosts read"
            )

    def keep(self, connection: Connection, path: Path) -> None:
        """List a finished file, with a copy in the shared place that has been read back; then its rows may be deleted.

        The caller's transaction deletes the rows.
        """
        new = described(self.home, path, KeptIn.HOST if self.place is None else KeptIn.SHARED)
        if self.place is not None:
            copy = copy_name(new.name, new.sha256)
            self.place.put(path, copy)
            if self._digest(copy) != new.sha256:
                raise SharedFilesError(f"{self.place.location(copy)} was not read back as it was written")
        _set_time(path, store_file(connection, new).written_at)

    def complete(self, connection: Connection, log: Log) -> Path:
        """Fetch the files of bars that this home folder lacks; returns the folder. Logs what only another host has."""
        missing = [
            listed
            for listed in list_files(connection, ARCHIVE)
            if not listed.name.startswith(MARKETS) and not self._is_here(listed)
        ]
        if missing:
            log(
                f"{len(missing)} archived months are left out: they are only on {missing[0].host}; set shared_files.url"
            )
        return self.folder

    def probe(self) -> str:
        """Prepare the shared place, and write, read and remove a small file in it; returns where it is."""
        assert self.place is not None
        self.place.prepare()
        name = f"probe/{gethostname()}_{os.getpid()}"
        with TemporaryDirectory() as folder:
            path = Path(folder) / "probe"
            path.write_text(name)
            self.place.put(path, f"{name}/file")
        if self._digest(f"{name}/file") != sha256(name.encode()).hexdigest():
            raise SharedFilesError(f"{self.place.location(name)} was not read back as it was written")
        self.place.remove_folder(name)
        return self.place.location("")

    def share(self, connection: Connection, log: Log) -> Sequence[Path]:
        """Copy the files that are here to the shared place, unless it has them; returns those. Reads every copy.

        Files from before there was a place, or from before it was another one, and those whose copy is damaged; never
        one that another host has in a newer version.
        """
        listed = {one.name: one for one in list_files(connection, ARCHIVE)}
        shared = []
        for path in sorted(self.folder.rglob("*.parquet")):
            if self._is_to_be_shared(path, listed.get(self._name(path))):
                self.keep(connection, path)
                shared.append(path)
                log(f"{path}: shared")
        return shared

    def _is_to_be_shared(self, path: Path, listed: ListedFile | None) -> bool:
        if listed is None:
            return True
        if listed.kept_in is KeptIn.HOST:
            return _is_ours(path, listed)
        if not _is_version(path, listed):
            return False
        try:
            return self._digest(copy_name(listed.name, listed.sha256)) != listed.sha256
        except SharedFilesError:
            return True  # without the copy, or the place: storing it says which

    def _is_here(self, listed: ListedFile) -> bool:
        """Whether the file is here now; one of another host that is in no shared place is not."""
        if listed.kept_in is KeptIn.SHARED:
            self._fetch_unless_current(listed)
            return True
        return listed.host == gethostname() or (self.home / listed.name).exists()

    def _fetch_unless_current(self, listed: ListedFile) -> None:
        path = self.home / listed.name
        if _is_version(path, listed):
            return
        if self.place is None:
            raise SharedFilesError(
                f"{listed.name} is in the shared place of {listed.host}: set shared_files.url to the same place here"
            )
        copy = copy_name(listed.name, listed.sha256)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as partial:
                with partial.open("w+b") as file:
                    self.place.copy_to(copy, file)
                    file.seek(0)
                    digest = file_digest(file, "sha256").hexdigest()
                if digest != listed.sha256:
                    raise SharedFilesError(
                        f"{self.place.location(copy)} is damaged: its SHA-256 is {digest}, that of the archive "
                        f"{listed.sha256}"
                    )
        except OSError as error:
            raise SharedFilesError(
                f"{path} cannot be written, so {listed.name} is not read: {error.strerror}"
            ) from error
        _set_time(path, listed.written_at)

    def _digest(self, name: str) -> str:
        assert self.place is not None
        with TemporaryFile() as file:
            self.place.copy_to(name, file)
            file.seek(0)
            return file_digest(file, "sha256").hexdigest()

    def _name(self, path: Path) -> str:
        return path.relative_to(self.home).as_posix()


def copy_name(name: str, sha256: str) -> str:
    """Name of a version of a file in the shared place.

    >>> copy_name("archive/BTC/btc_1m_2019-01.parquet", "0123456789abcdef" * 4)
    'archive/BTC/btc_1m_2019-01.0123456789abcdef.parquet'
    """
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{sha256[:16]}{path.suffix}"))


def _is_ours(path: Path, listed: ListedFile) -> bool:
    """Whether this host wrote a file that is in no shared place, perhaps under another name, as containers have."""
    return listed.host == gethostname() or (path.exists() and file_sha256(path) == listed.sha256)


def _is_version(path: Path, listed: ListedFile) -> bool:
    """Whether a file is the listed version: it has its size, and its time, which is that of the list."""
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (listed.size_bytes, _nanoseconds(listed.written_at))


def _set_time(path: Path, written_at: datetime) -> None:
    os.utime(path, ns=(_nanoseconds(written_at), _nanoseconds(written_at)))


def _nanoseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1) * 1_000
