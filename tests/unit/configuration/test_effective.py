"""Each effective value has its source, and no secret."""

import os
from pathlib import Path

import pytest

from pipelines.configuration.effective import EffectiveSetting, Source, effective_settings
from pipelines.settings import load_settings


def effective(text: str) -> dict[str, EffectiveSetting]:
    file = Path(os.environ["STRIKECAST_HOME"]) / "strikecast.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return {one.name: one for one in effective_settings(load_settings())}


def test_the_source_of_a_value_is_the_default_the_file_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_REPLAY__SPEED", "3")
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"SOL": {"market": "SOL/EUR"}}')
    found = effective(
        "[replay]\nspeed = 2\nticks_per_second = 4\n[symbols.SOL]\nstrike_tier_usd = 1\nmarket = 'SOL/USD'\n"
    )

    def one(name: str) -> tuple[object, Source, str | None, int | None]:
        return found[name].value, found[name].source, found[name].variable, found[name].line

    assert one("replay.speed") == (3.0, Source.ENVIRONMENT, "STRIKECAST_REPLAY__SPEED", None)
    assert one("replay.ticks_per_second") == (4.0, Source.FILE, None, 3)
    assert one("symbols.SOL.market") == ("SOL/EUR", Source.ENVIRONMENT, "STRIKECAST_SYMBOLS", None)
    assert one("symbols.SOL.strike_tier_usd") == (1.0, Source.FILE, None, 5)
    assert one("symbols.BTC.strike_tier_usd") == (250.0, Source.DEFAULT, None, None)
    assert one("home")[1:3] == (Source.ENVIRONMENT, "STRIKECAST_HOME")
    assert one("feed") == ("replay", Source.DEFAULT, None, None)


def test_no_effective_value_contains_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", "postgresql://ann:hunter2hunter2@db.example.org/x?password=hunter3")
    found = effective(
        "[alerts]\nurls = ['json://ann:hunter2@example.org/hunter2']\n"
        "[exchange.urls]\npublic = 'https://example.org/hunter2?apikey=hunter2'\n"
        "[backup]\ncopy_to = 's3:bucket,secret_access_key=hunter2'\n"
    )
    assert "hunter" not in repr(found)
    assert found["alerts.urls"].value == ["json://example.org/***"]
    assert found["exchange.urls.public"].line == 4
