"""`strikecast watch --market`: a strike table in the terminal."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console
from sample_strike_tables import ABOVE, RANGES, UP_OR_DOWN, strike_table, write_strike_table

from pipelines.cli.watch_market import market_screen
from pipelines.live.strike_table_reader import TableName, TableView, table_of

NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
COMMAND = [sys.executable, "-m", "pipelines.cli", "watch"]
PROBLEM = "the market feed " + "does not answer " * 20


def view(payload: dict[str, Any], after_seconds: float = 0.4) -> TableView:
    name = TableName(payload["symbol"], payload["series_ticker"])
    return table_of(name, orjson.dumps(payload), NOW + timedelta(seconds=after_seconds))


def draw(it: TableView, width: int = 80, height: int | None = 24) -> list[str]:
    console = Console(width=width, height=height or 60, file=StringIO(), legacy_windows=False)
    console.print(market_screen(it, width, height))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("height", [5, 8, 16, 24, 40])
@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("series", [ABOVE, RANGES, UP_OR_DOWN])
def test_a_table_fits_the_terminal(series: str, width: int, height: int) -> None:
    payload = strike_table(95_100.0, NOW, series=series, market_status=f"unavailable: {PROBLEM}", market_title=PROBLEM)
    lines = draw(view(payload, 3.0), width, height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize("series", [ABOVE, RANGES])
def test_80_columns_and_24_lines_show_every_column_of_the_strikes_around_the_price(series: str) -> None:
    lines = draw(view(strike_table(95_100.0, NOW, series=series, broker="simulated")))
    assert len(lines) == 24
    assert "95,100.00  closes in 12:34   open   SIMULATED, no real quotes" in lines[0]
    assert lines[4].split() == ["strike", "move", "%", "bid", "¢", "ask", "¢", "model", "%", "pool", "%", "edge", "age"]
    strikes = [line for line in lines[5:-1] if "price" not in line]
    assert len(strikes) == (18 if series == RANGES else 17)
    assert all(line.rstrip().endswith(" s") for line in strikes)
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_the_numbers_are_those_of_the_file() -> None:
    payload = strike_table(95_100.0, NOW)
    lines = draw(view(payload), height=None)
    for row in payload["strikes"]:
        [line] = [line for line in lines if line.split()[:1] == [f"{row['strike']:,.0f}"]]
        bid = "-" if row["yes_bid"] is None else str(row["yes_bid"])
        assert line.split()[2:5] == [bid, str(row["yes_ask"]), f"{row['yes_probability']:.2f}"]
    place = next(index for index, line in enumerate(lines) if line.split()[:2] == ["95,100.00", "price"])
    assert [lines[place - 1].split()[0], lines[place + 1].split()[0]] == ["95,250", "95,000"]


def test_the_range_of_the_price_has_no_further_row() -> None:
    lines = draw(view(strike_table(95_100.0, NOW, series=RANGES)), height=None)
    assert not any("price" in line.split() for line in lines)
    assert lines[-2].split()[:2] == ["below", "92,750"]


def test_the_real_exchange_is_not_marked_as_simulated() -> None:
    lines = draw(view(strike_table(95_100.0, NOW)))
    assert not any("SIMULATED" in line for line in lines)
    assert lines[1].startswith("kalshi KXBTCD-26MAR0410")
    assert lines[2] == "settles on the mean of 60 s   basis +2.1 bp, quotes, 9 min old"
    assert lines[3].startswith("edge by the pool: difference to the mid")


def test_a_market_that_is_not_open_has_its_reason_and_no_quotes() -> None:
    lines = draw(view(strike_table(95_100.0, NOW, market_status="halted: the exchange does not trade")))
    assert " halted " in lines[0]
    assert "! the exchange does not trade" in lines
    [line] = [line for line in lines if line.split()[:1] == ["95,250"]]
    assert [line.split()[place] for place in (2, 3, 5, 6)] == ["-"] * 4


def test_a_file_that_is_not_written_has_no_quotes() -> None:
    lines = draw(view(strike_table(95_100.0, NOW), 65.0))
    assert "not written" in lines[0]
    assert "! the file is not being written: it is 65 s old" in lines
    [line] = [line for line in lines if line.split()[:1] == ["95,250"]]
    assert line.split()[2:4] == ["-", "-"]
    assert line.split()[-2:] == ["65", "s"]


def test_hostile_text_is_escaped() -> None:
    hostile = "\x1b[2J\u202e[red]"
    lines = draw(view(strike_table(95_100.0, NOW, market_title=hostile, pool={"served": "mid", "reason": hostile})))
    assert "\\x1b[2J\\u202e[red]" in lines[1]
    assert "\\x1b[2J\\u202e[red]" in lines[3]
    assert all(line.isprintable() for line in lines)


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "STRIKECAST_HOME": str(home), "COLUMNS": "100", **variables}
    return subprocess.run([*COMMAND, *arguments], env=given, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_without_a_terminal_the_table_is_printed_once(tmp_path: Path) -> None:
    written = datetime.now(UTC) - timedelta(hours=1)
    write_strike_table(tmp_path / "output", strike_table(95_100.0, written))
    for arguments, source in ((("--market",), "kalshi"), (("--series", ABOVE), "kalshi"), (("--market",), "none")):
        process = run(tmp_path, "BTC", *arguments, STRIKECAST_MARKETS__SOURCE=source)
        assert (process.returncode, process.stderr) == (0, "")
        assert process.stdout.startswith("BTC KXBTCD  95,100.00")
        assert "\x1b" not in process.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "source", "message"),
    [
        (["BTC", "--market"], "none", 'there are no strike tables: source in [markets] is "none"'),
        (["BTC", "--market"], "kalshi", "there is no strike table of BTC KXBTCD yet: the live session writes it"),
        (["BTC", "--series", "KXETHD"], "kalshi", "BTC has no series 'KXETHD'; it has KXBTCD"),
        (["XRP", "--market"], "kalshi", "symbol 'XRP' is not configured"),
    ],
)
def test_nothing_to_print_is_one_line_on_standard_error(
    tmp_path: Path, arguments: list[str], source: str, message: str
) -> None:
    process = run(tmp_path, *arguments, STRIKECAST_MARKETS__SOURCE=source)
    assert process.returncode == 1
    assert message in process.stderr
    assert len(process.stderr.splitlines()) == 1
