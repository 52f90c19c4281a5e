"""A whole system, as its user has it: a home folder and the command line."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines.settings import Settings
from pipelines.storage.database import Database


@dataclass(frozen=True)
class System:
    """A prepared system; `run` calls the command line as a user would."""

    home: Path
    settings: Settings
    database: Database
    variables: dict[str, str]

    def run(self, *arguments: str, timeout: float = 900.0) -> subprocess.CompletedProcess[str]:
        """Run `strikecast ARGUMENTS` in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env=self.variables, cwd=self.home, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
