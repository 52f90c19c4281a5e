"""The page in a real browser: Debian's Chromium, at desktop and phone width, light and dark."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from live_sessions import insert_tick
from page_server import Served, serving
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from programs import chromium
from sample_ladders import ladder, write_ladder
from waiting import TIMEOUT_SECONDS, avoid_hour_boundary

from pipelines.live.probability_writer import probabilities_path
from pipelines.storage.postgres.connection import Database

pytestmark = [pytest.mark.embedded_only, pytest.mark.needs("Chromium")]

PRICE, NEXT_PRICE, LATER_PRICE = 95_100.0, 95_333.25, 94_800.5
VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]) as it,
    ):
        yield it


@dataclass
class Opened:
    """A page, with its errors and requests."""

    page: Page
    served: Served
    folder: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def write(self, price: float) -> None:
        write_ladder(self.folder, "BTC", ladder(price, now()))

    def shows(self, selector: str, text: str) -> None:
        self.page.locator(selector).get_by_text(text, exact=True).wait_for(timeout=1_000 * TIMEOUT_SECONDS)

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()


@pytest.fixture(scope="module")
def served(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of this module."""
    with serving(tmp_path_factory.mktemp("page"), database_url=database.url) as it:
        yield it


@pytest.fixture
def folder(served: Served) -> Path:
    """Its output folder, with only a file of BTC."""
    output = served.home / "output"
    for path in output.glob("*"):
        path.unlink()
    write_ladder(output, "BTC", ladder(PRICE, now()))
    return output


@pytest.fixture(params=VIEWS, ids=[f"{width}-{scheme}" for width, scheme in VIEWS])
def context(request: pytest.FixtureRequest, browser: Browser) -> Iterator[BrowserContext]:
    width, scheme = request.param
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as it:
        it.set_default_timeout(1_000 * TIMEOUT_SECONDS)
        yield it


@pytest.fixture
def opened(context: BrowserContext, database: Database, served: Served, folder: Path) -> Opened:
    """The page of BTC after its first event, well before the end of the hour."""
    avoid_hour_boundary()
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE live_data.price_log")
    for seconds in (3, 2, 1):
        insert_tick(database, "BTC", PRICE + seconds, now() - timedelta(seconds=seconds))
    return open_page(context, served)


def open_page(context: BrowserContext, served: Served) -> Opened:
    """The page of BTC after it has been drawn."""
    it = Opened(context.new_page(), served, served.home / "output")
    it.page.on("console", lambda message: it.errors.append(message.text) if message.type == "error" else None)
    it.page.on("pageerror", lambda error: it.errors.append(str(error)))
    it.page.on("request", lambda request: it.requests.append(request.url))
    it.page.goto(served.url)
    it.page.locator("#curve circle").first.wait_for()
    return it


def test_the_page_follows_the_files_and_agrees_with_them(opened: Opened) -> None:
    opened.page.evaluate("window.untouched = true")
    for price in (NEXT_PRICE, LATER_PRICE):
        opened.write(price)
        opened.shows("#price", f"{price:,.2f}")
    payload = opened.served.client.get("/api/BTC").json()
    rows = list(reversed(payload["probabilities"]))
    assert opened.texts("#rungs th") == [f"{row['strike']:,}" for row in rows]
    assert opened.texts("#rungs .above") == [f"{row['positive_prob']:.2f}" for row in rows]
    assert opened.texts("#rungs .below") == [f"{row['negative_prob']:.2f}" for row in rows]
    dots = opened.page.locator("#curve circle").evaluate_all(
        "dots => dots.map(dot => [Number(dot.dataset.strike), Number(dot.dataset.percent), Number(dot.getAttribute('cy'))])"
    )
    assert [(strike, percent) for strike, percent, _ in dots] == [
        (row["strike"], row["positive_prob"]) for row in payload["probabilities"]
    ]
    heights = [height for _, _, height in dots]
    assert heights == sorted(heights)  # the curve falls: heights are counted from the top
    assert opened.page.locator("#hour .strike[data-strike]").get_attribute("data-strike") == str(payload["base_strike"])
    assert opened.texts("#mark") == [f"{LATER_PRICE:,.2f}"]
    under = opened.page.evaluate("document.getElementById('mark').nextElementSibling.querySelector('th').textContent")
    assert under == "94,750"
    assert opened.page.evaluate("window.untouched") is True  # never reloaded


def test_the_page_fits_its_window_and_loads_nothing_from_other_servers(opened: Opened) -> None:
    opened.write(NEXT_PRICE)
    opened.shows("#price", f"{NEXT_PRICE:,.2f}")
    width, window = opened.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window
    cut = opened.page.evaluate(
        "[...document.querySelectorAll('section *')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
    )
    assert cut == 0
    assert len(opened.requests) > 4
    assert [url for url in opened.requests if not url.startswith(opened.served.url)] == []
    # Without a session, /health responds 503, which the browser reports.
    assert [text for text in opened.errors if "503" not in text] == []


def test_all_text_has_sufficient_contrast(opened: Opened) -> None:
    poor = opened.page.evaluate(CONTRAST)
    assert poor == []


def test_the_history_comes_from_the_database_and_continues_with_the_files(opened: Opened) -> None:
    def points() -> int:
        return int(opened.page.locator("#hour path.line").get_attribute("data-points") or 0)

    stored = len(opened.served.client.get("/api/BTC/history").json())
    opened.page.wait_for_function(f"document.querySelector('#hour path.line').dataset.points >= {stored}")
    before = points()
    opened.write(NEXT_PRICE)
    opened.shows("#price", f"{NEXT_PRICE:,.2f}")
    assert points() == before + 1


@pytest.mark.parametrize("context", [(1280, "light")], indirect=True)
def test_prices_of_the_previous_hour_are_not_drawn(opened: Opened) -> None:
    opened.page.wait_for_function("document.querySelector('#hour path.line').dataset.points >= 1")
    before = opened.page.locator("#hour path.line").get_attribute("data-points")
    opened.page.evaluate("prices.unshift([hourStart() - 1000, 1.0]); drawHour(latest.payload)")
    assert opened.page.locator("#hour path.line").get_attribute("data-points") == before
    opened.write(NEXT_PRICE)
    opened.shows("#price", f"{NEXT_PRICE:,.2f}")
    assert opened.page.evaluate("prices[0][0] >= hourStart()") is True


@pytest.mark.parametrize("context", [(1280, "light")], indirect=True)
def test_an_unwritten_file_and_a_lost_server_are_shown(context: BrowserContext, tmp_path: Path) -> None:
    write_ladder(tmp_path / "output", "BTC", ladder(NEXT_PRICE, now()))
    with serving(tmp_path) as served:
        opened = open_page(context, served)
        opened.write(NEXT_PRICE)
        opened.shows("#status", "ok")
        opened.shows("#status", "stale")
        opened.shows("#status", "not written")
        assert opened.texts("#reasons")[0].startswith("no session writes this file")
        served.process.terminate()
        opened.shows("#status", "no connection")


@pytest.mark.parametrize("context", [(1280, "light")], indirect=True)
def test_another_symbol_is_shown_without_reloading_the_page(opened: Opened) -> None:
    opened.page.evaluate("window.untouched = true")
    opened.page.get_by_role("link", name="ETH").click()
    opened.shows("#status", "missing")
    assert opened.texts("#rungs th") == []
    write_ladder(opened.folder, "ETH", ladder(4_815.0, now()))
    opened.shows("#price", "4,815.00")
    assert opened.page.url.endswith("/?symbol=ETH")
    opened.page.go_back()
    opened.shows("#price", f"{PRICE:,.2f}")
    assert opened.page.evaluate("window.untouched") is True


def test_without_javascript_the_page_is_a_snapshot(browser: Browser, served: Served, folder: Path) -> None:
    with browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        page.goto(served.url)
        assert page.locator("#price").text_content() == f"{PRICE:,.2f}"
        rows = list(reversed(served.client.get("/api/BTC").json()["probabilities"]))
        assert page.locator("#rungs .above").all_text_contents() == [f"{row['positive_prob']:.2f}" for row in rows]
        assert page.locator("noscript p").first.is_visible()
        assert not page.locator("#curve").is_visible()
        headers = page.locator("thead th").all_text_contents()
        assert headers[:3] == ["strike", "move %", "≥ strike %"]
        probabilities_path(folder, "BTC").unlink()
        page.reload()
        assert page.locator("#status").text_content() == "missing"


#: Texts whose contrast with the nearest opaque ground is below 4.5 (WCAG 2 AA).
CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const found = channels(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length)
    .filter((e) => !e.closest("noscript, caption"))
    .map((e) => {
      const style = getComputedStyle(e);
      const [a, b] = [light(channels(e.closest("svg") ? style.fill : style.color)), light(ground(e))];
      return [e.textContent.trim().slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
}"""
