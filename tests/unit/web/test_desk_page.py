"""The paper desk for readers: its state in a word, its amounts, its page and its gauges."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sample_desks import HOUR, traded

from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.state import DeskState
from pipelines.domain.monitoring.desk_facts import STRANDED_AFTER, UNSAVED_AFTER
from pipelines.storage.desk.rows import EquityPoint, TradeRow
from pipelines.storage.desk.switch import Switch
from pipelines.web.desk import desk_metrics
from pipelines.web.desk_page import GAP, MAX_POINTS, NONE, DeskPage, equity_line, thinned
from pipelines.web.desk_report import NOT_ENABLED, DeskAccount, DeskStatus, StoredDesk, desk_report

UNTIL = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW = UNTIL - timedelta(minutes=3)
SAVED_AT = NOW - timedelta(seconds=20)
PAGE = DeskPage(lambda: ["BTC", "ETH"])


@pytest.fixture
def state() -> DeskState:
    """Three trades settled, one open."""
    return traded(UNTIL, 4)[0]


def account(state: DeskState | None, **stored: object) -> DeskAccount:
    saved_at = None if state is None else SAVED_AT
    trades = [] if state is None else sorted(state.ended.values(), key=lambda trade: -trade.number)
    rows = [TradeRow.of(trade) for trade in trades]
    given = StoredDesk(state, saved_at, None, (), rows)
    return DeskAccount("paper", True, False, replace(given, **stored))  # type: ignore[arg-type]


def texts(page: str) -> str:
    """What is read of a page: without tags, with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("</head>")[2]))


def test_the_state_is_one_word_with_its_reasons(state: DeskState) -> None:
    stop = Switch(True, "exchange maintenance", "ann", NOW)
    assert account(state).judge(NOW) == (DeskStatus.RUNNING, [])
    assert account(None).judge(NOW) == (DeskStatus.SILENT, ["no state of campaign paper has been saved yet"])
    assert replace(account(state), enabled=False).judge(NOW) == (DeskStatus.DISABLED, [NOT_ENABLED])
    stopped = account(state, switch=stop).judge(NOW)
    assert stopped == (DeskStatus.STOPPED, ["exchange maintenance (by ann, 2026-07-01 11:57 UTC)"])
    assert account(state, switch=replace(stop, stopped=False)).judge(NOW) == (DeskStatus.RUNNING, [])
    late = SAVED_AT + UNSAVED_AFTER + timedelta(seconds=1)
    assert account(state).judge(late - timedelta(seconds=1))[0] is DeskStatus.RUNNING
    silent, reasons = account(state, switch=stop).judge(late)
    assert (silent, len(reasons)) == (DeskStatus.SILENT, 2)
    state.breaches = {"daily loss": "600 USD were lost today, the limit is 500 USD"}
    state.daily_gain_usd = {state.at.date(): Decimal(-600)}
    assert account(state).judge(NOW) == (DeskStatus.LIMIT, list(state.breaches.values()))
    state.stopped = "by hand"
    assert account(state).judge(NOW) == (DeskStatus.STOPPED, ["by hand", *state.breaches.values()])


def test_an_order_to_start_counts_before_the_desk_obeys_it(state: DeskState) -> None:
    state.stopped = "by hand"
    started = account(state, switch=Switch(False, "go on", "ann", NOW))
    assert (started.judge(NOW)[0], desk_report(started, NOW)["stopped"]) == (DeskStatus.RUNNING, False)


def test_amounts_are_exact_and_agree(state: DeskState) -> None:
    report = desk_report(account(state), NOW)
    assert (report["mode"], report["simulated"], report["status"]) == ("paper", False, "running")
    assert report["fees_usd"] == "4.1936"
    assert report["cash_usd"] == "9991.0064"
    gains = Decimal(report["gain_usd"]) + Decimal(report["open_gain_usd"])
    assert Decimal(report["capital_usd"]) + gains == Decimal(report["equity_usd"])
    assert Decimal(report["gain_usd"]) == state.book.gain_usd
    assert report["daily_loss_limit_usd"] == "500"
    [position] = report["positions"]
    assert (position["side"], position["held_contracts"], position["cost_usd"]) == ("yes", "60", "31.2")
    assert (position["bid_usd"], position["probability"], position["seconds_to_close"]) == ("0.5", "0.62", 180)
    assert report["symbols"]["BTC"]["winning"] == 2
    assert report["rejections"] == {str(reason): n for reason, n in state.totals["BTC"].rejections.items()}


def test_without_a_state_amounts_are_not_known() -> None:
    report = desk_report(account(None), NOW)
    assert (report["equity_usd"], report["positions"], report["saved_at"]) == (None, [], None)
    assert report.keys() == desk_report(account(traded(UNTIL, 1)[0]), NOW).keys()


def test_a_position_past_its_close_is_marked_as_stranded(state: DeskState) -> None:
    late = UNTIL + STRANDED_AFTER + timedelta(seconds=1)
    [position] = desk_report(account(state), late)["positions"]
    assert (position["is_stranded"], position["seconds_to_close"]) == (True, 0)
    assert "stranded" in texts(PAGE.render(account(state), late))
    assert "stranded" not in texts(PAGE.render(account(state), NOW))


def test_the_page_has_the_account_its_trades_and_the_rejections(state: DeskState) -> None:
    shown = texts(PAGE.render(account(state), NOW))
    for text in (
        "Paper desk campaign paper",
        "Paper no order is sent to any exchange",
        "10,021.01",
        "gain +22.21 of closed positions, after all fees",
        "open gain -1.20 of open positions at the bid",
        "KXBTCD-26JUL0112-T95000 YES open 60 31.20 50 62.00 03:00",
        f"KXBTCD-26JUL0111-T95000 YES settled, no 60 52 {NONE} 1.05 -32.25 07-01 11:00",
        f"{Rejection.SPREAD} 88 88",
    ):
        assert text in shown, text
    assert "Simulated" not in shown
    assert "Simulated" in texts(PAGE.render(replace(account(state), simulated=True), NOW))


def test_an_account_that_cannot_be_read_is_not_shown_as_empty() -> None:
    shown = texts(PAGE.render(account(None), NOW, "the database at x does not answer"))
    assert "unavailable" in shown
    assert "the database at x does not answer" in shown
    assert "No position is open" not in shown
    assert "No position is open" in texts(PAGE.render(account(None), NOW))


def test_reasons_and_tickers_are_text(state: DeskState) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    page = PAGE.render(account(state, switch=Switch(True, hostile, hostile, NOW)), NOW, None)
    assert "<img" not in page
    assert page.count("&lt;img") == 2


def test_the_line_keeps_lowest_and_highest_values() -> None:
    points = [(NOW + timedelta(minutes=number), 100.0) for number in range(3_000)]
    points[1_234] = (points[1_234][0], 50.0)
    points[2_345] = (points[2_345][0], 150.0)
    shown = thinned(points)
    assert len(shown) <= MAX_POINTS
    assert {value for _, value in shown} == {50.0, 100.0, 150.0}
    assert shown == sorted(shown)
    assert shown[-1] == points[-1]
    assert thinned(points[:10]) == points[:10]


def test_the_line_is_interrupted_where_nothing_was_saved() -> None:
    def at(minutes: float, equity: float) -> EquityPoint:
        return EquityPoint(NOW + timedelta(minutes=minutes), equity, 0.0, 0.0)

    gap = GAP.total_seconds() / 60
    line = equity_line([at(0, 100), at(gap, 101), at(2 * gap + 1, 99)], 100.0)
    assert line is not None
    assert re.findall("[ML]", line.path) == ["M", "L", "M"]
    assert line.times == ("07-01 11:57", "07-01 12:28")
    assert equity_line([at(0, 100)], 100.0) is None


def test_gauges_have_the_amounts_of_the_account(state: DeskState) -> None:
    late = UNTIL + STRANDED_AFTER + timedelta(seconds=1)
    state.stopped = "by hand"
    content = desk_metrics(account(state), late).decode()
    found = {
        sample.name.removeprefix("strikecast_desk_"): (sample.labels, sample.value)
        for family in text_string_to_metric_families(content)
        for sample in family.samples
    }
    assert {labels["campaign"] for labels, _ in found.values()} == {"paper"}
    values = {name: value for name, (_, value) in found.items()}
    assert values["equity_usd"] == pytest.approx(10_021.0064)
    assert (values["open_positions"], values["stranded_positions"]) == (1, 1)
    assert (values["stopped"], values["enabled"], values["daily_loss_usd"]) == (1, 1, 0)
    assert values["saved_timestamp_seconds"] == SAVED_AT.timestamp()
    assert desk_metrics(account(None), NOW) == b""


def test_a_day_with_a_loss_shows_it_against_its_limit() -> None:
    state, _ = traded(UNTIL, 3)
    [trade] = state.trades()
    state.daily_gain_usd = {state.at.date(): Decimal(-500)}
    page = PAGE.render(account(state), trade.closes_at - HOUR / 2)
    assert '<dd class="loss">500.00 <small>limit 500.00</small></dd>' in page


def test_a_desk_that_ended_yesterday_has_lost_nothing_today(state: DeskState) -> None:
    state.daily_gain_usd = {state.at.date(): Decimal(-500)}
    state.breaches = {"daily loss": "500 USD were lost today, the limit is 500 USD", "positions of BTC": "11 positions"}
    midnight = NOW.replace(hour=0, minute=0) + timedelta(days=1)
    for now, loss, limits in ((midnight - timedelta(seconds=1), "500", 2), (midnight, "0", 1)):
        assert desk_report(account(state), now)["loss_today_usd"] == loss
        status, reasons = account(state, saved_at=now).judge(now)
        assert (status, len(reasons)) == (DeskStatus.LIMIT, limits)
        gauges = desk_metrics(account(state), now).decode()
        assert f'strikecast_desk_daily_loss_usd{{campaign="paper"}} {loss}.0' in gauges
        assert f'strikecast_desk_breaches{{campaign="paper"}} {limits}.0' in gauges
        assert ('<dd class="loss">500.00' in PAGE.render(account(state), now)) is (limits == 2)
