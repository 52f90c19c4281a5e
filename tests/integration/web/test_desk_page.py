"""The paper desk's page in Chromium, its JSON and its gauges, from what a desk has saved in the database."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from opened_pages import CONTRAST, outside
from page_server import Served, serving
from playwright.sync_api import Browser, BrowserContext, Page
from prometheus_client.parser import text_string_to_metric_families
from sample_desks import HOUR
from stored_desks import store_course

from pipelines.domain.desk.state import DeskState
from pipelines.storage.desk.switch import set_switch
from pipelines.storage.postgres.connection import Database, Role

pytestmark = pytest.mark.embedded_only
CHROMIUM = pytest.mark.needs("Chromium")
ONE_WIDTH = pytest.mark.parametrize("context", [(390, "light")], indirect=True)
SETTINGS = """
[markets]
source = "simulated"

[desk]
enabled = true
campaign = "shown"

[symbols.BTC]
strike_tier_usd = 250.0
series = ["KXBTCD"]
"""
CAMPAIGN = "demo-shown"
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture(scope="module")
def stored(database: Database) -> DeskState:
    """Two trades settled and one open, of the hour that closes next."""
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    return store_course(database, CAMPAIGN, until, 3)


@pytest.fixture(scope="module")
def served(database: Database, stored: DeskState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("desk")
    (home / "strikecast.toml").write_text(SETTINGS)
    with serving(home, database_url=database.url) as it:
        yield it


@pytest.fixture
def page(context: BrowserContext, served: Served) -> Page:
    opened = context.new_page()
    opened.goto(f"{served.url}/desk")
    opened.locator("#equity").wait_for()
    return opened


def order(database: Database, *, stopped: bool) -> None:
    with database.connect("test", Role.PIPELINE) as connection:
        set_switch(connection, CAMPAIGN, stopped, "an exercise", "a test")


def gauges(served: Served) -> dict[str, float]:
    families = text_string_to_metric_families(served.client.get("/metrics").text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_account_is_served_as_it_was_saved(served: Served, stored: DeskState) -> None:
    report = served.client.get("/api/desk").json()
    assert (report["campaign"], report["status"], report["simulated"]) == (CAMPAIGN, "running", True)
    assert Decimal(report["cash_usd"]) == stored.book.cash_usd
    assert Decimal(report["equity_usd"]) == stored.equity_usd
    assert [position["trade"] for position in report["positions"]] == sorted(stored.active)
    equity = served.client.get("/api/desk/equity").json()
    assert [value for _, value in equity][-1] == float(stored.equity_usd)
    assert [at for at, _ in equity] == sorted(at for at, _ in equity)


def test_trades_are_served_newest_first(served: Served, stored: DeskState) -> None:
    trades = served.client.get("/api/desk/trades").json()
    assert [trade["trade"] for trade in trades] == [3, 2, 1]
    assert Decimal(trades[1]["gain_usd"]) == stored.ended[2].gain_usd
    assert (trades[1]["stage"], trades[1]["result"]) == ("settled", "yes")
    assert [trade["trade"] for trade in served.client.get("/api/desk/trades?limit=1").json()] == [3]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "99999999999", "ten", "", "1.5", "\u0664"])
def test_a_limit_that_is_no_number_of_trades_is_refused(served: Served, limit: str) -> None:
    response = served.client.get("/api/desk/trades", params={"limit": limit})
    assert (response.status_code, response.json()["error"]) == (400, "limit must be a number from 1 to 1000")


def test_gauges_are_served_before_there_is_an_audit(served: Served, stored: DeskState) -> None:
    found = gauges(served)
    assert found["strikecast_desk_equity_usd"] == pytest.approx(float(stored.equity_usd))
    assert (found["strikecast_desk_open_positions"], found["strikecast_desk_stranded_positions"]) == (1, 0)


def test_gauges_are_served_after_those_of_the_audit(served: Served) -> None:
    report = served.home / "reports" / "strikecast.prom"
    report.parent.mkdir(exist_ok=True)
    report.write_text("# TYPE strikecast_audit_gaps gauge\nstrikecast_audit_gaps 2.0\n")
    assert {"strikecast_audit_gaps", "strikecast_desk_cash_usd"} <= gauges(served).keys()
    report.unlink()


def test_without_a_database_the_page_says_so_and_the_rest_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("nowhere"), database_url=NO_DATABASE) as it:
        page = it.client.get("/desk")
        assert (page.status_code, "127.0.0.1:1" in page.text) == (200, True)
        assert ">unavailable</p>" in page.text
        for path in ("/api/desk", "/api/desk/equity", "/api/desk/trades"):
            response = it.client.get(path)
            assert (response.status_code, "127.0.0.1:1" in response.json()["error"]) == (503, True), path
        assert it.client.get("/metrics").status_code == 404  # there is no audit either


def test_a_new_system_shows_a_desk_that_is_not_enabled(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(tmp_path_factory.mktemp("new"), database_url=database.url) as it:
        report = it.client.get("/api/desk").json()
        assert (report["status"], report["campaign"], report["equity_usd"]) == ("not enabled", "paper", None)
        assert it.client.get("/api/desk/trades").json() == []
        assert "No position is open." in it.client.get("/desk").text


@CHROMIUM
def test_the_page_fits_its_window_with_sufficient_contrast(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
    assert page.evaluate(outside("section")) == []
    assert page.evaluate(CONTRAST) == []
    for text in ("Paper", "Simulated"):
        assert page.locator(".marks strong").get_by_text(text, exact=True).is_visible()
    assert page.locator(".plot .line").bounding_box() is not None
    assert page.get_by_text("KXBTCD-").first.is_visible()


@CHROMIUM
@ONE_WIDTH
def test_the_page_follows_the_desk_without_reloading(page: Page, database: Database) -> None:
    page.evaluate("window.untouched = true")
    order(database, stopped=True)
    page.locator("#desk-status").get_by_text("stopped", exact=True).wait_for()
    assert page.locator(".account .reasons").inner_text().startswith("an exercise (by a test, ")
    order(database, stopped=False)
    page.locator("#desk-status").get_by_text("running", exact=True).wait_for()
    assert page.evaluate("window.untouched") is True


@CHROMIUM
@ONE_WIDTH
def test_an_answer_that_fails_is_no_connection_until_the_next(page: Page) -> None:
    page.route("**/desk", lambda route: route.abort())
    page.locator("#desk-status").get_by_text("no connection", exact=True).wait_for()
    assert "the server has not answered for" in page.locator(".account .reasons").inner_text()
    assert page.locator("#equity").inner_text() != ""
    page.unroute("**/desk")
    page.locator("#desk-status").get_by_text("running", exact=True).wait_for()


@CHROMIUM
@ONE_WIDTH
def test_a_server_that_never_answers_is_no_connection(page: Page) -> None:
    page.route("**/desk", lambda _: None)
    page.locator("#desk-status").get_by_text("no connection", exact=True).wait_for()
    page.unroute("**/desk")
    page.locator("#desk-status").get_by_text("running", exact=True).wait_for()


@CHROMIUM
def test_without_javascript_the_page_has_the_same_texts(browser: Browser, served: Served) -> None:
    texts = "(parts) => parts.map((part) => part.textContent.replace(/\\d+(\\.\\d)? s ago|\\d\\d:\\d\\d|\\s/g, ''))"
    found = []
    for enabled in (True, False):
        with browser.new_context(java_script_enabled=enabled) as context:
            page = context.new_page()
            page.goto(f"{served.url}/desk")
            found.append(page.locator("[data-part]").evaluate_all(texts))
    assert found[0] == found[1]
    assert len(found[0]) == 5


@CHROMIUM
def test_the_tab_leads_from_the_ladders_to_the_desk_and_back(page: Page) -> None:
    page.get_by_role("link", name="BTC", exact=True).click()
    page.locator("#ladder").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
    page.get_by_role("link", name="Paper desk", exact=True).click()
    page.locator("#desk-status").wait_for()
    assert page.url.endswith("/desk")
