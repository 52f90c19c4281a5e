"""Shared by all tiers: no test sees the settings of whoever runs it; slow tiers run after fast ones."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
TIERS = ("unit", "postgres", "dagster")
TEST_DATABASE_VARIABLE = "STRIKECAST_TEST_DATABASE_URL"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first: what fails in milliseconds is told first."""
    items.sort(key=lambda item: TIERS.index(item.path.relative_to(Path(__file__).parent).parts[0]))


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("STRIKECAST_", "DAGSTER_"))]:
        if name != TEST_DATABASE_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project."""
    assert (SHARED / "data").is_dir(), f"real data is expected in {SHARED}/data"
    return SHARED
