"""Shared by all tests: none sees the settings of whoever runs them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import exported_tables
import pytest
import real_data
from exchange_server import Exchange, running_exchange

pytest_plugins = ["programs", "run_folder", "tiers"]

TEST_DATABASE_VARIABLE = "STRIKECAST_TEST_DATABASE_URL"


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("STRIKECAST_", "DAGSTER_"))]:
        if name != TEST_DATABASE_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A test that leaves a signal ignored would hand that on to every program that a later test starts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="module", params=real_data.SOURCES)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four tables in the shape that the original exported: of our own making, and the original's own."""
    if request.param == "real":
        return real_data.real_data("reference")
    return exported_tables.write_tables(tmp_path_factory.mktemp("reference"))


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """A local exchange that speaks as the real ones do."""
    with running_exchange() as found:
        yield found
