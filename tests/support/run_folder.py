"""A folder that all processes of one test run share: made by the process that starts the run, removed by it."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

VARIABLE = "PYTEST_STRIKECAST_RUN_FOLDER"


def run_folder() -> Path:
    """The folder of the running test run.

    Not below pytest's own: pytest tightens its permissions, and root's embedded server runs as another user, which
    must get there.
    """
    return Path(os.environ[VARIABLE])


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder; processes of pytest-xdist inherit the variable that names it."""
    if not hasattr(config, "workerinput"):
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="strikecast-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(VARIABLE))
