"""Fixtures of all tests, which run without the caller's settings."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import exported_tables
import pytest
import real_data
from exchange_server import Exchange, running_exchange

from pipelines.protection import redaction

pytest_plugins = [
    "run_folder",
    "priorities",
    "programs",
    "browsers",
    "opened_pages",
    "s3_server",
    "shared_places",
    "tiers",
]

TEST_DATABASE_VARIABLE = "STRIKECAST_TEST_DATABASE_URL"


@pytest.fixture(autouse=True)
def _without_callers_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("STRIKECAST_", "DAGSTER_"))]:
        if name != TEST_DATABASE_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path / "home"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Set a caller's usual umask before the fixtures of every scope: commands that ran in this process made it 077."""
    os.umask(0o022)


@pytest.fixture(autouse=True)
def _unignored_signals() -> None:
    """Restore ignored signals: child processes inherit them, as from a shell that runs pytest in the background."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _concealed_by_this_test_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget secrets of a test's settings: those of a property test may occur in any text, such as seven zeros."""
    monkeypatch.setattr(redaction, "_concealed", dict(redaction._concealed))


@pytest.fixture(scope="module", params=real_data.SOURCES)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four tables in the original's export format: generated ones, and the original's own."""
    if request.param == "real":
        return real_data.real_data("reference")
    return exported_tables.write_tables(tmp_path_factory.mktemp("reference"))


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """A local exchange with the APIs of the real ones."""
    with running_exchange() as found:
        yield found
