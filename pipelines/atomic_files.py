"""Replace files atomically, notice when one was replaced, and read files of which anything may have become."""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

Value = TypeVar("Value")
#: Of a JSON file of ours.
MOST_JSON_BYTES = 16 << 20


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` on exit, and is removed after an error.

    `durable`: on exit, the file and its entry in the folder have been written to disk.
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
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def file_signature(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written: inode, time of the write and size; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Content of a regular file; a named pipe or a device, which may never end, is not read.

    Raises OSError when it cannot be read, and ValueError for another kind of file or more than `most_bytes`.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return content


def read_json(path: Path, kind: TypeAdapter[Value]) -> Value:
    """The value in a JSON file of ours, with aware times and integers of 64 bits.

    Raises OSError when it cannot be read, and ValueError when it holds anything else.
    """
    value = kind.validate_json(read_bounded(path, MOST_JSON_BYTES))
    for leaf in _leaves(kind.dump_python(value)):
        if isinstance(leaf, datetime) and leaf.tzinfo is None:
            raise ValueError(f"the time {leaf} has no offset from UTC")
        if isinstance(leaf, int) and abs(leaf) >= 1 << 63:
            raise ValueError("an integer has more than 64 bits")
    return value


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def fsync(path: Path) -> None:
    """Write a file's content, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


#: A file of `replace_or_overwrite` takes whole blocks of this size, so that it can grow on a full disk.
RESERVED_BYTES = 65_536


def replace_or_overwrite(path: Path, content: bytes) -> None:
    """Replace a text file atomically, or overwrite it where it is when the disk is full.

    The content is padded with spaces to whole blocks of RESERVED_BYTES. Overwriting needs no space, except on file
    systems that copy on write, and is not atomic: a reader may see parts of both. Raises OSError when the file cannot
    be written either way.
    """
    padded = content.ljust(-(-len(content) // RESERVED_BYTES) * RESERVED_BYTES)
    try:
        with atomic_write(path) as partial:
            partial.write_bytes(padded)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT} or not path.exists() or len(padded) > path.stat().st_size:
            raise
        with path.open("r+b", buffering=0) as file:
            file.write(padded)
