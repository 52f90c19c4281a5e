"""What the command line shows of texts from elsewhere, and how it ends."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.live import Live
from rich.text import Text

from pipelines.cli import console, main
from pipelines.cli.tables import WholeTable
from pipelines.errors import MAX_MESSAGE, StrikecastError, single_line
from pipelines.service.log_setup import JsonHandler, command_log

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\r\x7f"


def shown(text: str) -> bool:
    """Whether nothing but line breaks controls the terminal."""
    return all(line.isprintable() for line in text.split("\n"))


def test_nothing_that_is_printed_controls_the_terminal() -> None:
    out = io.StringIO()
    target = console.PrintableConsole(file=out, highlight=False, width=200)
    target.print(HOSTILE, markup=False, soft_wrap=True)
    target.print(Text("at ") + Text(HOSTILE, style="bold"))
    target.print(WholeTable([HOSTILE], [[HOSTILE]], HOSTILE), crop=False)
    with Live(Text(HOSTILE), console=target, auto_refresh=False) as live:
        live.refresh()
    assert shown(out.getvalue())
    assert r"\x1b[2J\x9b31m\u202egnp.exe" in out.getvalue()


def test_colours_are_still_shown_on_a_terminal() -> None:
    out = io.StringIO()
    console.PrintableConsole(file=out, force_terminal=True, color_system="standard").print(Text("a", style="red"))
    assert out.getvalue() == "\x1b[31ma\x1b[0m\n"


def test_json_is_printable_and_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": HOSTILE + "\U000e0041 é", "files": ["a\nb"]}
    console.print_json(value)
    out = capsys.readouterr().out
    assert shown(out)
    assert json.loads(out) == value


def test_progress_is_one_bounded_line_on_the_terminal_and_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = JsonHandler(tmp_path / "commands.jsonl")
    command_log.addHandler(handler)
    try:
        console.log(f"{HOSTILE}\n{HOSTILE}" * 1_000)
    finally:
        command_log.removeHandler(handler)
        handler.close()
    (line,) = (tmp_path / "commands.jsonl").read_text().splitlines()
    assert line.isprintable()
    assert len(json.loads(line)["event"]) <= MAX_MESSAGE


def test_an_error_of_ours_is_printable_and_bounded_wherever_it_is_raised() -> None:
    message = str(StrikecastError(f"{HOSTILE}\n" * 1_000 + "do this"))
    assert message.isprintable()
    assert len(message) == MAX_MESSAGE
    assert message.startswith(r"\x1b]0;title")
    assert message.endswith("do this")
    assert single_line("plain  text\n with é") == "plain text with é"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError(f"{HOSTILE}\n" * 1_000), 70, "unexpected RuntimeError"),
        (RecursionError("deep"), 70, "unexpected RecursionError: deep"),
        (OSError(28, "No space left on device"), 1, "OSError: [Errno 28] No space left on device"),
        (StrikecastError(HOSTILE), 1, r"strikecast: \x1b]0;title"),
    ],
)
def test_any_error_ends_a_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.isprintable()
    for handler in command_log.handlers[1:]:
        command_log.removeHandler(handler)


@pytest.mark.slow
def test_a_command_on_hostile_files_ends_with_one_line(tmp_path: Path) -> None:
    name = b"\xff\x1b[31m.csv"
    path = bytes(tmp_path) + b"/" + name
    Path(path.decode(errors="surrogateescape")).write_bytes(b"\x1b[2J\n" * 100)
    command = [sys.executable, "-m", "pipelines.cli", "ingest", "BTC", "--dry-run", path]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(r"strikecast: \udcff\x1b[31m.csv: ")
    assert line.isprintable()
