"""The page in headless Chromium, at desktop and phone width, light and dark."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from page_server import Served
from playwright.sync_api import Browser, BrowserContext, Page
from sample_ladders import ladder, write_ladder
from waiting import TIMEOUT_SECONDS

VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


def folder_of(served: Served, price: float) -> Path:
    """The output folder of a server, with only a current probability file of BTC at a price, USD."""
    output = served.home / "output"
    for path in output.glob("*"):
        path.unlink()
    write_ladder(output, "BTC", ladder(price, datetime.now(UTC)))
    return output


@dataclass
class Opened:
    """A page, with its errors and requests."""

    page: Page
    served: Served
    folder: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def write(self, price: float) -> None:
        write_ladder(self.folder, "BTC", ladder(price, datetime.now(UTC)))

    def shows(self, selector: str, text: str) -> None:
        self.page.locator(selector).get_by_text(text, exact=True).wait_for(timeout=1_000 * TIMEOUT_SECONDS)

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()


@pytest.fixture(params=VIEWS, ids=[f"{width}-{scheme}" for width, scheme in VIEWS])
def context(request: pytest.FixtureRequest, browser: Browser) -> Iterator[BrowserContext]:
    width, scheme = request.param
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as it:
        it.set_default_timeout(1_000 * TIMEOUT_SECONDS)
        yield it


def open_page(context: BrowserContext, served: Served) -> Opened:
    """The page of BTC after it has been drawn."""
    it = Opened(context.new_page(), served, served.home / "output")
    it.page.on("console", lambda message: it.errors.append(message.text) if message.type == "error" else None)
    it.page.on("pageerror", lambda error: it.errors.append(str(error)))
    it.page.on("request", lambda request: it.requests.append(request.url))
    it.page.goto(served.url)
    it.page.locator("#curve circle").first.wait_for()
    return it


def outside(card: str) -> str:
    """A script that returns the elements of a card that extend over its padding; `card`: its CSS selector."""
    return f"[...document.querySelectorAll({card!r})].flatMap({OUTSIDE})"


#: Elements that extend over the padding of their card.
OUTSIDE = """(card) => {
  const edge = card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight);
  const range = document.createRange();
  const right = (e) => { range.selectNodeContents(e); return Math.max(range.getBoundingClientRect().right, e.getBoundingClientRect().right); };
  return [...card.querySelectorAll("*")].filter((e) => right(e) > edge).map((e) => e.outerHTML);
}"""

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
