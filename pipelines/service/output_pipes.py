"""The pipes from the child processes of `strikecast up` to its log writer, which can be replaced."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from pipelines.service.health_checks import echoes
from pipelines.service.spawning import spawn


class OutputPipes:
    """One pipe for each name.

    This process keeps both ends open: without a log writer, the others wait instead of failing. A log writer ends when
    all writing ends are closed.
    """

    def __init__(self, names: Sequence[str], logs: Path, folder: Path) -> None:
        """`logs`: folder of the log files; `folder`: working directory of the log writer."""
        logs.mkdir(exist_ok=True)
        self._folder = folder
        self._logs = logs
        self._pipes = {name: os.pipe() for name in names}
        self._connection: socket.socket | None = None

    def writing_end(self, name: str) -> int:
        """The descriptor for a child's output."""
        return self._pipes[name][1]

    def start_writer(self) -> psutil.Popen:
        """Start a log writer; an earlier one must have ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            readers = {name: reading for name, (reading, _) in self._pipes.items()}
            arguments = [str(theirs.fileno()), *(f"{name}={reading}" for name, reading in readers.items())]
            process = spawn(
                self._folder,
                "pipelines.maintenance.log_writer",
                self._logs,
                *arguments,
                pass_fds=[theirs.fileno(), *readers.values()],
            )
        earlier, self._connection = self._connection, ours
        if earlier is not None:
            earlier.close()
        return process

    def writer_responds(self) -> bool:
        """Whether the log writer returns what is sent to it."""
        return self._connection is not None and echoes(self._connection)

    def close(self) -> None:
        """Close all ends, so that the log writer ends when the children have."""
        for pipe in self._pipes.values():
            for descriptor in pipe:
                with suppress(OSError):
                    os.close(descriptor)
        if self._connection is not None:
            self._connection.close()
