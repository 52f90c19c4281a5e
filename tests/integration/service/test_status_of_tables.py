"""`strikecast status` names the strike tables of each symbol, their files and markets."""

from datetime import UTC, datetime, timedelta

import pytest
from sample_strike_tables import RANGES, strike_table, write_strike_table

from pipelines.cli import console
from pipelines.service.status import read_status
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Database


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"BTC": {"strike_tier_usd": 250, "series": ["KXBTCD", "KXBTC"]}}')
    return load_settings(markets={"source": "kalshi"})


def test_status_tells_a_files_state_from_its_markets(
    database: Database, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "result", type(console.result)(width=160))
    written = datetime.now(UTC) - timedelta(hours=1)
    payload = strike_table(95_100.0, written, series=RANGES, market_status="unavailable: \x1b[2Jtimed out")
    write_strike_table(settings.output_dir, payload, RANGES)
    state = read_status(settings, database)
    [symbol] = [one for one in state["symbols"] if one["symbol"] == "BTC"]
    assert [(one["series"], one["status"]) for one in symbol["strike_tables"]] == [
        ("KXBTCD", "missing"),
        ("KXBTC", "not written"),
    ]
    console.print_status(state)
    shown = " ".join(capsys.readouterr().out.split())
    assert "strike table KXBTCD missing, market not known; there is no strike table of BTC KXBTCD yet" in shown
    assert (
        "strike table KXBTC not written, market unavailable: \\x1b[2Jtimed out; the file is not being written" in shown
    )


def test_without_a_source_of_markets_there_are_none(database: Database) -> None:
    state = read_status(load_settings(), database)
    assert [one["strike_tables"] for one in state["symbols"]] == [[]] * len(state["symbols"])
