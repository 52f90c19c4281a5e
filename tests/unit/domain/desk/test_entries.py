"""Which markets the desk enters, with how much, and the reason that is counted for every other."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from paper_desk import CLOSE, EVENT, OPEN, T, board, desk, market, quote, seconds

from pipelines.domain.desk.decisions import Decisions, contract_fee, decide
from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import EventKind
from pipelines.domain.desk.inputs import SwitchInput
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.markets.contracts import MarketStatus, Side
from pipelines.domain.markets.fees import CENT, FeeTerms


def reason(decisions: Decisions) -> Rejection:
    """The reason of the only market."""
    assert decisions.entries == ()
    ((found, count),) = decisions.rejections.items()
    assert count == 1
    return found


def test_the_edge_of_an_entry_is_probability_less_ask_less_fee() -> None:
    (entry,) = decide(desk(), board()).entries
    assert (entry.side, entry.limit, entry.probability) == (Side.YES, Decimal("0.42"), Decimal("0.55"))
    # 0.07 * 0.42 * 0.58 is 0.017052, rounded up to 0.0171.
    assert entry.edge_usd == Decimal("0.55") - Decimal("0.42") - Decimal("0.0171")


@pytest.mark.parametrize(("probability", "entered"), [("0.4571", True), ("0.457099", False)])
def test_an_edge_at_the_threshold_is_entered_and_one_below_it_is_not(probability: str, entered: bool) -> None:
    given = market(probability=Decimal(probability), low=Decimal("0.45"), high=Decimal("0.46"))
    decisions = decide(desk(min_edge_usd=Decimal("0.02")), board(given))
    assert len(decisions.entries) == entered
    assert decisions.rejections == ({} if entered else {Rejection.EDGE: 1})


def test_no_is_bought_at_its_own_ask_when_yes_is_too_dear() -> None:
    given = market(bid="0.60", ask="0.62", probability=Decimal("0.45"), no_ask=quote("0.39", "5"))
    (entry,) = decide(desk(), board(given)).entries
    assert (entry.side, entry.limit, entry.probability) == (Side.NO, Decimal("0.39"), Decimal("0.55"))


def test_an_edge_that_is_small_against_the_interval_of_the_probability_is_rejected() -> None:
    wide = market(low=Decimal("0.3"), high=Decimal("0.8"))  # half of its half width is 0.125, the edge 0.1129
    assert reason(decide(desk(), board(wide))) is Rejection.INTERVAL
    assert decide(desk(interval_share=Decimal("0.45")), board(wide)).entries
    assert reason(decide(desk(), board(market(low=None)))) is Rejection.INTERVAL


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": MarketStatus.INACTIVE}, Rejection.STATUS),
        ({"received_at": T - seconds(2.001)}, Rejection.OLD),
        ({"received_at": T + seconds(1.001)}, Rejection.OLD),
        ({"problem": "no bids for NO"}, Rejection.QUOTES),
        ({"probability": None}, Rejection.UNKNOWN),
        ({"independent": 29}, Rejection.THIN),
        ({"independent": None}, Rejection.THIN),
        ({"yes_ask": None, "no_ask": None}, Rejection.NO_ASK),
        ({"yes_bid": None, "no_ask": None}, Rejection.NO_ASK),
        ({"yes_bid": quote("0"), "no_ask": quote("1")}, Rejection.NO_ASK),
        ({"yes_bid": quote("0.31"), "no_ask": quote("0.69")}, Rejection.SPREAD),
        ({"probability": Decimal("0.41")}, Rejection.EDGE),
        ({"yes_ask": quote("0.42", None)}, Rejection.SIZE),
        ({"yes_ask": quote("0.42", "0")}, Rejection.SIZE),
        ({"yes_ask": quote("0.42", "0.009")}, Rejection.SIZE),
    ],
    ids=lambda value: value.name if isinstance(value, Rejection) else "-".join(value),
)
def test_a_market_is_rejected_for_the_first_gate_that_it_does_not_pass(
    changes: dict[str, Any], expected: Rejection
) -> None:
    assert reason(decide(desk(), board(market(**changes)))) is expected


@pytest.mark.parametrize(("bid", "ask"), [("0.42", "0.42"), ("0.43", "0.42"), ("0.99", "0.01")])
def test_locked_and_crossed_quotes_are_not_traded_on(bid: str, ask: str) -> None:
    given = market(bid=bid, ask=ask, probability=Decimal("0.9"))
    assert reason(decide(desk(), board(given))) is Rejection.QUOTES


@pytest.mark.parametrize("changes", [{"yes_bid": quote("0.43")}, {"no_bid": quote("0.60")}], ids=["yes", "no"])
def test_quotes_of_one_side_that_are_crossed_are_enough_to_reject_a_market(changes: dict[str, Any]) -> None:
    assert reason(decide(desk(), board(market(**changes)))) is Rejection.QUOTES


@pytest.mark.parametrize(("before", "entered"), [(59.9, False), (60, True), (3540, True), (3540.1, False)])
def test_markets_are_entered_only_between_the_two_times_before_the_close(before: float, entered: bool) -> None:
    at = CLOSE - seconds(before)
    decisions = decide(desk(), board(market(at), at=at))
    assert len(decisions.entries) == entered
    assert decisions.rejections == ({} if entered else {Rejection.TIME: 1})


def test_an_event_with_a_problem_and_a_clock_set_back_reject_all_markets() -> None:
    given = board(market(), market(ticker="other"))
    assert decide(desk(), replace(given, problem="the price is stale")).rejections == {Rejection.BOARD: 2}
    assert decide(desk(), given, clock_set_back=True).rejections == {Rejection.CLOCK: 2}


def test_the_strikes_of_an_event_are_one_bet_and_the_best_edge_is_taken() -> None:
    given = board(*(market(ticker=f"{EVENT}-T{k}", ask=ask) for k, ask in enumerate(("0.44", "0.42", "0.43"))))
    decisions = decide(desk(), given)
    assert [entry.market.ticker for entry in decisions.entries] == [f"{EVENT}-T1"]
    assert decisions.rejections == {Rejection.EVENT: 2}


def test_of_equal_edges_the_first_ticker_is_entered_whatever_the_order_of_the_markets() -> None:
    markets = [market(ticker=ticker) for ticker in ("b", "a", "c")]
    for order in (markets, markets[::-1]):
        assert [entry.market.ticker for entry in decide(desk(), board(*order)).entries] == ["a"]


def test_the_stake_is_never_exceeded_also_not_by_the_rounding_of_the_fee() -> None:
    for stake, precision, contracts in (("43.72", "0.0001", 100), ("43.71", "0.0001", 99), ("43.72", "0.01", 100)):
        state = desk(stake_usd=Decimal(stake), balance_precision_usd=Decimal(precision))
        assert [entry.contracts for entry in decide(state, board()).entries] == [contracts]
        apply(state, board())
        apply(state, board(market(T + seconds(1)), at=T + seconds(1)))
        (trade,) = state.active.values()
        assert trade.held == contracts
        assert trade.entry.value_usd + trade.entry.fees_usd <= Decimal(stake)


def test_a_stake_that_does_not_pay_one_contract_is_a_reason() -> None:
    assert reason(decide(desk(stake_usd=Decimal("0.43")), board())) is Rejection.STAKE


def test_the_capital_of_a_symbol_and_the_cash_reduce_an_entry_and_then_reject_it() -> None:
    (entry,) = decide(desk(capital_per_symbol_usd=Decimal(10)), board()).entries
    assert entry.contracts == 22
    (entry,) = decide(desk(capital_usd=Decimal(5)), board()).entries
    assert entry.contracts == 11
    assert reason(decide(desk(capital_per_symbol_usd=Decimal("0.4")), board())) is Rejection.CAPITAL
    state = desk(capital_usd=Decimal(1), positions_per_event=2)
    apply(state, board())
    assert reason(decide(state, board(market(ticker="other")))) is Rejection.CASH  # what orders may cost is reserved


def test_the_limit_of_positions_of_a_symbol_counts_entries_of_the_same_board() -> None:
    state = desk(positions_per_symbol=2, positions_per_event=5)
    decisions = decide(state, board(*(market(ticker=f"{EVENT}-T{k}") for k in range(4))))
    assert len(decisions.entries) == 2
    assert decisions.rejections == {Rejection.SYMBOL: 2}


def test_a_market_with_a_trade_is_not_entered_again() -> None:
    state = desk(positions_per_event=5)
    apply(state, board())
    assert reason(decide(state, board())) is Rejection.HELD


def test_deciding_changes_nothing() -> None:
    state, before = desk(), desk()
    decide(state, board())
    assert state == before


def test_every_rejection_is_counted_by_symbol() -> None:
    state = desk()
    for at in (T, T + seconds(1)):
        apply(state, board(market(at, probability=None), market(at, ticker="other", ask="0.60"), at=at))
    apply(state, board(market(ticker="ether", problem="no bids"), symbol="ETH", event_ticker="ETH1"))
    assert state.totals["BTC"].rejections == {Rejection.UNKNOWN: 2, Rejection.SPREAD: 2}
    assert state.totals["ETH"].rejections == {Rejection.QUOTES: 1}


def test_a_stopped_desk_says_so_only_of_markets_that_it_would_enter() -> None:
    state = desk()
    apply(state, SwitchInput(OPEN, stopped=True, reason="a test"))
    decisions = decide(state, board(market(), market(ticker="other", probability=Decimal("0.41"))))
    assert decisions.rejections == {Rejection.STOPPED: 1, Rejection.EDGE: 1}


@pytest.mark.parametrize(
    ("multiplier", "each", "fee"), [("0", "0", "0"), ("0.5", "0.0086", "0.43"), ("1", "0.0171", "0.86")]
)
def test_a_waived_fee_is_neither_expected_nor_charged(multiplier: str, each: str, fee: str) -> None:
    terms = FeeTerms(multiplier=Decimal(multiplier))
    assert contract_fee(Decimal("0.42"), terms) == Decimal(each)
    state = desk(stake_usd=Decimal("21.9"), balance_precision_usd=CENT)
    events = apply(state, board(fee_terms=terms))
    at = T + seconds(1)
    events += apply(state, board(market(at, size="50"), at=at, fee_terms=terms))
    (fill,) = (event for event in events if event.kind is EventKind.BUY)
    assert fill.contracts == 50
    assert fill.fee_usd == Decimal(fee)


def test_equal_prices_have_fees_with_equal_digits_whichever_was_asked_for_first() -> None:
    contract_fee.cache_clear()
    first = str(contract_fee(Decimal("0.420000"), FeeTerms()))
    contract_fee.cache_clear()
    assert str(contract_fee(Decimal("0.42"), FeeTerms())) == first
