"""`strikecast markets` as its user sees it: what is understood, stored, listed and refused."""

import json
from pathlib import Path

import pytest
from readers import command_line, reader_login
from small_recordings import TICKERS, candle, candle_recording, candle_rows
from system import System

from pipelines.storage.postgres.connection import Database


@pytest.fixture
def command(database: Database, tmp_path: Path) -> System:
    (tmp_path / "home").mkdir()
    return command_line(database, tmp_path / "home")


def test_an_import_is_previewed_stored_and_listed(command: System, tmp_path: Path) -> None:
    folder = candle_recording(tmp_path / "rec", [*candle_rows(), candle(TICKERS[0], 30, bid=101)])
    (folder / "README.md").write_text("about")
    nowhere = {"STRIKECAST_DATABASE_URL": "postgresql://nobody@localhost:1/none"}
    shown = command.invoke("markets", "import", str(folder), "--dry-run", **nowhere)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == "nothing was stored: --dry-run"
    assert json.loads(command.invoke("markets", "list", "--json").stdout) == {"series": []}

    stored = command.invoke("markets", "import", str(folder))
    assert stored.returncode == 0, stored.stderr
    facts = dict(line.split("  ", maxsplit=1) for line in stored.stdout.splitlines() if "  " in line)
    assert {name: facts[name].strip() for name in ("exchange", "symbol", "rows read", "rows rejected")} == {
        "exchange": "kalshi",
        "symbol": "BTC",
        "rows read": "64",
        "rows rejected": "1",
    }
    assert facts["candles inserted"].strip() == "61"
    assert "quotes inserted" not in facts
    assert (
        "rejected 1 rows of candles.parquet: bid outside 0 to 1 dollar, or finer than 0.0001 (row 62: " in stored.stdout
    )
    assert "skipped README.md: expected .parquet, .csv, .jsonl" in stored.stdout

    report = json.loads(command.invoke("markets", "import", str(folder), "--json").stdout)
    assert report["candles"] == {"inserted": 0, "corrected": 0, "unchanged": 61}
    assert report["markets"] == {"inserted": 0, "changed": 0, "unchanged": 2, "without_result": 0}
    assert (report["rows_rejected"], report["rejected"][0]["rows"], report["is_dry_run"]) == (1, 1, False)
    assert report["skipped"] == [{"name": "README.md", "reason": "expected .parquet, .csv, .jsonl"}]

    listed = command.invoke("markets", "list", "--symbol", "BTC")
    assert listed.stdout.splitlines()[-1].split() == [
        *("kalshi", "KXBTCD", "BTC", "mean_60s", "1", "2", "0", "0", "61"),
        *("2026-07-22", "17:01", "2026-07-22", "18:00"),
    ]
    [series] = json.loads(command.invoke("markets", "list", "--json").stdout)["series"]
    assert (series["series"], series["markets"], series["candles"]) == ("KXBTCD", 2, 61)
    assert series["last_at"] == "2026-07-22T18:00:00+00:00"
    assert json.loads(command.invoke("markets", "list", "--symbol", "ETH", "--json").stdout) == {"series": []}
    question = (
        "SELECT ticker, result, count(*) AS candles, max(yes_ask_close) AS ask FROM market"
        " JOIN market_data.market_candle USING (market_id) GROUP BY ALL ORDER BY ticker"
    )
    answer = command.invoke("query", question, "--format", "csv")
    assert answer.stdout.splitlines() == [
        "ticker,result,candles,ask",
        f"{TICKERS[0]},yes,60,0.42",
        f"{TICKERS[1]},no,1,",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{folder}/missing",), "no such file or folder"),
        (("{folder}", "--symbol", "ETH"), "series KXBTCD is of symbol BTC by the settings, not ETH"),
        (("{folder}", "--symbol", "NONE"), "symbol 'NONE' is not configured"),
    ],
)
def test_a_refusal_is_one_line_with_exit_code_1(
    command: System, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    folder = candle_recording(tmp_path / "rec")
    done = command.invoke("markets", "import", *(one.format(folder=folder) for one in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_reader_lists_and_does_not_import(database: Database, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with reader_login(database) as reader:
        command = command_line(reader, tmp_path / "home")
        listed = command.invoke("markets", "list", "--json")
        assert listed.returncode == 0, listed.stderr
        done = command.invoke("markets", "import", str(candle_recording(tmp_path / "rec")))
    assert done.returncode == 1
    assert "this needs role strikecast_pipeline" in done.stderr
