"""Tables show every cell whole, at any width and in files."""

import io

import pytest
from rich.bar import Bar
from rich.console import Console
from rich.text import Text

from pipelines.cli import console
from pipelines.cli.tables import UNLIMITED, WholeTable

NAME = "20261129T103825Z-" + "a" * 60
REASON = "the newest backup of its week, kept because the policy keeps one of each of the last eight weeks"
NAMES = ("name", "rows", "reason")
ROWS = [(NAME, 1_234_567, REASON), (NAME.upper(), None, "two\nlines")]


def shown(table: WholeTable, width: int, *, terminal: bool = True) -> str:
    out = io.StringIO()
    target = Console(file=out, width=width, force_terminal=terminal, color_system=None, legacy_windows=False)
    target.print(table, crop=False)
    return out.getvalue()


@pytest.mark.parametrize("width", [20, 40, 79, 80, 100, 120, 200, UNLIMITED])
@pytest.mark.parametrize("prose", [(), ("reason",)])
def test_no_cell_is_cut_at_any_width(width: int, prose: tuple[str, ...]) -> None:
    text = shown(WholeTable(NAMES, ROWS, "backups", numbers=["rows"], prose=prose), width)
    for whole in (NAME, NAME.upper(), "1234567", "two", "lines", "backups", *NAMES):
        assert whole in text
    assert "…" not in text
    assert all(word in text.split() for word in REASON.split())


def test_a_table_that_fits_has_one_line_per_row_and_numbers_on_the_right() -> None:
    assert [
        line.rstrip() for line in shown(WholeTable(("a", "n"), [("x", 1), ("y", 100)], numbers="n"), 80).splitlines()
    ] == [
        "a    n",
        "──────",
        "x    1",
        "y  100",
    ]


def test_a_table_that_is_too_wide_is_printed_as_one_field_per_line() -> None:
    bar = Bar(1, 0, 1, width=30)
    table = WholeTable(
        ("name", "n", "", "reason"),
        [("abc", 1, bar, "one two three four five six seven"), ("d", 2, bar, None)],
        prose=["reason"],
    )
    assert shown(table, 36).splitlines() == [
        "name    abc",
        "n       1",
        "reason  one two three four five six",
        "        seven",
        "",
        "name    d",
        "n       2",
        "reason  ",
    ]


def test_prose_wraps_before_the_table_becomes_blocks() -> None:
    lines = shown(WholeTable(("name", "reason"), [("abc", REASON)], prose=["reason"]), 40).splitlines()
    assert lines[0].startswith("name  reason")
    assert max(map(len, lines)) <= 40


def test_a_file_is_as_wide_as_the_table_and_has_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(NAMES, [(NAME, 1, Text(REASON * 3, style="red"))], prose=["reason"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert NAME in out
    assert REASON * 3 in out
    assert "\x1b" not in out
