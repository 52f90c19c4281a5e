"""The process that writes what Dagster's processes print into `logs/`.

`python -m pipelines.maintenance.log_writer FOLDER NAME=FD ...`: each is read from a pipe. It outlives whoever started
it, until the last of them has ended, so that none of them ever writes into a closed pipe. A file that is renamed, by
the job that rotates logs or by this process when it is large, is opened anew; what cannot be written, on a full disk,
is dropped, and its lines are counted.
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

MOST_BYTES = 20 * 2**20
READ_BYTES = 65_536


class Output(WatchedFileHandler):
    """The file of one process, a line at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="replace", delay=True)
        self.path = path
        self.rest = b""
        self.dropped = 0

    def take(self, block: bytes) -> None:
        """Write the whole lines of what was read; an empty block is the end."""
        *lines, self.rest = (self.rest + block).split(b"\n")
        if not block and self.rest:
            lines, self.rest = [self.rest], b""
        if self.dropped and lines:
            lost, self.dropped = self.dropped, 0
            self._write(f"({lost} lines could not be written)", counts=lost)
        for line in lines:
            self._write(line.decode(errors="replace"), counts=1)
        with suppress(OSError):
            if self.path.stat().st_size > MOST_BYTES:
                rename_rotated(self.path, datetime.now(UTC))

    def _write(self, line: str, *, counts: int) -> None:
        self.handle(logging.makeLogRecord({"msg": "%s", "args": (line,), "counts": counts}))

    def emit(self, record: logging.LogRecord) -> None:
        """As the handler does; but opening the file anew may fail, too."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """A line that cannot be written is dropped; nobody waits for a full disk."""
        self.dropped += record.__dict__["counts"]
        broken, self.stream = self.stream, None  # or what it still holds would be written later, out of turn
        with suppress(OSError):
            if broken is not None:
                broken.close()


def rename_rotated(path: Path, now: datetime) -> Path:
    """Give a log the name of a rotated one, which no other has; whoever writes to it opens a new one."""
    target = path.with_name(f"{path.stem}-{now:%Y%m%dT%H%M%S}Z{path.suffix}")
    number = 1
    while target.exists() or target.with_name(f"{target.name}.gz").exists():
        number += 1
        target = path.with_name(f"{path.stem}-{now:%Y%m%dT%H%M%S}Z-{number}{path.suffix}")
    path.rename(target)
    return target


def main(arguments: list[str]) -> None:
    """Write until every pipe has ended."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    folder = Path(arguments[0])
    with selectors.DefaultSelector() as selector:
        for pair in arguments[1:]:
            name, descriptor = pair.split("=")
            selector.register(int(descriptor), selectors.EVENT_READ, Output(folder / f"{name}.log"))
        while selector.get_map():
            for key, _ in selector.select():
                block = os.read(key.fd, READ_BYTES)
                key.data.take(block)
                if not block:
                    selector.unregister(key.fd)
                    key.data.close()


if __name__ == "__main__":
    main(sys.argv[1:])
