"""Claims about the setting STRIKECAST_REAL_DATA, by a pytest of its own on three tests, two of which need real data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_data import VARIABLE

TESTS = """
import pytest
from real_data import SOURCES

@pytest.fixture(params=SOURCES)
def source(request):
    return request.param

def test_of_both(source): pass

@pytest.mark.real_data
def test_of_real_data(): pass
"""


def run(folder: Path, setting: str | None, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = real_data\n")
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    if setting is not None:
        variables[VARIABLE] = setting
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "real_data",
        *options,
        "test_it.py",
    ]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def with_data(folder: Path) -> Path:
    (folder / "prices").mkdir()
    (folder / "reference").mkdir()
    (folder / "prices" / "btc_1m.parquet").touch()
    return folder


@pytest.mark.parametrize(("setting", "options"), [(None, ()), ("", ()), (None, ("-n", "2"))])
def test_without_the_setting_what_needs_real_data_is_left_out_and_counted_once(
    tmp_path: Path, setting: str | None, options: tuple[str, ...]
) -> None:
    done = run(tmp_path, setting, *options)
    assert done.returncode == 0
    assert "1 passed" in done.stdout
    assert "skipped" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("real data:")]
    assert lines == [f"real data: 2 tests left out (set {VARIABLE} to a folder with prices/ and reference/)"]


def test_only_what_was_chosen_is_counted(tmp_path: Path) -> None:
    assert "real data: 1 test left out" in run(tmp_path, None, "-k", "test_of_both").stdout


def test_with_the_setting_everything_runs_and_nothing_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, str(with_data(tmp_path)))
    assert done.returncode == 0
    assert "3 passed" in done.stdout
    assert "real data:" not in done.stdout


@pytest.mark.parametrize("missing", ["prices/btc_1m.parquet", "reference/"])
def test_a_folder_that_lacks_what_is_promised_is_refused_before_anything_runs(tmp_path: Path, missing: str) -> None:
    gone = with_data(tmp_path) / missing
    gone.rename(gone.with_name("elsewhere"))
    done = run(tmp_path, str(tmp_path))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.strip().splitlines() == [f"ERROR: {VARIABLE}={tmp_path}: {tmp_path} has no {missing}"]
    assert "passed" not in done.stdout
