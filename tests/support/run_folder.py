"""A folder that all processes of a test run share; the first process creates and removes it."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

VARIABLE = "PYTEST_STRIKECAST_RUN_FOLDER"


def run_folder() -> Path:
    """The folder of the current test run.

    It is outside pytest's own folder, whose permissions pytest tightens: root's embedded server runs as another user,
    which needs access.
    """
    return Path(os.environ[VARIABLE])


def pytest_configure(config: pytest.Config) -> None:
    """Create the folder; processes of pytest-xdist inherit the variable that names it."""
    if not hasattr(config, "workerinput"):
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="strikecast-tests-")
        run_folder().chmod(0o711)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(VARIABLE))
