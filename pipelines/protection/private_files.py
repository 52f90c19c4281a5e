"""Modes of files: the home folder is private, except the probability files, which other programs read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import StateError

#: Others may pass through the home folder to the probability files, and list nothing in it.
PASSABLE = 0o711
#: Probability files and their folder.
READABLE_FILE, READABLE_FOLDER = 0o644, 0o755
_callers_umask: int | None = None


def restrict_umask() -> None:
    """Let this process and its children create files for their own user alone."""
    global _callers_umask  # noqa: PLW0603 (a umask belongs to the process)
    previous = os.umask(0o077)
    if _callers_umask is None:
        _callers_umask = previous


def make_private(home: Path) -> None:
    """Restrict the umask, and create the home folder and its parents.

    Without effect where the folder cannot be created: the command that needs it reports that.
    """
    restrict_umask()
    with suppress(OSError):
        for folder in [*reversed(home.parents), home]:
            if not folder.exists():
                folder.mkdir()
                folder.chmod(PASSABLE)


@contextmanager
def callers_modes() -> Iterator[None]:
    """Within the context, create files with the modes that the caller's umask gives: exports to a folder of theirs."""
    previous = os.umask(0o077 if _callers_umask is None else _callers_umask)
    try:
        yield
    finally:
        os.umask(previous)


def tighten(home: Path, readable: Path) -> list[str]:
    """Take the rights of others to the home folder and what is in it, except to the folder `readable`.

    Only of what belongs to this user. Returns what was changed, such as `logs: 755 -> 700`.
    """
    changed = []
    for path in [home, *sorted(home.iterdir())]:
        status = path.lstat()
        if path == readable or status.st_uid != os.geteuid() or stat.S_ISLNK(status.st_mode):
            continue
        allowed = PASSABLE if path == home else 0o700
        mode = stat.S_IMODE(status.st_mode)
        if mode & ~allowed & 0o777:
            path.chmod(mode & allowed)
            changed.append(f"{path.name}: {mode:o} -> {mode & allowed:o}")
    return changed


def open_private(path: Path) -> int:
    """Open a lock file or a token for reading and writing, which only its owner may open; creates it. Not inherited.

    Raises StateError for a link, and for a file of another user: who owns it can lock it at any time.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateError(f"{path} cannot be opened: {error.strerror}") from error
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid():
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    elif os.geteuid() != 0:
        os.close(descriptor)
        raise StateError(f"{path} belongs to another user (uid {status.st_uid}): remove it, or use another folder")
    return descriptor
