"""Files that are there as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` in one step; after an error `path` is as it was.

    `durable`: once this is left, it outlives a loss of power, and so do its folder and the one above.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        if durable:
            fsync(partial)
        partial.replace(path)
        if durable:
            fsync(path.parent)
            fsync(path.parent.parent)
    finally:
        partial.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Let a file, or the names in a folder, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
