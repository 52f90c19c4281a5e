"""Limits stop entries, are reported once, and end nothing that is open; so does the kill switch."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from paper_desk import CLOSE, OPEN, TICKER, T, board, bought, desk, kinds, market, only, result, seconds

from pipelines.domain.desk.desk import apply, apply_all
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.inputs import RulesInput, SwitchInput
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.rules import Exit
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Stage

SOON = T + seconds(2)
LATER = T + seconds(100)


def at_work(**rules: Any) -> DeskState:
    """A desk that has 30 of 100 contracts of the market, and an untouched order in another event."""
    state = desk(**{"stake_usd": Decimal(44), **rules})
    apply(state, board())
    apply(state, board(market(T + seconds(1), size="30"), at=T + seconds(1)))
    apply(state, board(market(T + seconds(1), ticker="other"), at=T + seconds(1), event_ticker="E2"))
    assert [trade.held for trade in state.active.values()] == [30, 0]
    return state


def change(state: DeskState, at: datetime = SOON, **rules: Any) -> list[DeskEvent]:
    return apply(state, RulesInput(at, replace(state.rules, **rules)))


def lost(at: datetime = CLOSE, **rules: Any) -> tuple[DeskState, list[DeskEvent]]:
    """A desk that has lost 21 dollars and a fee, with a limit of 20."""
    state = bought(daily_loss_usd=Decimal(20), **rules)
    return state, apply(state, result("no", at))


def test_the_rules_that_changed_are_named() -> None:
    (event,) = change(desk(), positions_per_event=2, stake_usd=Decimal(40))
    assert event.kind is EventKind.RULES
    assert event.reason == "changed: stake_usd from 50 to 40, positions_per_event from 1 to 2"


def test_capital_of_a_campaign_does_not_follow_its_rules() -> None:
    state = desk()
    change(state, capital_usd=Decimal(500))
    assert state.book.cash_usd == 10_000


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"capital_per_symbol_usd": Decimal(50)}, "capital of BTC"),
        ({"positions_per_symbol": 1}, "positions of BTC"),
        ({"positions_per_event": 0}, "positions of E2"),
    ],
    ids=["capital", "symbol", "event"],
)
def test_a_limit_lowered_below_what_is_open_cancels_entries_and_keeps_positions(
    changes: dict[str, Any], name: str
) -> None:
    state = at_work()
    events = change(state, **changes)
    assert kinds(events)[:3] == ["rules", "breach", "cancel"]
    assert only(events, EventKind.CANCEL)[0].reason == f"the limit of {name} is exceeded"
    assert state.active[1].stage is Stage.OPEN
    assert state.active[1].held == 30


def test_a_breach_is_reported_once_and_again_only_after_the_limit_was_kept() -> None:
    state = at_work(capital_per_symbol_usd=Decimal(100))
    assert kinds(change(state, capital_per_symbol_usd=Decimal(10)))[:2] == ["rules", "breach"]
    for after in range(3, 8):
        assert apply(state, board(market(T + seconds(after)), at=T + seconds(after))) == []
    assert state.breaches == {"capital of BTC": "BTC binds 12.6 USD, the limit is 10 USD"}
    assert kinds(change(state, T + seconds(9), capital_per_symbol_usd=Decimal(13))) == ["rules", "kept"]
    assert kinds(change(state, T + seconds(10), capital_per_symbol_usd=Decimal(5))) == ["rules", "breach"]


def test_a_limit_lowered_to_what_is_open_is_no_breach_but_nothing_is_entered() -> None:
    state = bought()
    assert kinds(change(state, LATER, capital_per_symbol_usd=Decimal(21), positions_per_event=5)) == ["rules"]
    apply(state, board(market(LATER, ticker="other"), at=LATER))
    assert state.totals["BTC"].rejections[Rejection.CAPITAL] == 1


def test_a_lowered_stake_stops_an_order_that_has_cost_as_much() -> None:
    state = at_work()
    change(state, stake_usd=Decimal(15))
    apply(state, board(market(T + seconds(3)), at=T + seconds(3)))
    assert state.active[1].held == 34  # 14.87 dollars with the fees


def test_the_daily_loss_stops_entries_and_says_so_once() -> None:
    state, events = lost()
    assert kinds(events) == ["settle", "breach"]
    assert events[1].reason == "21.8526 USD were lost today, the limit is 20 USD"
    for after in (1, 2):
        at = CLOSE + seconds(after)
        given = board(market(at), at=at, event_ticker="E2", closes_at=CLOSE + timedelta(minutes=59))
        assert apply(state, given) == []
    assert state.totals["BTC"].rejections[Rejection.DAILY_LOSS] == 2


def test_the_daily_loss_cancels_entries_of_all_symbols_and_lets_positions_be_sold() -> None:
    state = bought(daily_loss_usd=Decimal(20), exit=Exit.EDGE, positions_per_event=2)
    for after in (100, 101):
        at = T + seconds(after)
        apply(state, board(market(at, ticker="ether"), at=at, symbol="ETH", event_ticker="E2"))
    apply(state, board(market(LATER, ticker="coin"), at=T + seconds(101), symbol="ETH", event_ticker="E3"))
    assert len(state.active) == 3
    events = apply(state, result("no", T + seconds(102), ticker="ether"))
    assert kinds(events) == ["settle", "breach", "cancel", "end"]
    at = T + seconds(103)
    assert kinds(apply(state, board(market(at, bid="0.60", ask="0.62"), at=at))) == ["sale_signal"]


def test_the_loss_of_a_day_ends_at_midnight_utc() -> None:
    midnight = datetime(2026, 3, 22, tzinfo=UTC)
    state, _ = lost(midnight - timedelta(microseconds=1))
    assert state.loss_today_usd == Decimal("21.8526")
    event = {"event_ticker": "E2", "closes_at": midnight + timedelta(minutes=30)}
    before = midnight - timedelta(microseconds=1)
    assert apply(state, board(market(before, ticker="other"), at=before, **event)) == []
    events = apply(state, board(market(midnight, ticker="other"), at=midnight, **event))
    assert kinds(events) == ["signal", "kept"]
    assert events[1].reason == "daily loss is within its limit again"
    assert state.loss_today_usd == 0


def test_a_gain_of_the_day_offsets_its_losses() -> None:
    state, _ = lost()
    assert kinds(apply(state, result("yes", CLOSE + seconds(60)))) == ["revise", "kept"]
    assert state.loss_today_usd == 0


def test_stopping_cancels_entries_at_work_and_starting_enters_again() -> None:
    state = at_work()
    events = apply(state, SwitchInput(T + seconds(2), stopped=True, reason="a test"))
    assert kinds(events) == ["stop", "cancel", "cancel", "end"]
    assert state.stopped == "a test"
    assert [trade.stage for trade in state.active.values()] == [Stage.OPEN]
    at = T + seconds(3)
    assert apply(state, board(market(at, ticker="other"), at=at, event_ticker="E2")) == []
    apply(state, SwitchInput(T + seconds(4), stopped=False, reason="the test is over"))
    at = T + seconds(5)
    assert kinds(apply(state, board(market(at, ticker="other"), at=at, event_ticker="E2"))) == ["signal"]


def test_a_stopped_desk_sells_and_settles() -> None:
    state = bought("60", exit=Exit.EDGE)
    apply(state, SwitchInput(LATER, stopped=True, reason=""))
    for after, expected in ((101, ["sale_signal"]), (102, ["sell"])):
        at = T + seconds(after)
        given = market(at, bid="0.60", ask="0.62", size="20")
        assert kinds(apply(state, board(given, at=at))) == expected
    assert kinds(apply(state, result("yes"))) == ["cancel", "settle"]
    assert state.ended[1].paid_usd == 40


def test_the_limits_of_one_symbol_do_not_bind_another() -> None:
    state = desk(positions_per_symbol=1)
    apply(state, board())
    events = apply(state, board(market(ticker="ether"), symbol="ETH", event_ticker="E2"))
    assert kinds(events) == ["signal"]


def test_positions_that_wait_for_their_result_still_count() -> None:
    state = bought(positions_per_symbol=1)
    at = CLOSE + seconds(1)
    apply(state, board(market(at, ticker="other"), at=at, event_ticker="E2", closes_at=CLOSE + timedelta(minutes=59)))
    assert state.totals["BTC"].rejections[Rejection.SYMBOL] == 1
    assert [trade.ticker for trade in state.active.values()] == [TICKER]


def test_capital_of_thousands_cannot_become_more_by_filling_one_quote_again_and_again() -> None:
    state = desk(capital_usd=Decimal(3_000), positions_per_event=9, positions_per_symbol=99, stake_usd=Decimal(1_000))
    times = [OPEN + seconds(60 + after) for after in range(50)]
    apply_all(state, [board(*(market(at, ticker=f"T{k}", size="10") for k in range(9)), at=at) for at in times])
    assert sum(trade.held for trade in state.active.values()) == 42  # the cash was ordered for the fifth market
    assert state.equity_usd < 3_000
