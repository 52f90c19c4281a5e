"""Where the embedded servers of tests live that need one of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that is not below pytest's, whose permissions any other pytest that starts meanwhile tightens.

    Root's server runs as another user, which must get there at any moment.
    """
    with TemporaryDirectory(prefix="strikecast-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
