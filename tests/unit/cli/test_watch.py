"""`strikecast watch`: its screen, and the state in which it leaves the terminal."""

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from rich.console import Console
from sample_ladders import ladder, write_ladder
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.cli.watch import nearest, screen
from pipelines.domain.models.ladder import payload_without_answers
from pipelines.live.probability_reader import View, view_of

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
COMMAND = [sys.executable, "-m", "pipelines.cli", "watch"]
#: Make the pseudo-terminal the controlling one, which Ctrl-C comes from, and execute the command.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"
ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


def view(payload: dict[str, Any] | None, after_seconds: float = 0.4) -> View:
    content = None if payload is None else orjson.dumps(payload)
    return view_of("BTC", content, NOW + timedelta(seconds=after_seconds))


def draw(it: View, width: int = 80, height: int | None = 24, *, styled: bool = False) -> list[str]:
    console = Console(
        width=width,
        height=height or 60,
        file=StringIO(),
        force_terminal=styled,
        color_system="256" if styled else None,
        legacy_windows=False,
    )
    console.print(screen(it, width, height))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("height", [5, 8, 16, 24, 40])
@pytest.mark.parametrize("width", [50, 80, 200])
def test_a_ladder_fits_the_terminal(width: int, height: int) -> None:
    problems = ["momentum is not known: " + "all momenta together answer " * 9]
    lines = draw(view(ladder(95_100.0, NOW, problems=problems), 3.0), width, height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_80_columns_and_24_lines_show_the_header_and_the_strikes_around_the_price() -> None:
    lines = draw(view(ladder(95_100.0, NOW)))
    assert "BTC  95,100.00  closes in 12:34   ok" in lines[0]
    for fact in ("price 0.4 s old", "file 0.4 s old", "sigma 0.0512", "momentum +0.0123 %"):
        assert fact in lines[1]
    strikes = [line.split()[0] for line in lines[3:-1]]
    place = strikes.index("95,100.00")
    assert strikes[place - 1 : place + 2] == ["95,250", "95,100.00", "95,000"]
    assert abs(place - (len(strikes) - 1 - place)) <= 1
    assert len(lines) == 24


def test_the_numbers_are_those_of_the_file() -> None:
    payload = ladder(95_100.0, NOW)
    lines = draw(view(payload), height=None)
    for row in payload["probabilities"]:
        [line] = [line for line in lines if line.split()[:1] == [f"{row['strike']:,}"]]
        assert line.split()[2] == f"{row['positive_prob']:.2f}"


def test_a_replay_is_named_below_the_price() -> None:
    replayed_at = datetime(2025, 7, 1, 8, 30, tzinfo=UTC)
    lines = draw(view(ladder(95_100.0, NOW, source="replay", replayed_at=replayed_at)))
    assert "   replay" in lines[0]
    assert lines[1].startswith("REPLAY: replayed prices of 2025-07-01 08:30 UTC, not the market's prices now")
    assert not any("REPLAY" in line for line in draw(view(ladder(95_100.0, NOW))))


def test_a_file_without_a_price_shows_the_reason() -> None:
    lines = draw(view(payload_without_answers(NOW, None, 250.0, ["kraken BTC: down"], session=1, source="kraken")))
    assert lines[0].startswith("BTC")
    assert "stale" in lines[0]
    assert lines[1].startswith("! kraken BTC: down")


def test_a_short_terminal_shows_the_nearest_strikes() -> None:
    rungs = view(ladder(95_100.0, NOW)).rungs
    assert [rung.strike for rung in nearest(rungs, 3)] == [95_250, 95_000, 94_750]


def test_strikes_are_coloured_by_their_distance_from_the_price() -> None:
    lines = draw(view(ladder(95_100.0, NOW)), height=None, styled=True)

    def colour(strike: str) -> str:
        [line] = [line for line in lines if f"{strike}\x1b" in line]
        return line.split(strike)[0].rpartition("\x1b")[2]

    assert colour("95,000") == colour("95,250")
    assert len({colour("95,000"), colour("95,750"), colour("96,500"), colour("97,500")}) == 4


def test_a_file_that_is_not_written_shows_its_age() -> None:
    lines = draw(view(ladder(95_100.0, NOW), 65.0))
    assert "not written" in lines[0]
    assert "file 65 s old" in lines[1]
    assert "! the file is not being written: it is 65 s old" in lines[2]


def test_strikes_without_a_probability_show_dashes() -> None:
    lines = draw(view(ladder(95_100.0, NOW, known=False)))
    [line] = [line for line in lines if line.split()[:1] == ["95,250"]]
    assert line.split()[2:] == ["-", "-", "-"]
    assert any("! no evidence for this bucket" in line for line in lines)


def test_a_missing_file_shows_a_message() -> None:
    assert any("there is no file for BTC yet" in line for line in draw(view(None)))


class Terminal:
    """A pseudo-terminal of 80 by 24 with a `watch` in it."""

    def __init__(self, home: Path) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        settings = termios.tcgetattr(slave)
        settings[3] |= termios.NOFLSH  # or Ctrl-C discards unread output
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        self._before = termios.tcgetattr(slave)
        self._slave = slave
        self.output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *COMMAND],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "STRIKECAST_HOME": str(home), "TERM": "xterm-256color"},
        )
        os.set_blocking(self.master, False)

    def read(self) -> bytes:
        """All output so far."""
        while True:
            try:
                self.output += os.read(self.master, 65536)
            except BlockingIOError:
                return self.output

    def shows(self, text: str) -> None:
        wait_until(lambda: text.encode() in self.read(), f"{text!r} on the terminal")

    def settings_are_as_before(self) -> bool:
        return termios.tcgetattr(self._slave) == self._before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@contextmanager
def terminal(home: Path) -> Iterator[Terminal]:
    it = Terminal(home)
    try:
        yield it
    finally:
        it.close()


@pytest.mark.parametrize("ending", ["ctrl-c", "sigterm", "both at once"])
def test_watch_waits_for_the_file_follows_it_and_restores_the_terminal(tmp_path: Path, ending: str) -> None:
    with terminal(tmp_path) as it:
        it.shows("there is no file for BTC yet")
        write_ladder(tmp_path / "output", "BTC", ladder(95_100.0, datetime.now(UTC)))
        it.shows("95,100.00")
        write_ladder(tmp_path / "output", "BTC", ladder(95_333.0, datetime.now(UTC)))
        it.shows("95,333.00")
        assert ENTER_SCREEN in it.read()
        assert HIDE_CURSOR in it.read()
        if ending != "ctrl-c":
            it.process.send_signal(signal.SIGTERM)
        if ending != "sigterm":
            os.write(it.master, b"\x03")
        assert it.process.wait(TIMEOUT_SECONDS) == 0
        left = it.read()
        assert left.rindex(SHOW_CURSOR) > left.rindex(HIDE_CURSOR)
        assert left.count(ENTER_SCREEN) == left.count(LEAVE_SCREEN) == 1
        after = left[left.rindex(LEAVE_SCREEN) + len(LEAVE_SCREEN) :].replace(SHOW_CURSOR, b"").replace(b"^C", b"")
        assert after.strip() == b""
        assert b"Traceback" not in left
        assert it.settings_are_as_before()


def test_watch_updates_the_age_of_a_file_that_is_not_written(tmp_path: Path) -> None:
    write_ladder(tmp_path / "output", "BTC", ladder(95_100.0, datetime.now(UTC)))
    with terminal(tmp_path) as it:
        it.shows("the file is not being written")


def test_watch_opens_no_connection_and_starts_no_process(tmp_path: Path) -> None:
    write_ladder(tmp_path / "output", "BTC", ladder(95_100.0, datetime.now(UTC)))
    with terminal(tmp_path) as it:
        it.shows("95,100.00")
        watcher = psutil.Process(it.process.pid)
        assert watcher.children(recursive=True) == []
        assert watcher.net_connections(kind="all") == []
        assert not (tmp_path / "postgres").exists()


def test_without_a_terminal_the_ladder_is_printed_once(tmp_path: Path) -> None:
    # An hour old: a current one may or may not be stale when the command has started.
    write_ladder(tmp_path / "output", "ETH", ladder(95_100.0, datetime.now(UTC) - timedelta(hours=1)))
    process = subprocess.run(
        COMMAND,
        env={**os.environ, "STRIKECAST_HOME": str(tmp_path), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0
    assert "ETH  95,100.00" in process.stdout
    assert "\x1b" not in process.stdout
    assert len(process.stdout.splitlines()) == 28  # including the reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no file for BTC yet: `strikecast up` writes it"),
        (["XRP"], "symbol 'XRP' is not configured"),
        (["../BTC"], "'../BTC' is not a symbol"),
    ],
)
def test_nothing_to_print_is_one_line_on_standard_error(tmp_path: Path, arguments: list[str], message: str) -> None:
    process = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "STRIKECAST_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert message in process.stderr
    assert len(process.stderr.splitlines()) == 1
