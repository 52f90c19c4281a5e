"""The process that writes the output of Dagster's processes to `logs/`.

`python -m pipelines.maintenance.log_writer FOLDER SOCKET NAME=FD ...` reads each output from a pipe. It ignores SIGINT
and SIGTERM and exits when all pipes are closed, so that no process ever writes to a closed pipe. It returns what it
receives on the socket, which shows that it is alive. It reopens a file that was renamed, which log rotation does, and
this process itself for a large file. `LogEntries` condenses what repeats. Lines that cannot be written, as on a full
disk, are dropped and counted.
"""

import logging
import os
import selectors
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from socket import socket

from pipelines.maintenance.log_entries import LogEntries
from pipelines.protection.redaction import redact

MAX_BYTES = 20 * 2**20
READ_BYTES = 65_536
#: How often to look for entries that are complete and failures that are over, while there are any.
PAUSE_SECONDS = 1.0


class Output(WatchedFileHandler):
    """Writes the output of one process to its file, line by line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="replace", delay=True)
        self.path = path
        self.incomplete = b""
        self.dropped = 0
        self.entries = LogEntries()

    def write_block(self, block: bytes) -> None:
        """Write the complete entries of a block; an empty block is the end of the output."""
        *lines, self.incomplete = (self.incomplete + block).split(b"\n")
        if not block and self.incomplete:
            lines, self.incomplete = [self.incomplete], b""
        now = time.monotonic()
        texts = [text for line in lines for text in self.entries.take(line.decode(errors="replace"), now)]
        self._write_lines(texts if block else [*texts, *self.entries.end(now)])

    def pause(self) -> None:
        """Write what waited for further lines."""
        self._write_lines(self.entries.pause(time.monotonic()))

    def _write_lines(self, texts: list[str]) -> None:
        if self.dropped and texts:
            dropped, self.dropped = self.dropped, 0
            self._write(f"({dropped} lines could not be written)", lines=dropped)
        for text in texts:
            self._write(redact(text), lines=1)
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
    folder, descriptor = Path(arguments[0]), int(arguments[1])
    with selectors.DefaultSelector() as selector, socket(fileno=descriptor) as supervisor:
        selector.register(supervisor, selectors.EVENT_READ)
        outputs: list[Output] = []
        pipes = 0
        for pair in arguments[2:]:
            name, pipe = pair.split("=")
            outputs.append(Output(folder / f"{name}.log"))
            selector.register(int(pipe), selectors.EVENT_READ, outputs[-1])
            pipes += 1
        while pipes:
            is_waiting = any(output.entries.is_waiting for output in outputs)
            for key, _ in selector.select(PAUSE_SECONDS if is_waiting else None):
                block = os.read(key.fd, READ_BYTES)
                if key.data is not None:
                    key.data.write_block(block)
                elif block:
                    with suppress(OSError):  # the supervisor may have ended
                        supervisor.send(block)
                if not block:
                    selector.unregister(key.fileobj)
                    if key.data is not None:
                        key.data.close()
                        pipes -= 1
            for output in outputs:
                output.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
