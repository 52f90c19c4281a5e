"""Whether a live session's settings are outdated."""

from pathlib import Path

import pytest

from pipelines.live.outdated import SettingsWatch
from pipelines.settings import load_settings


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("[symbols.SOL]\nstrike_tier_usd = 1.0\n", True),
        ("[symbols.ETH]\nenabled = false\n", True),
        ("[symbols.BTC]\nstrike_tier_usd = 500.0\n", True),
        ('feed = "exchange"\n', True),
        ("ui_port = 3001\n", False),
        ("[symbols.BTC]\nstrike_tier_usd = 250.0\n", False),
    ],
)
def test_a_session_is_outdated_by_changes_of_what_it_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, changed: bool
) -> None:
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path))
    logged: list[str] = []
    watch = SettingsWatch(load_settings(), logged.append)
    assert watch.has_changed() is False
    (tmp_path / "strikecast.toml").write_text(text)
    assert watch.has_changed() is changed
    (tmp_path / "strikecast.toml").unlink()
    assert watch.has_changed() is False
    assert logged == []


def test_settings_that_are_not_valid_are_logged_once_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_HOME", str(tmp_path))
    logged: list[str] = []
    watch = SettingsWatch(load_settings(), logged.append)
    (tmp_path / "strikecast.toml").write_text("[symbols.SOL]\n")
    assert [watch.has_changed() for _ in range(3)] == [False] * 3
    [line] = logged
    assert "symbols.SOL.strike_tier_usd: Field required" in line
