"""The page in a real browser: Debian's Chromium, at desktop and phone width, light and dark."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from live_sessions import insert_tick
from opened_pages import CONTRAST, Opened, folder_of, open_page, outside
from page_server import Served, serving
from past_answers import store_answer
from playwright.sync_api import Browser, BrowserContext
from sample_ladders import ladder, write_ladder
from waiting import avoid_hour_boundary

from pipelines.live.probability_writer import probabilities_path
from pipelines.storage.postgres.connection import Database

pytestmark = [pytest.mark.embedded_only, pytest.mark.needs("Chromium")]

PRICE, NEXT_PRICE, LATER_PRICE = 95_100.0, 95_333.25, 94_800.5


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def served(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of this module."""
    with serving(tmp_path_factory.mktemp("page"), database_url=database.url) as it:
        yield it


@pytest.fixture
def folder(served: Served) -> Path:
    """Its output folder, with only a file of BTC."""
    return folder_of(served, PRICE)


@pytest.fixture
def opened(context: BrowserContext, database: Database, served: Served, folder: Path) -> Opened:
    """The page of BTC after its first event, well before the end of the hour."""
    avoid_hour_boundary()
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE live_data.price_log")
    for seconds in (3, 2, 1):
        insert_tick(database, "BTC", PRICE + seconds, now() - timedelta(seconds=seconds))
    return open_page(context, served)


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
        (row["strike"], row["positive_prob"])
        for row in payload["probabilities"]
        if payload["curve"][0]["price"] <= row["strike"] <= payload["curve"][-1]["price"]
    ]
    assert len(dots) > 10
    assert opened.page.locator("#curve path.line").get_attribute("data-points") == str(len(payload["curve"]))
    quantiles = [f"{row['price']:,.2f}" for row in payload["quantiles"]]
    assert opened.texts("#quantiles dd") == quantiles
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


def test_a_replay_has_a_banner(opened: Opened) -> None:
    assert opened.page.locator("#notice").is_hidden()
    replayed_at = now() - timedelta(days=100)
    write_ladder(opened.folder, "BTC", ladder(NEXT_PRICE, now(), source="replay", replayed_at=replayed_at))
    opened.shows("#status", "replay")
    assert opened.texts("#notice span") == [
        f"replayed prices of {replayed_at:%Y-%m-%d %H:%M} UTC, not the market's prices now"
    ]
    assert opened.page.locator("#notice").is_visible()
    opened.page.reload()
    assert opened.page.locator("#notice").is_visible()
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth") is True
    opened.write(LATER_PRICE)
    opened.shows("#price", f"{LATER_PRICE:,.2f}")
    assert opened.page.locator("#notice").is_hidden()


def choose(opened: Opened, at: datetime) -> None:
    opened.page.locator("#at").fill(f"{at:%Y-%m-%dT%H:%M}")


def answers_link(opened: Opened) -> str | None:
    return opened.page.locator("#answers-link").get_attribute("href")


@pytest.fixture
def stored_at(database: Database) -> datetime:
    """A minute of yesterday with a stored answer, the only one."""
    at = (now() - timedelta(days=1)).replace(minute=40, second=0, microsecond=0)
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE live_data.answer")
    store_answer(database, at, closing_price=100.1)
    return at


def test_a_past_minute_replaces_the_ladder_until_the_user_goes_back(opened: Opened, stored_at: datetime) -> None:
    at = stored_at
    choose(opened, at)
    opened.shows("#rungs th", "100.25")
    assert opened.texts("#rungs .above") == ["10.25", "\u2013", "79.50"]
    assert opened.texts("#rungs .outcome") == ["no", "yes", "yes"]
    assert opened.page.locator("#rungs .outcome").first.is_visible()
    text = opened.texts("#past-text")[0]
    assert text.startswith(f"{at:%Y-%m-%d %H:%M} UTC: price 100.00, 900 s to the close; closed at 100.10 (last price).")
    assert "as answered then" in text
    assert answers_link(opened) == f"/api/BTC/answers.csv?day={at:%Y-%m-%d}"
    assert opened.page.evaluate(outside("#ladder")) == []
    for absent in ("#quantiles", "thead .interval", ".legend .interval"):  # not stored
        assert opened.page.locator(absent).is_hidden()
    opened.write(NEXT_PRICE)
    opened.shows("#price", f"{NEXT_PRICE:,.2f}")
    assert opened.texts("#mark") == ["100.00"]  # the live price goes on, the ladder is still the past one
    opened.page.get_by_role("button", name="Back to now").click()
    opened.shows("#mark", f"{NEXT_PRICE:,.2f}")
    assert opened.page.locator("#past").is_hidden()
    assert opened.page.locator("#rungs .outcome").first.is_hidden()
    assert opened.page.locator("#quantiles").is_visible()
    assert opened.page.locator(".legend .interval").is_visible()
    assert opened.page.evaluate(CONTRAST) == []


def test_a_computed_past_minute_fits_its_card(opened: Opened) -> None:
    live = ladder(PRICE, now())
    outcomes = [row["strike"] <= PRICE for row in live["probabilities"]]
    computed = live | {"at": "2026-07-01T12:35:00Z", "origin": "computed", "built_to": None, "ttc_seconds": 1500}
    computed |= {"closing_price": PRICE, "closed_at_or_above": outcomes}
    opened.page.route("**/past?*", lambda route: route.fulfill(json=computed))
    choose(opened, now() - timedelta(days=1))
    opened.page.locator("#rungs .outcome").first.wait_for()
    assert opened.page.locator(".legend .interval").is_visible()
    assert opened.page.evaluate(outside("#ladder")) == []
    labels = "[...document.querySelectorAll('#quantiles div')].map(e => Math.round(e.getBoundingClientRect().height))"
    assert len(set(opened.page.evaluate(labels))) == 1


@pytest.mark.parametrize("context", [(1280, "light")], indirect=True)
def test_a_minute_without_data_is_refused_with_its_reason_and_without_answers(
    opened: Opened, stored_at: datetime
) -> None:
    def empty() -> bool:
        answers = opened.page.locator("#rungs th, #curve *").count()
        return answers == 0 and set(opened.texts("#quantiles dd")) == {"\u2013"}

    missing, future = now() - timedelta(days=1000), now() + timedelta(days=1)
    for at, reason in ((missing, "no generation is published for BTC"), (future, "is not past")):
        choose(opened, at)
        opened.page.get_by_text(reason).wait_for()
        assert empty()
        assert answers_link(opened) == f"/api/BTC/answers.csv?day={at:%Y-%m-%d}"
        opened.write(NEXT_PRICE if at == missing else LATER_PRICE)
        opened.shows("#price", f"{NEXT_PRICE if at == missing else LATER_PRICE:,.2f}")
        assert empty()
        choose(opened, stored_at)
        opened.shows("#rungs th", "100.25")
    opened.page.route("**/past?*", lambda _: None)  # never answered
    choose(opened, stored_at - timedelta(minutes=1))
    opened.page.get_by_text("reading").wait_for()
    assert empty()


@pytest.mark.parametrize("context", [(1280, "light")], indirect=True)
def test_the_address_names_the_past_minute(opened: Opened, stored_at: datetime) -> None:
    choose(opened, stored_at)
    opened.shows("#rungs th", "100.25")
    assert opened.page.url == f"{opened.served.url}/?symbol=BTC&at={stored_at:%Y-%m-%dT%H:%M}Z"
    opened.page.reload()
    opened.shows("#rungs th", "100.25")
    assert opened.page.locator("#at").input_value() == f"{stored_at:%Y-%m-%dT%H:%M}"
    opened.page.locator("#health-pill").click()  # a link within the page
    assert opened.texts("#rungs th")[0] == "100.25"
    assert [text for text in opened.errors if "503" not in text] == []
    opened.page.get_by_role("link", name="ETH").click()
    opened.shows("#status", "missing")
    assert opened.page.locator("#past").is_hidden()
    opened.page.go_back()
    opened.shows("#rungs th", "100.25")
    opened.page.get_by_role("button", name="Back to now").click()
    opened.shows("#mark", f"{PRICE:,.2f}")
    assert opened.page.url == f"{opened.served.url}/?symbol=BTC"
    opened.page.goto(f"{opened.served.url}/?symbol=BTC&at=yesterday")
    opened.page.get_by_text("at must be a minute in UTC").wait_for()


@pytest.mark.parametrize("context", [(1280, "light")], indirect=True)
def test_an_unwritten_file_and_a_lost_server_are_shown(context: BrowserContext, tmp_path: Path) -> None:
    write_ladder(tmp_path / "output", "BTC", ladder(NEXT_PRICE, now()))
    with serving(tmp_path) as served:
        opened = open_page(context, served)
        opened.write(NEXT_PRICE)
        opened.shows("#status", "ok")
        opened.shows("#status", "stale")
        opened.shows("#status", "not written")
        assert opened.texts("#reasons")[0].startswith("the file is not being written")
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
        assert headers[:3] == ["strike", "move %", "at or above %"]
        probabilities_path(folder, "BTC").unlink()
        page.reload()
        assert page.locator("#status").text_content() == "missing"
