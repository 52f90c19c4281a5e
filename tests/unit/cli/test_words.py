"""Every display of a ladder asks what the market asks, in the same words: closing at or above the strike."""

import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console
from sample_ladders import ladder

from pipelines.cli import console
from pipelines.cli.watch import screen
from pipelines.live.probability_reader import view_of

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)
FIRST, SECOND = "at or above %", "below %"
#: Words that earlier displays had for the same, or in the opposite sense below the price.
OLD = re.compile(r"reach %|≥ strike|&lt; strike|stay %|\bbeyond %", re.IGNORECASE)
VISIBLE = [
    *(ROOT / "pipelines" / "cli").glob("*.py"),
    *(ROOT / "pipelines" / "web").glob("*/*.*"),
    *(ROOT / "pipelines" / "evaluation").glob("*.*"),
    ROOT / "README.md",
    *(ROOT / "docs").glob("*.md"),
]


def test_ladder_and_watch_show_at_or_above_first(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_ladder("BTC", ladder(95_100.0, NOW))
    out = StringIO()
    Console(file=out, width=100).print(screen(view_of("BTC", orjson.dumps(ladder(95_100.0, NOW)), NOW), 100, None))
    for text in (capsys.readouterr().out, out.getvalue()):
        assert FIRST in text
        assert text.index(FIRST) < text.index(SECOND)


def test_the_page_has_the_same_headings() -> None:
    page = (ROOT / "pipelines" / "web" / "templates" / "page.html").read_text()
    headings = re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', page)
    assert headings == ["strike", "move %", FIRST, SECOND, "95 % interval", "closed at or above"]


@pytest.mark.parametrize("path", VISIBLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_display_or_page_has_an_old_word(path: Path) -> None:
    assert OLD.search(path.read_text()) is None
