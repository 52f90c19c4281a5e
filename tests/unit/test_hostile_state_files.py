"""JSON files of the home folder that hold anything else than what was written: as if there were none, or one line."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from fuzzing import accepted_or_refused, examples
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import StateError
from pipelines.live.outdated import end_files_of_others
from pipelines.live.probability_writer import FENCE, ProbabilityFileWriter
from pipelines.markets.address import running_simulation
from pipelines.monitoring.alert_delivery import read_delivered, read_state, read_watch, update_alerts
from pipelines.processes.pid_file import read_pid_file, running_urls
from pipelines.settings import load_settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIME = "2026-01-01T00:00:00Z"
ALERT = {"key": "disk", "message": "m", "heading": "Storage is growing", "began_at": TIME}
GOOD: dict[str, Any] = {
    "up.json": {"pid": 1, "token": "t", "ui_url": "u", "page_url": "p", "children": [[1, 2.5]]},
    "alerts.json": {
        "watching_since": TIME,
        "lasting": {"disk": ALERT},
        "messages": [{"number": 1, "at": TIME, "alert": ALERT}],
    },
    "delivery.json": {"0123": 5},
    "simulated_exchange.json": {"url": "http://127.0.0.1:1/trade-api/v2", "pid": 1, "created": 2.5},
    "watch.json": {"up": TIME, "watchdog": TIME},
    "output/.session": {"session": 1, "database": "d", "pid": 1, "started": 2.5},
    "output/old_live_probabilities.json": {"reasons": [], "status": "ok"},
}
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"\xff\x00{",
    "null": b"null",
    "a list": b"[]",
    "a number": b"3",
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"children":' * 100_000 + b"1" + b"}" * 100_000,
    "an integer of 5,000 digits": b"9" * 5_000,
    "large": b"[" + b"1," * 9_000_000 + b"1]",
}


@pytest.fixture
def home() -> Path:
    """The home folder, with the folder of probability files."""
    found = Path(os.environ["STRIKECAST_HOME"])
    (found / "output").mkdir(parents=True, exist_ok=True)
    return found


def read_all(home: Path) -> None:
    """Read every file as the commands and the session do."""
    settings = load_settings()
    running_urls(settings)
    read_pid_file(settings)
    running_simulation(settings)
    read_watch(settings).missing(NOW)
    sum(read_delivered(settings).values(), 0)
    files = ProbabilityFileWriter(home / "output")
    try:
        with accepted_or_refused():
            files.claim(7, "d")
            end_files_of_others(files, ["BTC"], NOW)
    finally:
        files.close()
    with accepted_or_refused():
        state = read_state(settings, NOW)
        sorted(one.began_at for one in [*state.active.values(), *(each.alert for each in state.messages)])
        update_alerts(settings, [], NOW, lambda _: None)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_state_file_of_any_content_ends_nothing(home: Path, name: str, kind: str) -> None:
    (home / name).write_bytes(CONTENTS[kind])
    read_all(home)


@pytest.mark.parametrize("name", GOOD)
def test_a_state_file_that_is_a_folder_or_a_pipe_ends_nothing(home: Path, name: str) -> None:
    if name == f"output/{FENCE}":
        return  # the session's own lock: it has to be a file
    (home / name).mkdir()
    settings = load_settings()
    assert (running_urls(settings), read_watch(settings).up, read_delivered(settings)) == (None, None, {})
    assert running_simulation(settings) is None
    (home / name).rmdir()
    os.mkfifo(home / name)  # opening it would wait for a writer
    assert (running_urls(settings), read_watch(settings).up, read_delivered(settings)) == (None, None, {})
    assert running_simulation(settings) is None
    end_files_of_others(ProbabilityFileWriter(home / "output"), ["BTC"], NOW)
    if name == "alerts.json":
        with pytest.raises(StateError, match="not a regular file"):
            read_state(settings, NOW)


@pytest.mark.parametrize(
    ("name", "read", "content"),
    [
        ("up.json", read_pid_file, b'{"pid": 99999999999, "token": "", "ui_url": "", "page_url": "", "children": []}'),
        ("up.json", read_pid_file, b'{"pid": 1, "token": "", "ui_url": "", "page_url": "", "children": [[1]]}'),
        ("delivery.json", read_delivered, b'{"a": 99999999999999999999999}'),
        ("watch.json", lambda settings: read_watch(settings).up, b'{"up": "2026-01-01T00:00:00"}'),
    ],
)
def test_values_that_nothing_could_use_are_as_if_there_were_no_file(
    home: Path, name: str, read: Callable[..., object], content: bytes
) -> None:
    (home / name).write_bytes(content)
    assert not read(load_settings())


def test_a_time_without_an_offset_in_alerts_is_one_line(home: Path) -> None:
    (home / "alerts.json").write_bytes(orjson.dumps(GOOD["alerts.json"]).replace(b"00Z", b"00"))
    with pytest.raises(StateError, match="has no offset from UTC"):
        read_state(load_settings(), NOW)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=6), st.just(TIME)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=4,
)


def replaced(value: Any, at: int, by: Any) -> tuple[Any, int]:
    """A JSON value whose part number `at` is another one."""
    if at == 0:
        return by, -1
    at -= 1
    if isinstance(value, (dict, list)):
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        for key in list(copy) if isinstance(copy, dict) else range(len(copy)):
            copy[key], at = replaced(copy[key], at, by)
            if at < 0:
                break
        return copy, at
    return value, at


@examples(200, 15_000)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 25), JSON, st.booleans())
def test_a_state_file_of_other_types_ends_nothing(home: Path, name: str, at: int, by: Any, huge: bool) -> None:
    for each in GOOD:
        (home / each).unlink(missing_ok=True)
    content = orjson.dumps(replaced(GOOD[name], at, by)[0])
    (home / name).write_bytes(content.replace(b":1", b":" + b"9" * 400) if huge else content)
    read_all(home)
