"""A trade's life from its signal to the market's own result, whatever the market does meanwhile."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from paper_desk import CLOSE, SETTLED, TICKER, T, board, bought, desk, kinds, market, only, quote, result, seconds

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.desk import apply, apply_all
from pipelines.domain.desk.events import EventKind
from pipelines.domain.desk.inputs import DeskInput
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.state import DeskState, stranded
from pipelines.domain.desk.trades import Stage
from pipelines.domain.markets.contracts import MarketResult, MarketStatus, Side

#: What the fee of 50 contracts at 0.42 is.
FEE = Decimal("0.8526")


def working(filled: str = "30") -> DeskState:
    """A desk whose order for 100 contracts is filled in part."""
    state = desk(stake_usd=Decimal(44))
    apply_all(state, [board(), board(market(T + seconds(1), size=filled), at=T + seconds(1))])
    assert state.active[1].stage is Stage.WORKING
    return state


def test_a_trade_is_signalled_working_open_and_settled() -> None:
    state, stages = desk(stake_usd=Decimal(44)), list[Stage]()
    for after, size in ((0, "1000"), (1, "30"), (2, "1000")):
        apply(state, board(market(T + seconds(after), size=size), at=T + seconds(after)))
        stages.append(state.active[1].stage)
    apply(state, result())
    assert stages == [Stage.SIGNALLED, Stage.WORKING, Stage.OPEN]
    assert state.ended[1].stage is Stage.SETTLED
    assert state.ended[1].ended_at == SETTLED


@pytest.mark.parametrize(
    ("of", "value", "paid"),
    [("yes", None, "50"), ("yes", "1", "50"), ("no", None, "0"), ("scalar", "0.25", "12.5"), ("void", None, "21")],
)
def test_a_position_is_paid_by_the_result_of_its_market(of: str, value: str | None, paid: str) -> None:
    state = bought()
    events = apply(state, result(of, value=value))
    assert kinds(events) == ["refund" if of == "void" else "settle"]
    trade = state.ended[1]
    assert trade.paid_usd == Decimal(paid)
    assert state.book.cash_usd == 10_000 - 21 - FEE + Decimal(paid)
    assert state.book.gain_usd == trade.gain_usd == Decimal(paid) - 21 - FEE
    assert state.book.balances[Account.POSITIONS] == 0
    assert state.equity_usd == state.book.cash_usd
    assert state.totals["BTC"].gain_usd == trade.gain_usd


@pytest.mark.parametrize(("of", "value", "each"), [("yes", None, 0), ("no", None, 1), ("scalar", "0.25", "0.75")])
def test_no_is_paid_what_yes_is_not(of: str, value: str | None, each: str | int) -> None:
    state = desk(stake_usd=Decimal(44))
    for after in (0, 1):
        given = market(T + seconds(after), bid="0.58", ask="0.60", probability=Decimal("0.45"))
        apply(state, board(given, at=T + seconds(after)))
    assert [(trade.side, trade.held) for trade in state.active.values()] == [(Side.NO, Decimal(100))]
    apply(state, result(of, value=value))
    assert state.ended[1].paid_usd == 100 * Decimal(each)


def test_a_void_returns_the_price_of_the_contracts_and_not_the_fee() -> None:
    state = bought()
    (refund,) = apply(state, result("void"))
    assert refund.posting == {Account.CASH: 21, Account.POSITIONS: -21}
    assert state.book.gain_usd == -FEE
    assert state.ended[1].stage is Stage.REFUNDED
    assert (state.totals["BTC"].losing, state.totals["BTC"].winning) == (1, 0)


def test_results_are_taken_by_ticker_and_change_nothing_of_other_markets() -> None:
    state = desk(stake_usd=Decimal(10), positions_per_event=2)
    for after in (0, 1):
        at = T + seconds(after)
        apply(state, board(market(at, ticker="first"), market(at), at=at))
    assert apply(state, result("no", ticker="never traded")) == []
    apply(state, result("yes", ticker="first"))
    apply(state, result("no"))
    assert {trade.ticker: trade.result for trade in state.ended.values()} == {
        "first": MarketResult.YES,
        TICKER: MarketResult.NO,
    }


@pytest.mark.parametrize(
    "results",
    [
        ["no", "yes"],
        ["yes", "no"],
        ["yes", "void"],
        ["void", "yes"],
        ["no", "void", "yes"],
        ["yes", "scalar", "no"],
    ],
    ids="-".join,
)
def test_a_revised_result_leaves_the_account_as_if_it_had_been_the_first(results: list[str]) -> None:
    revised, direct = bought(), bought()
    for number, of in enumerate(results):
        value = "0.25" if of == "scalar" else None
        events = apply(revised, result(of, SETTLED + timedelta(hours=20 * number), value=value))
    assert kinds(events) == ["revise"]
    apply(direct, result(results[-1]))
    assert revised.book.balances == direct.book.balances
    assert (revised.ended[1].stage, revised.ended[1].gain_usd) == (direct.ended[1].stage, direct.ended[1].gain_usd)
    counted, expected = revised.totals["BTC"], direct.totals["BTC"]
    assert (counted.closed, counted.winning, counted.losing) == (1, expected.winning, expected.losing)
    assert counted.gain_usd == expected.gain_usd


def test_the_difference_of_a_revised_result_belongs_to_the_day_of_the_revision() -> None:
    state = bought()
    apply(state, result("yes"))
    apply(state, result("no", SETTLED + timedelta(days=1)))
    assert state.daily_gain_usd[SETTLED.date()] == 29 - FEE
    assert state.loss_today_usd == 50


def test_the_same_result_again_changes_nothing_also_with_its_payment_spelt_out() -> None:
    state = bought()
    apply(state, result("yes"))
    paid = state.book.cash_usd
    assert apply(state, result("yes", SETTLED + seconds(60))) == []
    assert apply(state, result("yes", SETTLED + seconds(120), value="1")) == []
    assert state.book.cash_usd == paid
    assert state.ended[1].settlement_value == 1, "else the live desk is told of it each minute"


def test_results_are_revised_for_two_days() -> None:
    state, hour = bought(), timedelta(hours=1)
    apply(state, result("yes"))
    later = SETTLED + timedelta(days=2)
    assert kinds(apply(state, result("no", later - seconds(60)))) == ["revise"]
    assert apply(state, result("yes", later + hour)) == []
    assert not state.ended


def test_a_trade_of_which_nothing_is_left_to_pay_is_forgotten_after_an_hour() -> None:
    state = desk()
    apply(state, board())
    apply(state, result("yes", T + seconds(10)))
    assert [trade.stage for trade in state.ended.values()] == [Stage.CANCELLED]
    apply(state, result("yes", T + timedelta(minutes=90)))
    assert not state.ended


def test_a_result_before_the_close_cancels_the_order_and_pays_what_was_filled() -> None:
    state = working()
    events = apply(state, result("yes", T + seconds(2)))
    assert kinds(events) == ["cancel", "settle"]
    assert events[0].contracts == 70
    assert state.ended[1].paid_usd == 30


def test_a_market_with_a_result_is_not_entered_again_though_a_late_list_says_that_it_is_active() -> None:
    state = working()
    apply(state, result("yes", T + seconds(2)))
    events = apply(state, board(market(T + seconds(3)), at=T + seconds(3)))
    assert events == []
    assert state.totals["BTC"].rejections[Rejection.STATUS] == 1


@pytest.mark.parametrize("status", [each for each in MarketStatus if each is not MarketStatus.ACTIVE])
def test_an_order_is_cancelled_when_its_market_is_not_active_any_more(status: MarketStatus) -> None:
    state = working()
    events = apply(state, board(market(T + seconds(2), status=status), at=T + seconds(2)))
    assert [(event.kind, event.contracts, event.reason) for event in events] == [
        (EventKind.CANCEL, Decimal(70), f"the market is {status}")
    ]
    assert state.active[1].stage is Stage.OPEN
    assert state.active[1].held == 30


def test_a_market_that_pauses_before_the_order_arrives_ends_the_trade() -> None:
    state = desk()
    apply(state, board())
    given = market(T + seconds(1), status=MarketStatus.INACTIVE)
    assert kinds(apply(state, board(given, at=T + seconds(1)))) == ["cancel", "end"]
    assert state.book.cash_usd == 10_000


def test_orders_end_at_the_close_also_when_no_board_comes() -> None:
    state = working()
    state.active[1].entry.expires_at = CLOSE + timedelta(hours=1)
    events = apply(state, result("no", CLOSE, ticker="another"))
    assert [(event.kind, event.reason) for event in events] == [(EventKind.CANCEL, "the market has closed")]


def test_an_early_close_cancels_orders_and_is_the_close_from_which_a_position_is_late() -> None:
    state = working()
    early = T + seconds(2)
    events = apply(state, board(market(early), at=early, closes_at=early))
    assert [(event.kind, event.reason) for event in events] == [(EventKind.CANCEL, "the market has closed")]
    assert state.active[1].closes_at == early
    assert stranded(state.active.values(), early + seconds(61), seconds(60)) == [state.active[1]]


def test_positions_past_their_close_without_a_result_are_found() -> None:
    state = bought()
    hour = timedelta(hours=1)
    assert stranded(state.active.values(), CLOSE + hour, hour) == []
    assert stranded(state.active.values(), CLOSE + hour + seconds(1), hour) == [state.active[1]]
    apply(state, result(at=CLOSE + hour + seconds(2)))
    assert stranded(state.active.values(), CLOSE + 2 * hour, hour) == []


def test_a_position_keeps_its_newest_known_bid_while_quotes_cannot_be_relied_on() -> None:
    state = bought()
    changing: list[dict[str, Any]] = [{"bid": "0.50"}, {"bid": "0.10", "problem": "no"}]
    for after, changes in enumerate(changing, 100):
        apply(state, board(market(T + seconds(after), ask="0.60", **changes), at=T + seconds(after)))
    assert state.active[1].last_bid == Decimal("0.50")
    apply(state, board(market(T), at=T + seconds(103)))  # its quotes are too old
    assert state.equity_usd == 10_000 - 21 - FEE + 25


@pytest.mark.parametrize("sides", [{"yes_bid": quote("0"), "no_ask": quote("1")}, {"yes_bid": None, "no_ask": None}])
def test_without_a_bid_a_position_is_worth_nothing(sides: dict[str, Any]) -> None:
    state = bought()
    given = market(T + seconds(100), **sides)
    apply(state, board(given, at=T + seconds(100)))
    assert state.equity_usd == state.book.cash_usd


def test_drawdown_is_the_greatest_fall_of_equity_below_its_highest() -> None:
    state = bought()
    for after, bid in ((100, "0.60"), (101, "0.30"), (102, "0.50")):
        given = market(T + seconds(after), bid=bid, ask="0.61", probability=Decimal("0.5"))
        apply(state, board(given, at=T + seconds(after)))
    assert state.highest_equity_usd == 10_000 - 21 - FEE + 30
    assert state.max_drawdown_usd == 15


def test_the_events_of_a_whole_trade_tell_its_story() -> None:
    state = desk(stake_usd=Decimal(44))
    inputs: list[DeskInput] = [
        board(),
        board(market(T + seconds(1), size="30"), at=T + seconds(1)),
        board(market(T + seconds(91)), at=T + seconds(91)),
        result("yes"),
    ]
    events = apply_all(state, inputs)
    assert kinds(events) == ["signal", "work", "buy", "cancel", "settle"]
    assert {event.trade for event in events} == {1}
    assert {(event.symbol, event.ticker, event.side) for event in events} == {("BTC", TICKER, Side.YES)}
    assert only(events, EventKind.SIGNAL)[0].reason == "probability 0.55, edge 0.1129 per contract"
    assert state.inputs == 4
