"""Folders for the embedded servers of single tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def server_folder() -> Iterator[Path]:
    """A temporary folder outside pytest's own, whose permissions every starting pytest tightens.

    As root, the server runs as another user, which needs access at any time.
    """
    with TemporaryDirectory(prefix="strikecast-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
