"""The page's strike tables in Chromium, at desktop and phone width, light and dark."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opened_pages import CONTRAST, Opened, folder_of, open_page, outside
from page_server import Served, serving
from playwright.sync_api import Browser, BrowserContext
from sample_strike_tables import ABOVE, RANGES, UP_OR_DOWN, strike_table, write_strike_table
from waiting import avoid_hour_boundary, wait_until

pytestmark = [pytest.mark.embedded_only, pytest.mark.needs("Chromium")]

PRICE, NEXT_PRICE = 95_100.0, 95_333.25
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
NONE = "\u2013"
ONE_WIDTH = pytest.mark.parametrize("context", [(390, "light")], indirect=True)
SETTINGS = """
[markets]
source = "kalshi"

[symbols.BTC]
strike_tier_usd = 250.0
series = ["KXBTCD", "KXBTC", "KXBTC15M"]

[symbols.ETH]
strike_tier_usd = 20.0
"""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server, without a database, for all tests of this module."""
    home = tmp_path_factory.mktemp("markets")
    (home / "strikecast.toml").write_text(SETTINGS)
    with serving(home, database_url=NO_DATABASE) as it:
        yield it


@pytest.fixture
def folder(served: Served) -> Path:
    """Its output folder, with only the probability file of BTC."""
    return folder_of(served, PRICE)


@pytest.fixture
def opened(context: BrowserContext, served: Served, folder: Path) -> Opened:
    """The page of BTC without a strike table, well before the end of the hour."""
    avoid_hour_boundary()
    return open_page(context, served)


def write(opened: Opened, price: float = PRICE, **fields: Any) -> dict[str, Any]:
    """Write a strike table of now."""
    payload = strike_table(price, now(), **fields)
    series = payload["series_ticker"]
    write_strike_table(opened.folder, payload, None if series == ABOVE else series)
    return payload


def show(opened: Opened, price: float = PRICE, **fields: Any) -> dict[str, Any]:
    """Write a table until the page shows it."""
    payload = write(opened, price, **fields)
    opened.page.locator(f'.market[data-series="{payload["series_ticker"]}"] tbody th').first.wait_for()
    return payload


def columns(opened: Opened, *names: str, series: str = ABOVE) -> list[list[str]]:
    """Texts of columns at one instant, highest strike first."""
    script = """(names) => names.map((name) =>
      [...document.querySelectorAll(`.market[data-series="SERIES"] tbody .${name}`)].map((cell) => cell.textContent))"""
    found: list[list[str]] = opened.page.evaluate(script.replace("SERIES", series), list(names))
    return found


def shows_quotes(opened: Opened, price: float = PRICE, **fields: Any) -> None:
    """Write the table again and again, since its quotes vanish, until the page shows its numbers."""
    rows = sorted(strike_table(price, now(), **fields)["strikes"], key=lambda row: -row["strike"])

    def number(row: dict[str, Any], name: str) -> str:
        return NONE if row[name] is None else str(row[name])

    def edge(row: dict[str, Any]) -> str:
        edges = [("YES", row["edge_yes"]), ("NO", row["edge_no"])]
        side, points = max((one for one in edges if one[1] is not None), key=lambda one: one[1])
        return f"{side} {points:+.2f}"

    def agrees() -> bool:
        rows[:] = sorted(write(opened, price, **fields)["strikes"], key=lambda row: -row["strike"])
        opened.page.wait_for_timeout(150)
        return columns(opened, "strike", "model", "bid", "ask", "edge") == [
            [f"{row['strike']:,.0f}" for row in rows],
            [f"{row['yes_probability']:.2f}" for row in rows],
            [number(row, "yes_bid") for row in rows],
            [number(row, "yes_ask") for row in rows],
            [edge(row) for row in rows],
        ]

    wait_until(agrees, "the numbers of the file")


def shown(opened: Opened, name: str) -> list[str]:
    """Texts of a column of the first table, highest strike first."""
    return columns(opened, name)[0]


def state(opened: Opened, text: str) -> None:
    """Wait for the state of the first table."""
    opened.shows(".market .badge", text)


def test_without_a_strike_table_nothing_is_shown(opened: Opened) -> None:
    opened.write(NEXT_PRICE)
    opened.shows("#price", f"{NEXT_PRICE:,.2f}")
    assert opened.page.locator(".market").count() == 0
    assert opened.page.locator("#markets").is_hidden()
    assert [text for text in opened.errors if "503" not in text] == []


def test_a_table_is_sorted_by_strike_and_has_the_numbers_of_the_file(opened: Opened) -> None:
    show(opened)
    shows_quotes(opened)
    gains = "[...document.querySelectorAll('.market .edge')].map((e) => [e.textContent, e.closest('tr').dataset.edge])"
    marked = [(text, kind) for text, kind in opened.page.evaluate(gains) if text != NONE]
    assert all(kind == ("gain" if "+" in text else "loss") for text, kind in marked)
    assert opened.texts(".market .mark") == [f"{PRICE:,.2f}"]
    under = "document.querySelector('.market .mark').nextElementSibling.querySelector('.strike').textContent"
    assert opened.page.evaluate(under) == "95,000"


def test_a_table_follows_its_file_without_reloading_the_page(opened: Opened) -> None:
    show(opened)
    opened.page.evaluate("window.untouched = true")
    row = opened.page.locator(".market tbody tr").first
    row.evaluate("row => { row.untouched = true; }")
    shows_quotes(opened, NEXT_PRICE, seed=7, market_title="Another event", broker="simulated")
    assert opened.texts(".market .mark") == [f"{NEXT_PRICE:,.2f}"]
    assert opened.texts(".market h2") == ["Another event"]
    assert opened.page.locator(".market .simulated").is_visible()
    assert opened.page.evaluate("window.untouched") is True
    assert row.evaluate("row => row.untouched") is True
    assert [text for text in opened.errors if "503" not in text] == []


def test_all_series_fit_their_cards_with_sufficient_contrast(opened: Opened) -> None:
    for series in (UP_OR_DOWN, RANGES, ABOVE):
        show(opened, series=series, broker="simulated", pool={"served": "mid", "reason": "too few events " * 12})
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
    assert opened.page.evaluate(outside(".market")) == []
    for place in range(3):
        write(opened, series=(ABOVE, RANGES, UP_OR_DOWN)[place], broker="simulated")
    assert opened.page.evaluate(CONTRAST) == []
    sections = opened.page.locator(".market").evaluate_all("cards => cards.map((card) => card.dataset.series)")
    assert sections == [ABOVE, RANGES, UP_OR_DOWN], "in the order of the settings"
    for name in ("strike", "pct", "bid", "ask", "ask_size", "model", "pooled", "edge", "fee", "age"):
        assert opened.page.locator(f".market tbody .{name}").first.is_visible(), name


def test_a_range_that_contains_the_price_is_marked(opened: Opened) -> None:
    show(opened, series=RANGES)
    here = opened.page.locator(".market .here")
    assert here.locator(".strike").all_text_contents() == ["95,000 to 95,249.99"]
    assert here.locator(".usd").all_text_contents() == [f"{PRICE:,.2f}"]
    assert here.locator(".usd").is_visible()
    assert opened.page.locator(".market .mark").count() == 0
    assert columns(opened, "strike", series=RANGES)[0][-1] == "below 92,750"


@ONE_WIDTH
def test_a_simulated_exchange_is_marked_and_the_real_one_is_not(opened: Opened) -> None:
    show(opened)
    assert opened.page.locator(".market .simulated").is_hidden()
    assert opened.texts('.market [data-text="broker"]') == ["Kalshi"]
    write(opened, broker="simulated")
    opened.shows('.market [data-text="broker"]', "simulated exchange")
    assert opened.page.locator(".market .simulated").is_visible()
    assert opened.page.get_by_text("these are no real quotes").is_visible()


@ONE_WIDTH
@pytest.mark.parametrize(
    ("status", "word", "reason"),
    [
        ("halted: the exchange does not trade", "halted", ["the exchange does not trade"]),
        ("closed", "closed", []),
        ("no event", "no event", []),
        ("unavailable: events of KXBTCD: timed out", "unavailable", ["events of KXBTCD: timed out"]),
    ],
)
def test_a_market_that_is_not_open_says_why_and_has_no_quotes(
    opened: Opened, status: str, word: str, reason: list[str]
) -> None:
    show(opened)
    write(opened, market_status=status)
    state(opened, word)
    assert opened.texts(".market .reasons li") == reason
    for name in ("bid", "ask", "pooled", "edge"):
        assert set(shown(opened, name)) == {NONE}
    assert opened.page.locator('[data-edge="gain"]').count() == 0
    assert NONE not in shown(opened, "model")


@ONE_WIDTH
def test_a_failing_feed_is_a_warning_of_the_health_section(opened: Opened) -> None:
    warning = "quotes of BTC KXBTCD are unavailable: events of KXBTCD: timed out"

    def is_shown() -> bool:
        write(opened, market_status="unavailable: events of KXBTCD: timed out")
        return warning in opened.texts("#health-warnings li")

    wait_until(is_shown, "the warning")
    assert not any("KXBTCD" in text for text in opened.texts("#problems li"))


@ONE_WIDTH
def test_quotes_vanish_when_they_are_old_and_the_file_is_not_written(opened: Opened) -> None:
    show(opened)
    shows_quotes(opened)
    wait_until(lambda: set(shown(opened, "ask")) == {NONE}, "the quotes to vanish")
    assert [set(texts) for texts in columns(opened, "bid_size", "edge", "pooled")] == [{""}, {NONE}, {NONE}]
    assert opened.page.locator('[data-edge="gain"]').count() == 0
    state(opened, "not written")
    assert opened.texts(".market .reasons")[0].startswith("the file is not being written")
    assert "s" in shown(opened, "age")[0]


@ONE_WIDTH
def test_a_removed_file_and_another_symbol_take_the_table_away(opened: Opened) -> None:
    show(opened)
    (opened.folder / "btc_strike_table.json").unlink()
    opened.page.locator(".market").wait_for(state="detached")
    show(opened)
    opened.page.get_by_role("link", name="ETH", exact=True).click()
    opened.shows("#status", "missing")
    assert opened.page.locator(".market").count() == 0
    opened.page.go_back()
    opened.page.locator(".market").wait_for()


@ONE_WIDTH
def test_hostile_titles_and_reasons_are_text(opened: Opened) -> None:
    hostile = "<img src=x onerror=window.hacked=1>\u202e\x1b[2J" + "W" * 150
    show(opened, market_title=hostile, pool={"served": "mid", "reason": hostile}, warnings=[hostile])
    write(opened, market_status=f"halted: {hostile}", market_title=hostile)
    state(opened, "halted")
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator(".market img").count() == 0
    assert "\u202e" not in opened.texts(".market")[0]
    assert opened.texts(".market h2")[0].startswith("<img src=x onerror=window.hacked=1>\\u202e\\x1b[2J")
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
    assert opened.page.evaluate(outside(".market")) == []


def test_without_javascript_the_page_has_the_same_texts(
    browser: Browser, context: BrowserContext, opened: Opened
) -> None:
    series = (ABOVE, RANGES)
    for one in series:
        show(opened, series=one)
    texts = "(cards) => cards.map((card) => card.textContent.replace(/\\d+\\.\\d s|\\d\\d:\\d\\d|\\s/g, ''))"
    with browser.new_context(java_script_enabled=False) as other:
        page = other.new_page()

        def agrees() -> bool:
            for one in series:
                write(opened, series=one)
            page.goto(opened.served.url)
            both = [each.locator(".market").evaluate_all(texts) for each in (page, opened.page)]
            return both[0] == both[1] and "YES+" in both[0][0]

        wait_until(agrees, "the same texts")


@ONE_WIDTH
def test_an_event_of_tomorrow_has_hours_to_its_close(opened: Opened) -> None:
    show(opened, market_close=f"{now() + timedelta(hours=25):%Y-%m-%dT%H:%M:%S}Z")
    text = opened.texts('.market [data-text="closes_in"]')[0]
    assert re.fullmatch(r"2[45]:\d\d:\d\d", text), text
