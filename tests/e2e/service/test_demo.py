"""`make demo`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from server_folders import server_folder

from pipelines.live.probability_writer import probabilities_path, strike_table_path


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Replaces pytest's folder, which the server's user cannot enter."""
    with server_folder() as folder:
        yield folder


@pytest.mark.soak
def test_demo_once_writes_fresh_files_and_leaves_no_process(tmp_path: Path) -> None:
    environment = {**os.environ, "STRIKECAST_HOME": str(tmp_path / "home"), "COLUMNS": "100"}
    completed = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "demo", "--once", "--port", "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    for symbol in ("BTC", "ETH"):
        payload = json.loads(probabilities_path(tmp_path / "home" / "output", symbol).read_bytes())
        assert payload["status"] == "stale", "the live session has ended"
        assert any("the live session ended" in problem for problem in payload["reasons"])
        assert len(payload["probabilities"]) == 21
        assert re.search(rf"{symbol} [\d,.]+, \d+ s to close", completed.stdout)
        table = json.loads(strike_table_path(tmp_path / "home" / "output", symbol).read_bytes())
        assert (table["series_ticker"], table["broker"], table["simulated"]) == (f"KX{symbol}D", "simulated", True)
        assert table["market_status"].startswith("unavailable: the live session ended")
        assert any(row["ticker"] for row in table["strikes"])
        printed = rf"{symbol} KX{symbol}D +[\d,.]+ +closes in [\d:]+ +open +SIMULATED, no real quotes"
        assert re.search(printed, completed.stdout), "while its market was open"
    printed = " ".join(completed.stdout.split())
    for fact in ("status replay ", "prices replayed prices of ", "settlement mean of 60 s"):
        assert printed.count(fact) == 2, "during the refresh"
    assert re.search(r"paper desk, SIMULATED, no real quotes: \d+ trades?, ", printed)
    assert "markets not entered, most often: " in printed
    assert "Dagster UI: http://127.0.0.1:" in completed.stdout
    assert "simulated exchange: http://127.0.0.1:" in completed.stdout
    ours = str(tmp_path / "home")
    left = [p for p in psutil.process_iter(["cmdline"]) if any(ours in part for part in p.info["cmdline"] or [])]
    assert left == []


def test_a_folder_without_price_files_is_reported_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "doge.csv").write_text("time,open,high,low,close,volume\n")
    completed = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "demo", "--once", "--prices", str(tmp_path / "prices")],
        env={**os.environ, "STRIKECAST_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 1
    assert "has no files named after BTC, ETH, like btc_1m.parquet" in completed.stderr.replace("\n", " ")
    assert "Traceback" not in completed.stderr


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_of_the_readme_exist(target: str) -> None:
    root = Path(__file__).parents[3]
    assert f"make {target}" in (root / "README.md").read_text()
    completed = subprocess.run(["make", "--dry-run", target], cwd=root, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
