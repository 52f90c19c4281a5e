"""Select the tests of the enabled tiers, and order their files.

Two tiers must be enabled: `real_data` runs on the data in STRIKECAST_REAL_DATA, in addition to synthetic bars, and
`soak` (SOAK=1) runs the whole system for minutes. The summary reports how many tests of each were left out.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import real_data

#: The longest files come first, so that none runs alone at the end, alternating between files that mostly wait and files
#: that compute; then the other files, by folder.
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
    """Tests with the marker `name`; left out unless the tier is `enabled`."""

    name: str
    enabled: bool
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
    """Reject an incomplete folder of real data before any test runs."""
    config.stash[_LEFT_OUT] = Counter()
    if problem := real_data.problem():
        raise pytest.UsageError(problem)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests after -k and -m have selected, and sort them by file."""
    for tier in TIERS:
        if not tier.enabled:
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
    """Send the counts of a pytest-xdist worker to the controller, which collects no tests itself."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = dict(session.config.stash[_LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take the largest count: every worker collects the same tests, and a crashed worker sends none."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    config.stash[_LEFT_OUT] |= Counter(getattr(node, "workeroutput", {}).get(_OUTPUT, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line for each tier with tests left out."""
    for tier in TIERS:
        if count := config.stash[_LEFT_OUT][tier.name]:
            tests = "1 test" if count == 1 else f"{count} tests"
            terminalreporter.write_line(f"{tier.name}: {tests} left out ({tier.remedy})")
