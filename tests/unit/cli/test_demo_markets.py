"""Which markets `strikecast demo` follows, and what trades on them."""

import os
from decimal import Decimal

import pytest

from pipelines.cli.up import DEMO_DESK, select_demo_desk, select_simulated_markets
from pipelines.domain.markets.board import MarketSource
from pipelines.settings import load_settings

VARIABLE = "STRIKECAST_MARKETS__SOURCE"


def test_the_simulated_exchange_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert select_simulated_markets(load_settings())
    assert os.environ[VARIABLE] == "simulated", "for the processes that it starts, too"
    assert load_settings().markets.source is MarketSource.SIMULATED


@pytest.mark.parametrize("source", list(MarketSource))
def test_what_is_set_is_kept(source: MarketSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(source))
    assert not select_simulated_markets(load_settings())
    assert os.environ[VARIABLE] == source


def test_no_markets_without_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    symbols = {"BTC": {"series": []}, "ETH": {"series": []}}
    assert not select_simulated_markets(load_settings(symbols=symbols))
    assert os.environ[VARIABLE] == ""


def test_the_desk_trades_in_a_demonstration_where_nothing_is_set_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "simulated")
    for name in DEMO_DESK:
        monkeypatch.setenv(f"STRIKECAST_DESK__{name.upper()}", "")
    assert select_demo_desk(load_settings())
    settings = load_settings()
    assert settings.desk_is_enabled
    assert (settings.desk_campaign, str(settings.desk.probability)) == ("demo", "pool")
    assert settings.desk.rules.min_edge_usd == Decimal(DEMO_DESK["min_edge_usd"])
    assert not select_demo_desk(settings), "it is set now"


def test_no_desk_trades_on_an_exchange_because_of_a_demonstration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "kalshi")
    assert not select_demo_desk(load_settings())
    assert not load_settings().desk_is_enabled
