"""Tiers and programs, tested by running pytest on a few tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_data import VARIABLE

pytestmark = pytest.mark.slow

TESTS = """
import pytest
from real_data import SOURCES

@pytest.fixture(params=SOURCES)
def source(request):
    return request.param

def test_of_both(source): pass

@pytest.mark.real_data
def test_of_real_data(): pass

@pytest.mark.soak
def test_of_minutes(): pass

@pytest.mark.needs("age", "gpg")
@pytest.mark.parametrize("tool", [1, 2])
def test_of_programs(tool): pass
"""


def run(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    real_data\n    soak\n")
    nothing = folder / "nothing"
    nothing.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name not in {"SOAK", "REQUIRE_PROGRAMS"}}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "tiers",
            "-p",
            "programs",
            *options,
            "test_it.py",
        ],
        cwd=folder,
        env={
            **inherited,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(Path(__file__).parents[2] / "support"),
            "PATH": str(nothing),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def with_data(folder: Path) -> Path:
    (folder / "prices").mkdir()
    (folder / "reference").mkdir()
    (folder / "prices" / "btc_1m.parquet").touch()
    return folder


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")])
def test_without_settings_further_tiers_are_left_out_and_missing_programs_skip(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    completed = run(tmp_path, *options, STRIKECAST_REAL_DATA="")
    assert completed.returncode == 0, completed.stdout
    assert "1 passed, 2 skipped" in completed.stdout
    assert [line for line in completed.stdout.splitlines() if "left out" in line or "tests skipped" in line] == [
        "2 tests skipped: they need age (apt-get install age)",
        f"real_data: 2 tests left out (set {VARIABLE} to a folder with prices/ and reference/)",
        "soak: 1 test left out (set SOAK=1)",
    ]


def test_only_selected_tests_are_counted(tmp_path: Path) -> None:
    found = run(tmp_path, "-k", "test_of_both").stdout
    assert "real_data: 1 test left out" in found
    assert "soak" not in found


def test_with_all_settings_every_test_runs_and_none_is_reported(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("age", "gpg"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    completed = run(tmp_path, SOAK="1", STRIKECAST_REAL_DATA=str(with_data(tmp_path)), PATH=str(programs))
    assert completed.returncode == 0
    assert "6 passed" in completed.stdout
    assert "left out" not in completed.stdout


@pytest.mark.parametrize("missing", ["prices/btc_1m.parquet", "reference/"])
def test_an_incomplete_data_folder_is_refused_before_any_test(tmp_path: Path, missing: str) -> None:
    gone = with_data(tmp_path) / missing
    gone.rename(gone.with_name("elsewhere"))
    completed = run(tmp_path, STRIKECAST_REAL_DATA=str(tmp_path))
    assert completed.returncode == pytest.ExitCode.USAGE_ERROR
    assert completed.stderr.strip().splitlines() == [f"ERROR: {VARIABLE}={tmp_path}: {tmp_path} has no {missing}"]
    assert "passed" not in completed.stdout


def test_a_missing_required_program_is_refused_before_any_test(tmp_path: Path) -> None:
    completed = run(tmp_path, REQUIRE_PROGRAMS="1")
    assert completed.returncode == pytest.ExitCode.USAGE_ERROR
    assert "a test needs age (apt-get install age); " in completed.stderr
    assert "passed" not in completed.stdout
