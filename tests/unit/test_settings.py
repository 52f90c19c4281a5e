"""The default home folder, symbols and the paper desk in the settings."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.configuration.settings_file import ROOT_HOME, default_home
from pipelines.domain.desk.rules import DeskRules
from pipelines.errors import SettingsError
from pipelines.settings import load_settings


def tiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> dict[str, float]:
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path))
    (tmp_path / "strikecast.toml").write_text(text)
    return load_settings().tiers_usd


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"BTC": 250.0, "ETH": 20.0}),
        ("[symbols.SOL]\nstrike_tier_usd = 1.0", {"BTC": 250.0, "ETH": 20.0, "SOL": 1.0}),
        ('[symbols.BTC]\nmarket = "BTC/USDT"', {"BTC": 250.0, "ETH": 20.0}),
        ("[symbols.BTC]\nstrike_tier_usd = 500", {"BTC": 500.0, "ETH": 20.0}),
        ("[symbols.ETH]\nenabled = false", {"BTC": 250.0}),
    ],
)
def test_a_configured_symbol_is_added_to_the_built_in_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: dict[str, float]
) -> None:
    assert tiers(tmp_path, monkeypatch, text) == expected


def test_symbols_of_the_environment_and_the_file_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"SOL": {"strike_tier_usd": 2}, "ETH": {"enabled": false}}')
    assert tiers(tmp_path, monkeypatch, "[symbols.SOL]\nstrike_tier_usd = 1") == {"BTC": 250.0, "SOL": 2.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("symbols = 3", "symbols: Input should be a valid dictionary"),
        ("[symbols]\nSOL = 3", "symbols.SOL: Input should be"),
        ("[symbols.BTC]\nenabled = false\n[symbols.ETH]\nenabled = false", "at least one symbol must be enabled"),
        ("[symbols.sol]\nstrike_tier_usd = 1", "a symbol is capital letters and digits"),
    ],
)
def test_symbols_that_are_not_valid_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        tiers(tmp_path, monkeypatch, text)


@pytest.mark.parametrize("exists", [False, True])
def test_root_has_a_home_that_other_users_can_enter_unless_an_older_one_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    monkeypatch.delenv("STRIKECAST_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    older = tmp_path / "strikecast"
    if exists:
        older.mkdir()
    assert default_home() == (ROOT_HOME if os.geteuid() == 0 and not exists else older)


def test_a_named_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path))
    assert default_home() == tmp_path


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"min_ttc_seconds": 300, "max_ttc_seconds": 200}, "min_ttc_seconds 300 is above max_ttc_seconds 200"),
        ({"campaign": "demonstration"}, "names that begin with demo are those of simulated trades"),
        ({"balance_precision_usd": "0.001"}, "balance_precision_usd is 0.001, expected 0.01 or 0.0001"),
        ({"latency_seconds": 30, "order_seconds": 20}, "latency_seconds 30 is not below order_seconds 20"),
    ],
    ids=["times", "campaign", "precision", "latency"],
)
def test_rules_of_the_desk_that_contradict_each_other_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)):
        load_settings(desk=values)


@pytest.mark.parametrize(
    ("source", "campaign", "name"),
    [
        ("kalshi", None, "paper"),
        ("kalshi", "wide", "wide"),
        ("simulated", None, "demo"),
        ("simulated", "wide", "demo-wide"),
    ],
)
def test_the_campaign_of_simulated_trades_says_so(source: str, campaign: str | None, name: str) -> None:
    settings = load_settings(markets={"source": source}, desk={"enabled": True, "campaign": campaign})
    assert settings.desk_campaign == name
    assert settings.desk_is_enabled
    assert settings.desk.rules == DeskRules()
    assert type(settings.desk.rules) is DeskRules, "as the desk's state has it"


def test_a_desk_without_markets_does_not_trade() -> None:
    assert not load_settings(desk={"enabled": True}).desk_is_enabled
