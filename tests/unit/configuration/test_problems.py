"""Problems with the settings name the line of the file or the variable, and the nearest known name."""

import os
from pathlib import Path

import pytest

from pipelines.configuration.settings_file import key_lines
from pipelines.errors import SettingsError
from pipelines.settings import Settings, check_settings, load_settings


def problems(text: str) -> list[str]:
    """The problems of a settings file, `FILE` in place of its path."""
    file = Path(os.environ["STRIKECAST_HOME"]) / "strikecast.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    found = check_settings()
    return [] if isinstance(found, Settings) else [each.replace(str(file), "FILE") for each in found]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('# a comment\n\nfeeed = "replay"', 'FILE:3: unknown setting "feeed"; did you mean "feed"?'),
        (
            "[exchange]\ntimeout_secnds = 3",
            'FILE:2: unknown setting "exchange.timeout_secnds"; did you mean "exchange.timeout_seconds"?',
        ),
        ("exchange.naem = 'kraken'", 'FILE:1: unknown setting "exchange.naem"; did you mean "exchange.name"?'),
        ("exchange = { naem = 'x' }", 'FILE:1: unknown setting "exchange.naem"; did you mean "exchange.name"?'),
        (
            "[backup]\nkeepdays = 3",
            'FILE:2: unknown setting "backup.keepdays"; did you mean "backup.keep_days"?',
        ),
        (
            "[symbols.SOL]\nstrike_tier_usd = 1\nmarkt = 'A/B'",
            'FILE:3: unknown setting "symbols.SOL.markt"; did you mean "symbols.SOL.market"?',
        ),
        ("speed = 2.0", 'FILE:1: unknown setting "speed"; did you mean "replay.speed"?'),
        ("zzzz = 2.0", 'FILE:1: unknown setting "zzzz"; `strikecast config show` lists the known ones'),
        ("[symbols.SOL]\nmarket = 'A/B'", "FILE:1: symbols.SOL.strike_tier_usd: Field required"),
        ("[retention]\nrun_days = 1\nsession_days = 0", "FILE:1: retention: session_days must be positive"),
        ("[alerts]\nclock_seconds = -1", "FILE:1: alerts: clock_seconds must be 0 or more, not -1.0"),
        (
            'ui_port = 0\nui_host = "\\u001b[31m"',
            "FILE:2: ui_host: a text of at most 4,096 printable characters is expected",
        ),
        ("ui_port = 1\nui_port = 2", "FILE:2: Cannot overwrite a value, column 12"),
        ("ui_port = 1\nui_host =", "FILE:2: Invalid value, column 10"),
    ],
)
def test_a_problem_names_its_line(text: str, problem: str) -> None:
    assert problems(text) == [problem] or problems(f"{text}\n") == [problem]


def test_the_line_of_a_value_after_one_of_several_lines_is_its_own() -> None:
    text = "allowed_hosts = [\n  'a',\n  'b',\n]\n\n[model]\nage_weights = [\n  { max_age_days = 1, weight = 0 },\n]\nx = 1\n"
    assert problems(text) == [
        "FILE:7: model.age_weights.0: weight must be 1 or more, not 0",
        'FILE:10: unknown setting "model.x"; `strikecast config show` lists the known ones',
    ]


def test_all_problems_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_UI_PORT", "many")
    monkeypatch.setenv("STRIKECAST_LOGS__KEEPDAYS", "3")
    monkeypatch.setenv("STRIKECAST_FEEED", "replay")
    monkeypatch.setenv("STRIKECAST_SYMBOLS", '{"SOL": {"market": "SOL"}}')
    found = problems("feed = 'x'\nui_port = 1\n[replay]\nspeed = 0\n[symbols.XRP]\nmarket = 'XRP/USD'\n")
    assert sorted(found) == [
        "FILE:1: feed: Input should be 'replay', 'exchange' or 'external'",
        "FILE:4: replay.speed: Input should be greater than 0",
        "FILE:5: symbols.XRP.strike_tier_usd: Field required",
        'STRIKECAST_LOGS__KEEPDAYS: unknown setting "logs.keepdays"; did you mean "logs.keep_days"?',
        "STRIKECAST_SYMBOLS: symbols.SOL.market: String should match pattern '^[A-Z0-9]+/[A-Z0-9]+$'",
        "STRIKECAST_SYMBOLS: symbols.SOL.strike_tier_usd: Field required",
        "STRIKECAST_UI_PORT: ui_port: Input should be a valid integer, unable to parse string as an integer",
        "unknown environment variable STRIKECAST_FEEED; did you mean STRIKECAST_FEED?",
    ]
    with pytest.raises(SettingsError, match="; unknown environment variable|unknown environment variable .*; "):
        load_settings()


def test_lines_of_tables_arrays_and_elements_are_found() -> None:
    lines = key_lines("[[a]]\nx = 1\n# a comment\n[[a]]\nx = [\n1,\n2 ]\n[b.c]\n\"d.e\" = '''\nf = 1'''\n")
    assert lines["a", 0, "x"] == 2
    assert lines["a", 1, "x"] == lines["a", 1, "x", 1] == 5
    assert lines["b", "c"] == 8
    assert lines["b", "c", "d.e"] == 9
    assert ("b", "c", "f") not in lines
