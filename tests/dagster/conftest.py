"""A whole system of its own: embedded server, schema, Dagster instance, some bars and a first build."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
from system import System

from pipelines.runtime import environment, prepared
from pipelines.settings import load_settings


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """A system with 20 days of generated BTC bars, built and published through Dagster."""
    with TemporaryDirectory(prefix="strikecast-test-") as folder, pytest.MonkeyPatch.context() as patch:
        home = Path(folder)
        for name in [name for name in os.environ if name.startswith(("STRIKECAST_", "DAGSTER_"))]:
            patch.delenv(name)
        patch.setenv("STRIKECAST_HOME", str(home))
        settings = load_settings()
        with prepared(settings) as database:
            variables = {**os.environ, "STRIKECAST_HOME": str(home), "COLUMNS": "120", "NO_COLOR": "1"}
            it = System(home, settings, database, variables)
            for command in (["sample", "BTC", "--days", "20", "--seed", "3"], ["build", "BTC"]):
                done = it.run(*command)
                assert done.returncode == 0, done.stderr
            for name in environment(settings, database):
                patch.delenv(name, raising=False)
            yield it


@pytest.fixture
def in_system(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """The system, with this process's environment set to it."""
    monkeypatch.setenv("STRIKECAST_HOME", str(system.home))
    for name, value in environment(system.settings, system.database).items():
        monkeypatch.setenv(name, value)
    return system


@pytest.fixture
def instance(in_system: System) -> Iterator[dg.DagsterInstance]:
    """The system's Dagster instance: PostgreSQL storage, as in production."""
    with dg.DagsterInstance.get() as found:
        yield found
