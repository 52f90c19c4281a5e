"""A whole system for each test module: embedded server, schema, Dagster instance, some bars and a first build.

It is built once per test run, by the first process that needs it, and copied for each module.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock
from run_folder import run_folder
from server_folders import server_folder
from system import System

from pipelines.deployment import dagster_environment
from pipelines.service.instance import prepared_instance
from pipelines.settings import load_settings


@pytest.fixture(scope="session")
def built_home() -> Path:
    """A home folder with 20 days of synthetic BTC bars, built and published through Dagster; its server is stopped."""
    home = run_folder() / "built"
    with FileLock(run_folder() / "built.lock"):
        if not home.exists():
            partial = run_folder() / "building"
            with running(partial) as system:
                for command in (["sample", "BTC", "--days", "20", "--seed", "3"], ["build", "BTC"]):
                    completed = system.run(*command)
                    assert completed.returncode == 0, completed.stderr
            partial.rename(home)
    return home


@pytest.fixture(scope="module")
def system(built_home: Path) -> Iterator[System]:
    """A copy of the built system, with its server running."""
    with server_folder() as folder:
        home = folder / "home"
        # cp -a keeps owners: as root, the server's files belong to another user.
        subprocess.run(["cp", "-a", built_home, home], check=True)
        with running(home) as it:
            yield it


@contextmanager
def running(home: Path) -> Iterator[System]:
    """A prepared system in a home folder; the environment is restored."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("STRIKECAST_", "DAGSTER_"))]:
            patch.delenv(name)
        patch.setenv("STRIKECAST_HOME", str(home))
        settings = load_settings()
        with prepared_instance(settings) as database:
            variables = {**os.environ, "STRIKECAST_HOME": str(home), "COLUMNS": "120", "NO_COLOR": "1"}
            for name in dagster_environment(settings, database):
                patch.delenv(name, raising=False)
            yield System(home, settings, database, variables)


@pytest.fixture
def in_system(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """The system, with its variables in this process's environment."""
    monkeypatch.setenv("STRIKECAST_HOME", str(system.home))
    for name, value in dagster_environment(system.settings, system.database).items():
        monkeypatch.setenv(name, value)
    return system


@pytest.fixture
def instance(in_system: System) -> Iterator[dg.DagsterInstance]:
    """The system's Dagster instance: PostgreSQL storage, as in production."""
    with dg.DagsterInstance.get() as found:
        yield found
