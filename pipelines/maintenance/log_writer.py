"""The process that writes the output of Dagster's processes to `logs/`.

`python -m pipelines.maintenance.log_writer FOLDER NAME=FD ...` reads each output from a pipe. It ignores SIGINT and
SIGTERM and exits when all pipes are closed, so that no process ever writes to a closed pipe. It reopens a file that was
renamed, which log rotation does, and this process itself for a large file. Lines that cannot be written, as on a full
disk, are dropped and counted.
"""

import logging
import os
import selectors
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

MAX_BYTES = 20 * 2**20
READ_BYTES = 65_536


class Output(WatchedFileHandler):
    """Writes the output of one process to its file, line by line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="replace", delay=True)
        self.path = path
        self.incomplete = b""
        self.dropped = 0

    def write_block(self, block: bytes) -> None:
        """Write the complete lines of a block; an empty block is the end of the output."""
        *lines, self.incomplete = (self.incomplete + block).split(b"\n")
        if not block and self.incomplete:
            lines, self.incomplete = [self.incomplete], b""
        if self.dropped and lines:
            dropped, self.dropped = self.dropped, 0
            self._write(f"({dropped} lines could not be written)", lines=dropped)
        for line in lines:
            self._write(line.decode(errors="replace"), lines=1)
        with suppress(OSError):
            if self.path.stat().st_size > MAX_BYTES:
                rename_rotated(self.path, datetime.now(UTC))

    def _write(self, text: str, *, lines: int) -> None:
        self.handle(logging.makeLogRecord({"msg": "%s", "args": (text,), "lines": lines}))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; an error of reopening the file is handled like one of writing."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Count the lines as dropped, and reopen the file for the next record."""
        self.dropped += record.__dict__["lines"]
        broken, self.stream = self.stream, None  # its buffer must not be written later, out of order
        with suppress(OSError):
            if broken is not None:
                broken.close()


def rename_rotated(path: Path, now: datetime) -> Path:
    """Rename a log file to a unique name with the time (UTC), such as daemon-20261121T020000Z.log."""
    stem = f"{path.stem}-{now:%Y%m%dT%H%M%S}Z"
    target = path.with_name(f"{stem}{path.suffix}")
    number = 1
    while target.exists() or target.with_name(f"{target.name}.gz").exists():
        number += 1
        target = path.with_name(f"{stem}-{number}{path.suffix}")
    path.rename(target)
    return target


def main(arguments: list[str]) -> None:
    """Write until every pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(arguments[0])
    with selectors.DefaultSelector() as selector:
        for pair in arguments[1:]:
            name, descriptor = pair.split("=")
            selector.register(int(descriptor), selectors.EVENT_READ, Output(folder / f"{name}.log"))
        while selector.get_map():
            for key, _ in selector.select():
                block = os.read(key.fd, READ_BYTES)
                key.data.write_block(block)
                if not block:
                    selector.unregister(key.fd)
                    key.data.close()


if __name__ == "__main__":
    main(sys.argv[1:])
