"""How orders meet quotes: latency, displayed size, contracts taken before, price, expiry and fees."""

from decimal import Decimal
from typing import Any

import pytest
from paper_desk import EVENT, TICKER, T, board, bought, desk, kinds, market, only, quote, result, seconds

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.rules import Exit
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Stage
from pipelines.domain.markets.contracts import Side
from pipelines.domain.markets.fees import CENT

STAKE = Decimal(44)  # pays 100 contracts at 0.42


def step(state: DeskState, after: float, **changes: Any) -> list[DeskEvent]:
    """A board of the market so many seconds after the first."""
    at = T + seconds(after)
    return apply(state, board(market(at, **changes), at=at))


def filled(events: list[DeskEvent], kind: EventKind = EventKind.BUY) -> list[str]:
    """The fills among events, such as `30 at 0.42`."""
    fills = only(events, kind)
    return [f"{event.contracts.normalize():f} at {event.price}" for event in fills if event.contracts is not None]


def ordered(**rules: Any) -> DeskState:
    """A desk that has just ordered contracts at 0.42, 100 of them with the usual stake."""
    state = desk(**{"stake_usd": STAKE, **rules})
    (signal,) = step(state, 0)
    assert (signal.kind, signal.price) == (EventKind.SIGNAL, Decimal("0.42"))
    return state


def test_an_order_is_not_filled_by_the_quotes_that_it_was_decided_on() -> None:
    state = ordered()
    assert state.active[1].stage is Stage.SIGNALLED
    assert state.book.cash_usd == 10_000


def test_an_order_meets_the_first_quotes_that_arrive_after_the_latency() -> None:
    state = ordered(latency_seconds=Decimal("2.5"))
    assert step(state, 2.4) == []
    late = T + seconds(2.6)
    assert apply(state, board(market(T + seconds(2.4)), at=late)) == []  # received before
    assert kinds(step(state, 2.7)) == ["work", "buy"]


def test_quotes_dated_ahead_do_not_shorten_the_latency() -> None:
    state = ordered()
    assert step(state, 0.5, received_at=T + seconds(1.4)) == []
    assert kinds(step(state, 1, received_at=T + seconds(1.4))) == ["work", "buy"]


def test_the_fill_is_at_the_ask_of_its_instant_when_that_is_better_than_the_limit() -> None:
    assert filled(step(ordered(), 1, bid="0.39", ask="0.40")) == ["100 at 0.40"]


def test_nothing_is_filled_above_the_limit_and_the_order_waits() -> None:
    state = ordered()
    assert kinds(step(state, 1, bid="0.42", ask="0.43")) == ["work"]
    assert state.active[1].stage is Stage.WORKING
    assert filled(step(state, 2)) == ["100 at 0.42"]


def test_no_more_is_filled_than_the_displayed_size_and_the_rest_waits_for_later_quotes() -> None:
    state = ordered()
    assert filled(step(state, 1, size="30")) == ["30 at 0.42"]
    assert state.active[1].stage is Stage.WORKING
    assert filled(step(state, 2, bid="0.40", ask="0.41", size="7.5")) == ["7.5 at 0.41"]
    assert state.active[1].entry.open_contracts == Decimal("62.5")


def test_contracts_are_taken_from_a_quote_once_however_often_it_is_seen() -> None:
    state = ordered()
    fills = [fill for second in range(1, 26) for fill in filled(step(state, second, size="4"))]
    assert fills == ["4 at 0.42"]


def test_contracts_added_to_a_quote_are_filled_and_contracts_withdrawn_are_not_owed() -> None:
    state = ordered()
    sizes = ["10", "15", "3", "15", "16"]
    fills = [filled(step(state, second, size=size)) for second, size in enumerate(sizes, 1)]
    assert fills == [["10 at 0.42"], ["5 at 0.42"], [], [], ["1 at 0.42"]]


def test_a_quote_that_was_emptied_stays_empty_behind_a_better_one_and_when_it_vanishes() -> None:
    state = ordered()
    assert filled(step(state, 1, size="10")) == ["10 at 0.42"]
    assert filled(step(state, 2, ask="0.41", size="2")) == ["2 at 0.41"]
    assert filled(step(state, 3, size="10")) == []
    assert filled(step(state, 4, yes_ask=None, no_bid=None)) == []
    assert filled(step(state, 5, size="10")) == []
    assert filled(step(state, 6, ask="0.43", size="10")) == []
    assert filled(step(state, 7, size="10")) == ["10 at 0.42"]  # all at 0.42 had gone: these are new


def test_contracts_taken_are_remembered_until_their_market_closes() -> None:
    state, close = ordered(), T + seconds(3 * 3_600)
    apply(state, board(market(T + seconds(1), size="10"), at=T + seconds(1), closes_at=close))
    for after, remembered in ((3_600, 1), (2.5 * 3_600, 1), (3.5 * 3_600, 0)):
        apply(state, result("yes", T + seconds(after), ticker="other"))
        assert len(state.taken) == remembered


def test_unreliable_quotes_do_not_make_contracts_new() -> None:
    state = ordered()
    step(state, 1, size="10")
    assert filled(step(state, 2, ask="0.43", problem="no bids for NO")) == []
    assert filled(step(state, 3, size="10")) == []


def test_an_ask_of_yes_and_a_bid_for_no_are_the_same_contracts() -> None:
    state = ordered(exit=Exit.EDGE, order_seconds=Decimal(5), stake_usd=Decimal(5))
    step(state, 1, size="11")  # buys YES at 0.42: takes bids for NO at 0.58
    step(state, 7, bid="0.70", ask="0.72", size="11", probability=Decimal("0.6"))
    step(state, 8, bid="0.70", ask="0.72", size="11", probability=Decimal("0.6"))
    assert not state.active
    # The bids for YES at 0.70 were taken by the sale: there is nothing to buy NO from at 0.30.
    step(state, 9, bid="0.70", ask="0.72", size="11", probability=Decimal("0.5"))
    assert not state.active
    step(state, 10, bid="0.70", ask="0.72", size="20", probability=Decimal("0.5"))
    assert [trade.side for trade in state.active.values()] == [Side.NO]
    assert filled(step(state, 11, bid="0.70", ask="0.72", size="20", probability=Decimal("0.5"))) == ["9 at 0.30"]


@pytest.mark.parametrize(
    "changes",
    [{"yes_ask": None}, {"yes_ask": quote("0.42", None)}, {"yes_ask": quote("0.42", "0")}, {"problem": "a problem"}],
    ids=["vanished", "size unknown", "no size", "problem"],
)
def test_an_order_waits_while_quotes_are_missing_or_unreliable(changes: dict[str, Any]) -> None:
    state = ordered()
    assert filled(step(state, 1, **changes)) == []
    assert len(state.active[1].working) == 1
    assert filled(step(state, 2)) == ["100 at 0.42"]


def test_crossed_quotes_and_old_quotes_fill_nothing() -> None:
    state = ordered()
    assert filled(step(state, 1, bid="0.45", ask="0.40")) == []
    assert filled(step(state, 5, received_at=T + seconds(2.9))) == []
    assert filled(apply(state, board(market(T + seconds(6)), at=T + seconds(6), problem="halted"))) == []


def test_the_rest_of_an_order_is_cancelled_when_it_expires() -> None:
    state = ordered(order_seconds=Decimal(10))
    step(state, 1, size="30")
    events = step(state, 10)
    assert [(event.kind, event.contracts, event.reason) for event in events] == [
        (EventKind.CANCEL, Decimal(70), "it has expired")
    ]
    assert state.active[1].stage is Stage.OPEN
    assert state.active[1].bound_usd == Decimal("12.60")


def test_an_order_of_which_nothing_was_filled_ends_the_trade_and_the_market_may_be_entered_again() -> None:
    state = ordered(order_seconds=Decimal(10))
    events = step(state, 10, size="0.001")
    assert kinds(events) == ["cancel", "end"]
    assert state.ended[1].stage is Stage.CANCELLED
    assert kinds(step(state, 11)) == ["signal"]
    assert state.totals["BTC"].closed == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"probability": Decimal("0.43")}, "the edge is gone"),
        ({"probability": None}, "the probability is not known"),
        ({"independent": 3}, "too few independent outcomes behind the probability"),
    ],
    ids=["edge", "null", "thin"],
)
def test_the_rest_of_an_order_is_cancelled_when_its_reason_is_gone(changes: dict[str, Any], why: str) -> None:
    state = ordered()
    events = step(state, 1, size="30", **changes)
    assert kinds(events) == ["work", "buy", "cancel"]  # what arrives with worse news is filled first
    assert events[-1].reason == why


def test_entries_are_not_filled_closer_to_the_close_than_they_are_decided() -> None:
    state = ordered(min_ttc_seconds=1199, order_seconds=Decimal(90))
    assert filled(step(state, 1, size="30")) == ["30 at 0.42"]
    events = step(state, 2, size="99")
    assert [(event.kind, event.reason) for event in events] == [(EventKind.CANCEL, "it is too close to the close")]


def test_each_fill_is_charged_by_the_rounding_of_its_order() -> None:
    state = desk(stake_usd=Decimal("4.2"), balance_precision_usd=CENT)
    step(state, 0, ask="0.49", bid="0.48", probability=Decimal("0.6"))
    first = step(state, 1, ask="0.49", bid="0.48", size="1", probability=Decimal("0.6"))
    second = step(state, 2, ask="0.49", bid="0.48", size="8", probability=Decimal("0.6"))
    fees = [event.fee_usd for event in only([*first, *second], EventKind.BUY)]
    assert fees == [Decimal("0.02"), Decimal("0.13")]  # as the exchange charged for 1 and 7 contracts, 0.15
    assert state.active[1].entry.rounding_usd == Decimal("0.01")


def test_the_account_and_the_position_change_by_what_the_fill_costs() -> None:
    state = ordered()
    (buy,) = only(step(state, 1), EventKind.BUY)
    assert buy.fee_usd == Decimal("1.7052")
    assert buy.posting == {
        Account.CASH: Decimal("-43.7052"),
        Account.POSITIONS: Decimal(42),
        Account.FEES: Decimal("1.7052"),
    }
    assert state.equity_usd == 10_000 - Decimal("1.7052") - 2  # 100 contracts at the bid of 0.40


def test_a_purchase_never_costs_more_than_the_cash() -> None:
    state = desk(capital_usd=Decimal(40), stake_usd=Decimal(30), positions_per_event=2, positions_per_symbol=9)
    for after in (0, 1):
        at = T + seconds(after)
        apply(state, board(market(at), market(at, ticker=f"{EVENT}-T2", ask="0.41"), at=at))
    assert {trade.ticker: trade.held for trade in state.active.values()} == {f"{EVENT}-T2": 70, TICKER: 23}
    assert 0 <= state.book.cash_usd < 1


def sale(**rules: Any) -> DeskState:
    """A desk that holds 50 contracts and has just ordered to sell them at 0.60."""
    state = bought(exit=Exit.EDGE, order_seconds=Decimal(10), **rules)
    (signal,) = step(state, 100, bid="0.60", ask="0.62")
    assert (signal.kind, signal.contracts, signal.price) == (EventKind.SALE_SIGNAL, Decimal(50), Decimal("0.60"))
    return state


def test_a_sale_is_decided_only_when_the_bid_less_the_fee_is_above_the_probability() -> None:
    state = bought(exit=Exit.EDGE)
    assert step(state, 100, bid="0.58", ask="0.60") == []  # 0.58 - 0.0171 - 0.55 is below 0.02
    assert step(state, 101, bid="0.60", ask="0.62", probability=None) == []
    assert step(state, 102, bid="0.60", ask="0.62", independent=3) == []
    assert kinds(step(state, 103, bid="0.60", ask="0.62")) == ["sale_signal"]


def test_positions_are_kept_until_settlement_without_a_rule_of_exits() -> None:
    assert step(bought(), 100, bid="0.97", ask="0.98") == []


def test_a_sale_filled_in_part_expires_is_placed_again_and_settles_the_rest() -> None:
    state = sale()
    assert filled(step(state, 101, bid="0.60", ask="0.62", size="20"), EventKind.SELL) == ["20 at 0.60"]
    assert filled(step(state, 102, bid="0.59", ask="0.62", size="20"), EventKind.SELL) == []  # below the limit
    assert kinds(step(state, 110, bid="0.50", ask="0.62")) == ["cancel"]
    (again,) = step(state, 111, bid="0.61", ask="0.62")
    assert (again.kind, again.contracts, again.price) == (EventKind.SALE_SIGNAL, Decimal(30), Decimal("0.61"))
    assert filled(step(state, 112, bid="0.61", ask="0.62", size="10"), EventKind.SELL) == ["10 at 0.61"]
    assert kinds(apply(state, result("yes"))) == ["cancel", "settle"]
    trade = state.ended[1]
    assert [trade.sold, trade.held, trade.paid_usd] == [30, 20, 20]
    assert trade.gain_usd == Decimal(12) + Decimal("6.1") + 20 - 21 - trade.fees_usd
    assert state.book.gain_usd == trade.gain_usd


def test_a_trade_whose_contracts_were_all_sold_is_closed() -> None:
    state = sale()
    events = step(state, 101, bid="0.60", ask="0.62", probability=Decimal("0.58"))
    assert kinds(events) == ["sell", "end"]
    trade = state.ended[1]
    assert trade.stage is Stage.CLOSED
    assert trade.held == trade.cost_usd == 0
    assert state.book.balances[Account.POSITIONS] == 0
    assert state.totals["BTC"].winning == 1
    assert apply(state, result("no")) == []  # concerns nothing any more


def test_contracts_that_were_just_sold_are_not_ordered_to_be_sold_again() -> None:
    state = sale()
    assert kinds(step(state, 101, bid="0.60", ask="0.62")) == ["sell", "end", "signal"]
    assert [trade.side for trade in state.active.values()] == [Side.NO]


def test_the_cost_of_parts_sold_is_exact_to_a_millionth_and_adds_up() -> None:
    state = desk(stake_usd=Decimal("1.32"), exit=Exit.EDGE, order_seconds=Decimal(5))
    step(state, 0)
    step(state, 1, size="1")
    step(state, 2, ask="0.41", size="2")
    step(state, 6)
    step(state, 7, bid="0.60", ask="0.62")
    for after in (8, 9, 10):
        step(state, after, bid="0.60", ask="0.62", size=str(after - 7))
        assert state.book.imbalance_usd == 0
        held = state.active[1].cost_usd if state.active else Decimal(0)
        assert state.book.balances[Account.POSITIONS] == held
    assert state.ended[1].gain_usd == Decimal("1.8") - Decimal("1.24") - state.ended[1].fees_usd
