"""Backtests of the paper desk: what it is shown and when, what it can fill, and that a replay gives the same bytes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from desk_recordings import CLOSES_AT, RULES, QuoteRow, market, recording
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.inputs import BoardInput, ResultInput
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Stage
from pipelines.domain.evaluation.desk_backtest import Assumptions, DeskRecording, DeskRun, boards, desk_inputs, run_desk
from pipelines.domain.markets.contracts import Market, MarketResult, Side

ASSUMED = Assumptions(Decimal(10), 300)
MINUTE = timedelta(minutes=1)


def run(found: DeskRecording, probability: float | Sequence[float] = 0.9, assumed: Assumptions = ASSUMED) -> DeskRun:
    believed = np.broadcast_to(np.asarray(probability, dtype=np.float64), len(found.quotes))
    return run_desk("backtest", RULES, desk_inputs(found, believed, assumed))


def dumped(found: DeskRun) -> bytes:
    return TypeAdapter(DeskState).dump_json(found.state) + TypeAdapter(list[DeskEvent]).dump_json(list(found.events))


def filled(found: DeskRun) -> list[tuple[int, Decimal, Decimal]]:
    """Minutes before the close, price and contracts of each purchase."""
    return [
        (int((trade.closes_at - fill.at) / MINUTE), fill.price, fill.contracts)
        for trade in found.trades
        for fill in trade.entry.fills
    ]


def test_an_order_is_filled_at_the_next_minutes_ask_and_settled_by_the_result() -> None:
    found = run(recording([market()], [(0, 30, 0.48, 0.50), (0, 29, 0.47, 0.49), (0, 28, 0.10, 0.12)]))
    (trade,) = found.trades
    assert filled(found) == [(29, Decimal("0.49"), Decimal(10))]
    assert trade.signalled_at == CLOSES_AT - 30 * MINUTE
    assert (trade.side, trade.stage, trade.result) == (Side.YES, Stage.SETTLED, MarketResult.YES)
    assert trade.ended_at == CLOSES_AT + timedelta(seconds=300)
    fee = Decimal("0.07") * 10 * Decimal("0.49") * Decimal("0.51")
    assert trade.gain_usd == Decimal("5.1") - fee.quantize(Decimal("0.0001"), "ROUND_CEILING")
    assert found.state.book.gain_usd == trade.gain_usd
    assert found.equity_usd[0][1] == RULES.capital_usd
    assert found.equity_usd[-1] == (CLOSES_AT + timedelta(seconds=300), RULES.capital_usd + trade.gain_usd)


@settings(deadline=None, max_examples=60)
@given(st.integers(3, 58), st.floats(0.02, 0.6), st.floats(0.02, 0.6))
def test_a_quote_one_minute_early_is_never_filled(left: int, early: float, signalled: float) -> None:
    """Cheap asks of the minute of the signal and of those before it are gone when the order arrives."""
    early, signalled = round(early, 2), round(signalled, 2)
    rows: list[QuoteRow] = [
        (0, left + 1, early - 0.01, early),
        (0, left, signalled - 0.01, signalled),
        (0, left - 1, 0.94, 0.95),
    ]
    # Before the signal nothing is believed, and after it the ask is above the limit.
    found = run(recording([market()], rows), [np.nan, 0.9, 0.9])
    assert [trade.signalled_at for trade in found.trades] == [CLOSES_AT - left * MINUTE]
    assert filled(found) == []
    assert found.trades[0].stage is Stage.CANCELLED
    assert found.state.book.cash_usd == RULES.capital_usd


@pytest.mark.parametrize("left", [2, 20])
def test_a_quote_that_is_older_than_the_order_is_not_met(left: int) -> None:
    rows: list[QuoteRow] = [(0, left, 0.48, 0.50), (0, left - 1, 0.48, 0.50, 61.0)]
    assert filled(run(recording([market()], rows))) == []


def test_quotes_of_unknown_age_are_not_traded_on_by_any_rule() -> None:
    found = recording([market()], [(0, left, 0.48, 0.50, np.inf) for left in (30, 29)])
    _, oldest = RULES.BOUNDS["max_quote_age_seconds"]
    rules = replace(RULES, max_quote_age_seconds=oldest)
    assert run_desk("backtest", rules, desk_inputs(found, np.full(2, 0.9), ASSUMED)).trades == ()


def test_a_hole_in_the_recording_cancels_the_order() -> None:
    found = run(recording([market()], [(0, 30, 0.48, 0.50), (0, 27, 0.48, 0.50)]))
    first = found.trades[0]
    assert (first.stage, first.entry.ended) == (Stage.CANCELLED, "it has expired")
    assert filled(found) == []


def test_no_more_than_the_assumed_contracts_are_bought_at_a_price() -> None:
    rows: list[QuoteRow] = [(0, left, 0.48, 0.50) for left in range(40, 20, -1)]
    few = run(recording([market()], rows), assumed=Assumptions(Decimal(3), 300))
    assert filled(few) == [(39, Decimal("0.5"), Decimal(3))], "the price stays, so that nothing new is shown"
    many = run(recording([market()], rows), assumed=Assumptions(Decimal(1000), 300))
    (bought,) = filled(many)
    assert 90 < bought[2] < 100, "as many as the stake of 50 dollars pays with fees"


def test_voids_return_the_price_and_keep_the_fee_and_scalars_pay_their_value() -> None:
    rows: list[QuoteRow] = [(0, 30, 0.48, 0.50), (0, 29, 0.48, 0.50)]
    (void,) = run(recording([market(result=MarketResult.VOID)], rows)).trades
    assert (void.stage, void.gain_usd) == (Stage.REFUNDED, -void.fees_usd)
    assert void.fees_usd > 0
    value = Decimal("0.25")
    (scalar,) = run(recording([market(result=MarketResult.SCALAR, settlement_value=value)], rows)).trades
    assert scalar.gain_usd == 10 * (value - Decimal("0.50")) - scalar.fees_usd


def test_boards_have_the_quotes_of_both_sides_with_their_age_and_problems() -> None:
    rows: list[QuoteRow] = [
        (0, 30, 0.405, 0.42, 1.5),
        (1, 30, 0.0, 0.07),
        (2, 30, 0.60, 0.55),
        (0, 29, np.nan, np.nan, np.inf),
    ]
    ladder = [market(name, strike=strike) for name, strike in (("A", 100), ("B", 90), ("C", 80))]
    found = recording(ladder, rows)
    first, second = boards(found, np.array([0.4114999, np.nan, 0.5, 0.5]), Decimal(7))
    assert (first.at, first.event_ticker, first.closes_at) == (
        CLOSES_AT - 30 * MINUTE,
        ladder[0].event_ticker,
        CLOSES_AT,
    )
    two_sided, one_sided, crossed = first.markets
    assert two_sided.received_at == first.at - timedelta(seconds=1.5)
    prices = [quote and (quote.price, quote.contracts) for quote in (two_sided.yes_bid, two_sided.yes_ask)]
    assert prices == [(Decimal("0.405"), 7), (Decimal("0.42"), 7)]
    assert (two_sided.no_bid and two_sided.no_bid.price, two_sided.no_ask and two_sided.no_ask.price) == (
        Decimal("0.58"),
        Decimal("0.595"),
    )
    assert two_sided.probability == Decimal("0.411500")
    assert (one_sided.yes_bid, one_sided.no_ask, one_sided.probability, one_sided.problem) == (None, None, None, None)
    assert crossed.problem is not None
    assert crossed.problem.startswith("crossed: ")
    (unknown,) = second.markets
    assert (unknown.yes_bid, unknown.yes_ask) == (None, None)
    assert unknown.received_at == second.at - timedelta(hours=2)


def test_inputs_are_in_the_order_of_time_with_results_after_their_delay() -> None:
    hours = [market(closes_at=CLOSES_AT + timedelta(hours=hour)) for hour in range(3)]
    rows: list[QuoteRow] = [(number, left, 0.4, 0.5) for number in (2, 0, 1) for left in (1, 59, 30)]
    found = list(desk_inputs(recording(hours, rows), np.full(9, 0.5), ASSUMED))
    assert [one.at for one in found] == sorted(one.at for one in found)
    results = [one for one in found if isinstance(one, ResultInput)]
    assert [(one.ticker, one.at) for one in results] == [
        (one.ticker, one.closes_at + timedelta(minutes=5)) for one in hours
    ]
    assert sum(isinstance(one, BoardInput) for one in found) == 9


def test_events_that_overlap_have_boards_of_their_own() -> None:
    both = [market(), market(closes_at=CLOSES_AT + timedelta(minutes=15))]
    found = list(boards(recording(both, [(0, 10, 0.4, 0.5), (1, 25, 0.4, 0.5)]), np.full(2, 0.5), Decimal(1)))
    assert [(board.at, board.event_ticker) for board in found] == [
        (CLOSES_AT - 10 * MINUTE, one.event_ticker) for one in both
    ]


def test_without_quotes_there_is_no_run() -> None:
    with pytest.raises(ValueError, match="no quotes to show to the desk"):
        run(recording([market()], []))


def random_recording(seed: int, *, hours: int = 6) -> tuple[list[Market], list[QuoteRow], np.ndarray]:
    """Ladders of three markets per hour with quotes and probabilities that know nothing."""
    random = np.random.default_rng(seed)
    outcomes = random.random((hours, 3)).cumsum(axis=1) > 1.2
    markets = [
        market(
            name,
            closes_at=CLOSES_AT + timedelta(hours=hour),
            strike=100 + number,
            result=MarketResult.NO if outcomes[hour, number] else MarketResult.YES,
        )
        for hour in range(hours)
        for number, name in enumerate("ABC")
    ]
    rows: list[QuoteRow] = []
    for number in range(len(markets)):
        for left in range(59, 0, -1):
            if random.random() < 0.8:
                bid = round(float(random.uniform(0.02, 0.9)), 2)
                rows.append((number, left, bid, round(bid + float(random.choice([0.01, 0.03, 0.08])), 2)))
    return markets, rows, random.uniform(0.02, 0.98, size=len(rows))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_two_runs_and_shuffled_candles_give_the_same_bytes(seed: int) -> None:
    markets, rows, _ = random_recording(seed)
    found = recording(markets, rows)
    believed = np.random.default_rng(seed).uniform(0.02, 0.98, size=len(found.quotes))
    once, again = (run(found, believed) for _ in range(2))
    assert len(once.trades) > 5
    assert dumped(once) == dumped(again)
    shuffled = [rows[number] for number in np.random.default_rng(seed).permutation(len(rows)).tolist()]
    assert dumped(run(recording(markets, shuffled), believed)) == dumped(once)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000), st.integers(30, 300))
def test_later_quotes_and_results_change_nothing_before_them(seed: int, minutes: int) -> None:
    """No look-ahead: the events up to an instant are those of a recording that ends there."""
    markets, rows, _ = random_recording(seed)
    whole = recording(markets, rows)
    believed = np.random.default_rng(seed).uniform(0.02, 0.98, size=len(whole.quotes))
    cut = CLOSES_AT + timedelta(minutes=minutes)
    early = whole.quotes.quotes.instants <= int(cut.timestamp()) // 60
    part = DeskRecording("BTC", markets, whole.quotes.part(early), whole.fee_terms)

    def until_cut(found: DeskRun) -> list[DeskEvent]:
        return [event for event in found.events if event.at <= cut]

    assert until_cut(run(part, believed[early])) == until_cut(run(whole, believed))


def test_the_book_of_a_run_balances_and_holds_the_gains_of_its_trades() -> None:
    markets, rows, believed = random_recording(3, hours=24)
    found = run(recording(markets, rows), believed)
    assert found.state.book.imbalance_usd == 0
    assert found.state.book.gain_usd == sum(trade.gain_usd for trade in found.trades)
    assert found.state.book.cash_usd == RULES.capital_usd + found.state.book.gain_usd
    assert not found.state.active
    assert {event.kind for event in found.events} >= {EventKind.SIGNAL, EventKind.BUY, EventKind.SETTLE}
