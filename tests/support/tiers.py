"""Which tests run, and in which order.

Two further tiers run by a setting only. `real_data`: on the data that STRIKECAST_REAL_DATA names, besides generated
bars. `soak`: minutes of the whole system rather than a claim of its own, by SOAK=1. The summary says how many tests
each left out.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import real_data

#: Files that take longest come first, so that no process is left alone with one at the end; those that mostly wait stand
#: beside those that compute. Then the other files, folder by folder.
LONGEST = (
    "e2e/cli/test_cli.py",
    "integration/monitoring/test_audit.py",
    "unit/live/test_exchange_feed.py",
    "e2e/service/test_supervision.py",
    "e2e/maintenance/test_maintenance.py",
    "integration/live/test_live_faults.py",
    "e2e/orchestration/test_chain.py",
    "integration/live/test_hand_over.py",
    "integration/maintenance/test_backup.py",
    "e2e/monitoring/test_audit_asset.py",
)
FOLDERS = ("e2e", "integration", "unit")
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Tier:
    """Tests with the marker `name`; left out unless they are `chosen`."""

    name: str
    chosen: bool
    remedy: str


TIERS = (
    Tier(
        "real_data", real_data.FOLDER is not None, f"set {real_data.VARIABLE} to a folder with prices/ and reference/"
    ),
    Tier("soak", os.environ.get("SOAK") == "1", "set SOAK=1"),
)
_LEFT_OUT = pytest.StashKey[Counter[str]]()
_OUTPUT = "left_out"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle-files", metavar="SEED", help="run the files in random order, not the longest first")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a folder of real data that is not one, before anything runs."""
    config.stash[_LEFT_OUT] = Counter()
    if problem := real_data.problem():
        raise pytest.UsageError(problem)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is not to run; last, so that -k and -m have chosen before. Then sort by files."""
    for tier in TIERS:
        if not tier.chosen:
            left_out = [item for item in items if item.get_closest_marker(tier.name)]
            config.stash[_LEFT_OUT][tier.name] = len(left_out)
            _deselect(config, items, left_out)
    _deselect(
        config, items, [item for item in items if item.get_closest_marker("embedded_only") and _is_on_real_server(item)]
    )
    seed: str | None = config.getoption("--shuffle-files")
    items.sort(key=_place if seed is None else lambda item: hashlib.sha256(f"{seed} {item.path}".encode()).digest())


def _deselect(config: pytest.Config, items: list[pytest.Item], left_out: list[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_on_real_server(item: pytest.Item) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return parameters.get("server") == "real"


def _place(item: pytest.Item) -> tuple[int, int]:
    name = item.path.relative_to(TESTS).as_posix() if item.path.is_relative_to(TESTS) else item.path.name
    folder = name.split("/", maxsplit=1)[0]
    return (
        LONGEST.index(name) if name in LONGEST else len(LONGEST),
        FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS),
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends its counts to the controller, which collects nothing itself."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = dict(session.config.stash[_LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Every worker collects the same tests: the largest count is the count. A worker that crashed sends none."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    config.stash[_LEFT_OUT] |= Counter(getattr(node, "workeroutput", {}).get(_OUTPUT, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line for each tier that was left out."""
    for tier in TIERS:
        if count := config.stash[_LEFT_OUT][tier.name]:
            tests = "1 test" if count == 1 else f"{count} tests"
            terminalreporter.write_line(f"{tier.name}: {tests} left out ({tier.remedy})")
