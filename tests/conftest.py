"""Shared by all tiers: no test sees the settings of whoever runs it; slow tiers run after fast ones."""

import os
from collections.abc import Iterator
from pathlib import Path

import exported_tables
import pytest
import real_data
from exchange_server import Exchange, running_exchange

TIERS = ("unit", "postgres", "dagster")
#: The longest first, so that no worker is left alone with one of them at the end.
LONGEST = (
    "test_cli.py",
    "test_maintenance.py",
    "test_supervision.py",
    "test_chain.py",
    "test_runbook.py",
    "test_demo.py",
)
TEST_DATABASE_VARIABLE = "STRIKECAST_TEST_DATABASE_URL"


def pytest_configure(config: pytest.Config) -> None:
    """Hooks that leave out what needs real data live in a module of their own."""
    config.pluginmanager.register(real_data, "real_data")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Unit tests first: what fails in milliseconds is told first. `one_server`: slow, and no matter of the server."""
    twice = [item for item in items if item.get_closest_marker("one_server") and _server_of(item) == "real"]
    if twice:
        config.hook.pytest_deselected(items=twice)
        items[:] = [item for item in items if item not in twice]
    items.sort(key=lambda item: (TIERS.index(item.path.relative_to(Path(__file__).parent).parts[0]), _place(item)))


def _place(item: pytest.Item) -> int:
    return LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)


def _server_of(item: pytest.Item) -> object:
    return (
        item.callspec.params.get("server") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("STRIKECAST_", "DAGSTER_"))]:
        if name != TEST_DATABASE_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path / "home"))


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
