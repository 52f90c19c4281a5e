"""Symbols are added to and removed from the settings file."""

import stat
from pathlib import Path

import pytest

from pipelines.errors import SettingsError
from pipelines.service.symbols import configure_symbol, remove_symbol
from pipelines.settings import load_settings

TEXT = """# prices of an exchange
feed = "exchange"  # not a replay

[symbols.BTC]
strike_tier_usd = 500  # wider

[exchange]
name = "kraken"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path))
    path = tmp_path / "strikecast.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def test_a_symbol_is_added_and_removed_and_everything_else_stays(file: Path) -> None:
    assert configure_symbol("SOL", 1.0, "SOL/USDT").market == "SOL/USDT"
    assert set(TEXT.splitlines()) <= set(file.read_text().splitlines())
    assert load_settings().tiers_usd == {"BTC": 500.0, "ETH": 20.0, "SOL": 1.0}
    assert configure_symbol("SOL", 2.0, None).market == "SOL/USDT"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    remove_symbol("SOL")
    assert file.read_text() == TEXT
    assert [path.name for path in file.parent.iterdir() if "partial" in path.name] == []


def test_a_built_in_symbol_is_disabled_and_enabled_again(file: Path) -> None:
    remove_symbol("ETH")
    assert list(load_settings().symbols) == ["BTC"]
    with pytest.raises(SettingsError, match="BTC is the only symbol"):
        remove_symbol("BTC")
    configure_symbol("ETH", 25.0, None)
    assert load_settings().tiers_usd == {"BTC": 500.0, "ETH": 25.0}
    assert "enabled" not in file.read_text()


@pytest.mark.parametrize(
    ("symbol", "tier", "market"),
    [("sol", 1.0, None), ("SOL", 0.0, None), ("SOL", float("nan"), None), ("SOL", 1.0, "x")],
)
def test_an_invalid_symbol_changes_nothing(file: Path, symbol: str, tier: float, market: str | None) -> None:
    with pytest.raises(SettingsError):
        configure_symbol(symbol, tier, market)
    assert file.read_text() == TEXT


def test_a_symbol_that_is_not_configured_cannot_be_removed(file: Path) -> None:
    with pytest.raises(SettingsError, match="'SOL' is not configured"):
        remove_symbol("SOL")
    assert file.read_text() == TEXT


def test_symbols_of_the_environment_cannot_be_edited(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"SOL": {"strike_tier_usd": 2}}')
    with pytest.raises(SettingsError, match="STRIKECAST_SYMBOLS in the environment"):
        configure_symbol("SOL", 1.0, None)
    assert file.read_text() == TEXT
