"""What `strikecast query` writes: tables that are never cut, CSV, JSON and Parquet."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from system import System

STATEMENT = "SELECT symbol, opened_at, close, [1.5, NULL] AS list, 2.50::DECIMAL(5,2) AS money, repeat('x', 300) AS wide FROM price ORDER BY 2 LIMIT 2"


def test_a_table_is_complete_at_any_width(system: System) -> None:
    for columns in ("80", "200"):
        completed = system.invoke("query", STATEMENT, COLUMNS=columns)
        assert completed.returncode == 0, completed.stderr
        assert completed.stdout.count("x" * 300) == 2
        assert "…" not in completed.stdout


def test_csv_has_every_row(system: System) -> None:
    completed = system.invoke("query", "SELECT symbol, opened_at, close FROM price ORDER BY 2", "--format", "csv")
    rows = list(csv.reader(io.StringIO(completed.stdout)))
    assert rows[0] == ["symbol", "opened_at", "close"]
    assert len(rows) > 20_000
    assert rows[1][1].endswith("+00:00")


def test_json_has_numbers_for_decimals(system: System) -> None:
    completed = system.invoke("query", STATEMENT, "--format", "json")
    assert json.loads(completed.stdout)[0]["money"] == 2.5
    assert system.invoke("query", STATEMENT, "--json").stdout == completed.stdout


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "bars.json"])
def test_a_file_is_written_whole_with_the_callers_modes(system: System, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    kind = name.split(".")[1]
    completed = system.run("query", "SELECT * FROM price ORDER BY 2", "--output", str(target))
    assert completed.returncode == 0, completed.stderr
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if kind == "parquet":
        frame = pl.read_parquet(target)
        assert frame.schema["opened_at"] == pl.Datetime("us", "UTC")
        assert len(frame) > 20_000


def test_parquet_goes_through_a_pipe(system: System) -> None:
    command = ["query", "SELECT symbol, close FROM price LIMIT 5", "--format", "parquet"]
    program = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *command], env=system.variables, capture_output=True, check=True
    )
    assert len(pl.read_parquet(io.BytesIO(program.stdout))) == 5


def test_a_failed_query_leaves_the_file_as_it_was(system: System, tmp_path: Path) -> None:
    target = tmp_path / "bars.csv"
    target.write_text("before")
    completed = system.invoke("query", "SELECT error('no') FROM price", "--format", "csv", "-o", str(target))
    assert completed.returncode == 1
    assert "the query failed" in completed.stderr
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["bars.csv"]


def test_a_file_needs_an_ending_or_a_format_and_is_no_table(system: System, tmp_path: Path) -> None:
    for options in (["--output", str(tmp_path / "bars.txt")], ["--format", "table", "-o", str(tmp_path / "bars.csv")]):
        completed = system.invoke("query", "SELECT 1", *options)
        assert completed.returncode == 1
        assert completed.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "program",
    [
        "import strikecast; strikecast.bars('BTC')",
        "import strikecast; strikecast.query('SELECT count(*), max(opened_at) FROM price')",
        "from pipelines.cli.main import main; import sys; sys.argv[1:] = ['query', 'SELECT 1', '-o', 'one.parquet']; main()",
    ],
)
def test_a_program_ends_without_a_word_on_standard_error(system: System, tmp_path: Path, program: str) -> None:
    """DuckDB reported leaked objects at the exit of the process."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=system.variables, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [line for line in done.stderr.splitlines() if "server" not in line] == []


def test_a_frame_refuses_what_it_cannot_hold(system: System) -> None:
    program = "import strikecast; strikecast.query('SELECT INTERVAL 1 DAY AS ahead')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=system.variables, capture_output=True, text=True, check=False
    )
    assert "NoDataError: ahead has type INTERVAL, which a frame cannot hold" in done.stderr
