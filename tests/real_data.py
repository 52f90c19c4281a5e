"""The setting STRIKECAST_REAL_DATA: a folder of real data, on which tests then run besides generated bars.

Without the setting, tests marked `real_data` are left out, and the summary says how many. With it the folder is
required: prices/{btc,eth}_1m.parquet, and reference/ with the tables that the original exported.
"""

import os
from pathlib import Path

import pytest

VARIABLE = "STRIKECAST_REAL_DATA"
ROOT = Path(__file__).parents[1]
#: Read at import, because tests do not see the settings of the caller. A relative path starts at the repository's root.
FOLDER = ROOT / os.environ[VARIABLE] if os.environ.get(VARIABLE) else None
#: Parameters of a fixture that provides data: generated ones always, real ones with the setting.
SOURCES = ("generated", pytest.param("real", marks=pytest.mark.real_data))
_LEFT_OUT = pytest.StashKey[int]()
_OUTPUT = "real_data_left_out"


def real_data(path: str) -> Path:
    """A file or folder of the real data; only for tests marked `real_data`."""
    assert FOLDER is not None, f"a test that needs real data is to be marked real_data: {path}"
    return FOLDER / path


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a folder that is not what the setting promises, before anything runs."""
    config.stash[_LEFT_OUT] = 0
    if FOLDER is None:
        return
    missing = [
        *([] if (FOLDER / "prices" / "btc_1m.parquet").is_file() else ["prices/btc_1m.parquet"]),
        *([] if (FOLDER / "reference").is_dir() else ["reference/"]),
    ]
    if missing:
        raise pytest.UsageError(f"{VARIABLE}={os.environ[VARIABLE]}: {FOLDER} has no {' and no '.join(missing)}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the setting, deselect what needs it; last, so that -k and -m have chosen before."""
    if FOLDER is not None:
        return
    left_out = [item for item in items if item.get_closest_marker("real_data")]
    if left_out:
        config.stash[_LEFT_OUT] = len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("real_data")]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends its count to the controller, which collects nothing itself."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = session.config.stash[_LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Every worker collects the same tests: the largest count is the count. A worker that crashed sends none."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    sent = getattr(node, "workeroutput", {}).get(_OUTPUT, 0)
    config.stash[_LEFT_OUT] = max(config.stash[_LEFT_OUT], sent)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line for what was left out."""
    count = config.stash[_LEFT_OUT]
    if count:
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(
            f"real data: {tests} left out (set {VARIABLE} to a folder with prices/ and reference/)"
        )
