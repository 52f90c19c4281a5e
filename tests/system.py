"""A whole system, as its user has it: a home folder and the command line."""

import logging
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.logs import COMMANDS
from pipelines.settings import Settings
from pipelines.storage.database import Database


@dataclass(frozen=True)
class System:
    """A prepared system; `run` calls the command line as a user would."""

    home: Path
    settings: Settings
    database: Database
    variables: dict[str, str]

    def run(self, *arguments: str, timeout: float = 600.0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `strikecast ARGUMENTS` in a process of its own, with further environment variables."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env={**self.variables, **variables},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """As `run`, in this process, without the seconds that a start takes: for messages and exit codes."""
        out, err = StringIO(), StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        code: object = 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in os.environ.keys() - self.variables.keys():
                patch.delenv(name)
            for name, value in {**self.variables, **variables}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["strikecast", *arguments])
            patch.chdir(self.home)
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                for writer in COMMANDS.handlers[:]:  # they write below this system's home folder
                    COMMANDS.removeHandler(writer)
                    writer.close()
                COMMANDS.setLevel(logging.NOTSET)
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
