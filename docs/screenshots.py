"""Take the README's screenshots of a demonstration system: `make screenshots`.

Starts `strikecast demo` in a home folder of its own, opens the page, its paper desk and the asset graph in
headless Chromium, writes `page.png`, `desk.png` and `asset-graph.png` of `docs/images`, and stops it.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from pipelines.storage.postgres.embedded import temporary_server_folder

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "tests" / "support"))

from programs import chromium  # noqa: E402 (the tests' way to find it)


@contextmanager
def running(home: Path, pattern: str, *arguments: str) -> Iterator[str]:
    """A command of the CLI, up to the line of its output that matches; yields the match, and stops it at the end."""
    child = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        env={**os.environ, "STRIKECAST_HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert child.stdout is not None
        found = next((match for line in child.stdout if (match := re.search(pattern, line))), None)
        if found is None:
            raise SystemExit(f"strikecast {' '.join(arguments)} ended with {child.wait()}")
        yield found.group(1)
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=120)


def main() -> None:
    """Take the screenshots."""
    IMAGES.mkdir(exist_ok=True)
    with (
        temporary_server_folder("strikecast-") as folder,
        running(folder, r"page: (\S+)", "demo", "--port", "0") as page_url,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(page_url)
        page.wait_for_timeout(60_000)  # a minute of prices to draw
        page.screenshot(path=IMAGES / "page.png")
        page.goto(f"{page_url}/desk")
        page.wait_for_timeout(5_000)
        page.screenshot(path=IMAGES / "desk.png")
        graph = browser.new_page(viewport={"width": 2600, "height": 1700})
        graph.add_init_script("""localStorage.setItem('asset-graph-direction', '"vertical"')""")  # wide, not tall
        graph.goto(f"{json.loads((Path(folder) / 'up.json').read_text())['ui_url']}/asset-groups")
        graph.wait_for_timeout(20_000)
        graph.keyboard.press("Alt+KeyE")  # expands all groups, and shows all of the graph
        graph.wait_for_timeout(8_000)
        graph.screenshot(path=IMAGES / "asset-graph.png", clip={"x": 565, "y": 390, "width": 2010, "height": 955})


if __name__ == "__main__":
    main()
