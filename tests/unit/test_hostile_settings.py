"""Settings files of any content: valid settings, or one line that says what is wrong."""

import os
import time
from pathlib import Path

import pytest
from fuzzing import MOST_SECONDS, accepted_or_refused, examples
from hypothesis import given
from hypothesis import strategies as st

from pipelines.configuration.settings_file import MOST_FILE_BYTES
from pipelines.errors import MAX_MESSAGE, SettingsError
from pipelines.service.symbols import configure_symbol
from pipelines.settings import Settings, load_settings

HUGE = "9" * 5_000
REFUSED: dict[str, bytes] = {
    "invalid UTF-8": b'ui_host = "\xff"',
    "duplicate key": b"ui_port = 1\nui_port = 2",
    "duplicate table": b"[replay]\nspeed = 1\n[replay]\nspeed = 2",
    "unknown name": b"uiport = 1",
    "a name of 30,000 characters": b'"' + b"x" * 30_000 + b'" = 1',
    "a date for a number": b"ui_port = 2024-01-01",
    "a text for a number": b'ui_port = "many"',
    "a number for a table": b"replay = 1",
    "an array for a table": b"[[replay]]\nspeed = 1",
    "not a number": b"[replay]\nspeed = nan",
    "not a number in limits": b"[alerts]\nstale_seconds = nan",
    "infinite": b"[alerts]\nclock_seconds = inf",
    "integer of 5,000 digits": f"ui_port = {HUGE}".encode(),
    "integer of 500 digits": b"[replay]\nspeed = " + b"9" * 500,
    "integer of 20 digits": b"statement_timeout_seconds = 99999999999999999999",
    "days before the first date": b"[retention]\nsession_days = 999999999",
    "days of backups before the first date": b"[backup]\nkeep_days = 999999999",
    "deep arrays": b"x = " + b"[" * 16_000 + b"]" * 16_000,
    "deep tables": b"x = " + b"{a=" * 5_000 + b"1" + b"}" * 5_000,
    "deep keys": b".".join([b"a"] * 16_000) + b" = 1",
    "NUL in a path": b'prices = "/tmp/\\u0000"',
    "escape sequences in a text": b'ui_host = "\\u001b[31mred"',
    "a text that is written backwards": '[symbols."B\u202eTC"]\nstrike_tier_usd = 1'.encode(),
    "too large": b"# comment\n" * 10_000,
    "control characters": b"\x00\x01\x02",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The settings file, which does not exist yet."""
    home = Path(os.environ["STRIKECAST_HOME"])
    home.mkdir(exist_ok=True)
    return home / "strikecast.toml"


@pytest.mark.parametrize("kind", REFUSED)
def test_a_settings_file_that_is_not_valid_is_one_printable_line(file: Path, kind: str) -> None:
    file.write_bytes(REFUSED[kind])
    began = time.process_time()
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= MAX_MESSAGE
    assert time.process_time() - began < MOST_SECONDS


def test_a_byte_order_mark_and_windows_line_breaks_are_read(file: Path) -> None:
    file.write_bytes("\ufeffui_port = 0\r\n[symbols.SOL]\r\nstrike_tier_usd = 1\r\n".encode())
    assert load_settings().tiers_usd["SOL"] == 1.0
    configure_symbol("SOL", 2.0, None)
    assert load_settings().tiers_usd["SOL"] == 2.0


def test_what_is_no_file_of_text_is_refused_at_once(file: Path) -> None:
    file.mkdir()
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings()
    file.rmdir()
    os.mkfifo(file)  # opening it would wait for a writer
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings()
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(SettingsError, match="symbolic links"):
        load_settings()
    file.unlink()
    file.symlink_to(file.with_name("missing.toml"))
    with pytest.raises(SettingsError, match="a link to a file that does not exist"):
        load_settings()
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings()


NAMES = st.one_of(
    st.sampled_from([*Settings.model_fields, "BTC", "SOL", "strike_tier_usd", "speed", "keep_days", "urls", "weight"]),
    st.text(max_size=8),
)
NUMBERS = st.one_of(
    st.integers(), st.integers(-3, 100), st.sampled_from([10**6, 2**31, 2**63, 10**400]), st.floats(), st.booleans()
)
VALUES = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=20), st.dates(), st.datetimes(), st.times()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(name))} = {toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        escaped = (each if each.isalnum() and each.isascii() else f"\\U{ord(each):08x}" for each in value)
        return f'"{"".join(escaped)}"'
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    return value.isoformat()  # type: ignore[attr-defined, no-any-return]


def load(file: Path, content: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with accepted_or_refused():
        repr(load_settings().model_dump(mode="json"))


@examples(300, 20_000)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_well_formed_settings_of_any_type_are_valid_or_refused(values: dict[str, object]) -> None:
    text = "\n".join(f"{toml(name)} = {toml(value)}" for name, value in values.items())
    load(Path(os.environ["STRIKECAST_HOME"]) / "strikecast.toml", text.encode())


GOOD = b"""# settings
ui_port = 0
feed = "exchange"
[exchange]
name = "kraken"
urls = { public = "http://127.0.0.1:1" }
[retention]
session_days = 30
[backup]
keep_days = 7
[alerts]
urls = ["json://localhost/"]
[symbols.SOL]
strike_tier_usd = 1.5
market = "SOL/USDT"
[model]
age_weights = [{ max_age_days = 365.25, weight = 5 }]
"""
PIECES = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b"\n", b'"', b"[", b"]", b"{", b"}", b"=", b"nan", b"inf", b"9" * 400, b"'''", b"\xff", b"\x00"]),
    st.integers(0, len(GOOD)).map(lambda at: GOOD[at : at + 30]),
)


@examples(300, 15_000)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), PIECES), min_size=1, max_size=4))
def test_a_damaged_settings_file_is_valid_or_refused(changes: list[tuple[int, int, bytes]]) -> None:
    content = GOOD
    for at, removed, piece in changes:
        content = content[:at] + piece + content[at + removed :]
    load(Path(os.environ["STRIKECAST_HOME"]) / "strikecast.toml", content)


def test_the_limit_of_the_file_leaves_room_for_many_symbols(file: Path) -> None:
    file.write_text("".join(f'[symbols.S{k}]\nstrike_tier_usd = 1\nmarket = "S{k}/USDT"\n' for k in range(500)))
    assert file.stat().st_size < MOST_FILE_BYTES
    assert len(load_settings().symbols) == 502
