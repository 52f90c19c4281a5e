"""Folders for the embedded servers of single tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.storage.postgres.embedded import temporary_server_folder


@contextmanager
def server_folder() -> Iterator[Path]:
    """A temporary folder outside pytest's own, whose permissions every starting pytest tightens.

    As root, the server runs as another user, which needs access at any time.
    """
    with temporary_server_folder("strikecast-test-") as folder:
        yield folder
