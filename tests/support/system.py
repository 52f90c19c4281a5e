"""A whole system: a home folder and the command line."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.cli import console
from pipelines.cli import main as cli
from pipelines.service.log_setup import JsonHandler, command_log
from pipelines.settings import Settings
from pipelines.storage.postgres.connection import Database


@dataclass(frozen=True)
class System:
    """A prepared system, and the environment variables of its commands."""

    home: Path
    settings: Settings
    database: Database
    variables: dict[str, str]

    def run(self, *arguments: str, timeout: float = 900.0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `strikecast ARGUMENTS` in a child process, with additional environment variables."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env={**self.variables, **variables},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def invoke(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """As `run`, but in this process, which saves the seconds of CPU time that a start takes."""
        out, err = StringIO(), StringIO()
        code: object = 0
        with (
            restored_process_state(),
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            os.environ.clear()
            os.environ.update(self.variables, **variables)
            patch.setattr(sys, "argv", ["strikecast", *arguments])
            patch.setattr(cli, "lower_priority", lambda: None)
            for terminal in (console.result, console.progress):
                patch.setattr(terminal, "width", int(os.environ["COLUMNS"]))
            patch.chdir(self.home)
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextmanager
def running_up(system: System, log: Path, **variables: str) -> Iterator[dict[str, Any]]:
    """`strikecast up` on free ports, which ends in order; yields the content of its `up.json`."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"],
            env={**system.variables, **variables},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: "Dagster UI: http://" in log.read_text() or process.poll() is not None, "the UI")
        assert process.poll() is None, log.read_text()
        yield orjson.loads((system.home / "up.json").read_bytes())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_SECONDS) == 0


@contextmanager
def restored_process_state() -> Iterator[None]:
    """Restore what a command changes in its process: environment, signal handlers, the command log."""
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for handler in command_log.handlers[:]:
            if isinstance(handler, JsonHandler):
                command_log.removeHandler(handler)
                handler.close()
