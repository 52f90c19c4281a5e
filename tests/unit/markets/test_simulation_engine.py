"""The engine of the simulated exchange: prices, quotes, results and incidents as functions of seed, prices and time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_exchange import BTC, QUARTERS, RANGES, walk

from pipelines.domain.markets.contracts import MarketResult, MarketStatus
from pipelines.domain.markets.settlement import SettlementRule, settled_price
from pipelines.domain.prices.ticks import milliseconds_of
from pipelines.markets.simulation.engine import SimulatedExchange
from pipelines.markets.simulation.events import CLOSE_PATIENCE_MS, MarketState, SimulatedEvent
from pipelines.markets.simulation.incidents import CALM, Incidents
from pipelines.markets.simulation.index import PriceHistory
from pipelines.markets.simulation.messages import book_message, event_message, market_message
from pipelines.markets.simulation.series import Series

#: Five hours of prices; at 20:00 UTC, 16:00 Eastern, the event of the next day's 17:00 opens.
BEGIN = datetime(2026, 7, 22, 16, 59, tzinfo=UTC)
PRICES = walk(BEGIN, 5 * 3600)
SERIES = (BTC, RANGES, QUARTERS)
INSTANTS = st.integers(120, 4 * 3600).map(lambda seconds: BEGIN + timedelta(seconds=seconds))
SEEDS = st.integers(0, 2**32)


def exchange(
    seed: int = 0, incidents: Incidents = CALM, prices: PriceHistory = PRICES, series: Sequence[Series] = SERIES
) -> SimulatedExchange:
    return SimulatedExchange(series, {"BTC": prices}, seed, incidents)


def everything(of: SimulatedExchange, now: datetime) -> list[Any]:
    """All that the exchange shows at an instant, as its messages."""
    found: list[Any] = [of.why_not_trading(now)]
    for event in of.events(now):
        states = of.states(event, now)
        found += [event_message(event, states), [book_message(state) for state in states]]
    return found


def open_events(of: SimulatedExchange, now: datetime, series: str = "KXBTCD") -> list[SimulatedEvent]:
    return [event for event in of.events(now, series) if event.is_open(milliseconds_of(now))]


def prices_from(prices: PriceHistory, count: slice) -> PriceHistory:
    return PriceHistory(prices.ticked_ms[count], prices.prices_usd[count])


@settings(max_examples=25, deadline=None)
@given(SEEDS, INSTANTS)
def test_quotes_are_orders_that_a_book_can_have(seed: int, now: datetime) -> None:
    of = exchange(seed)
    for event in of.events(now):
        for state in of.states(event, now):
            ranges = state.market.price_ranges
            for levels in (state.yes_bids, state.no_bids):
                prices = [price for price, _ in levels]
                assert prices == sorted(set(prices), reverse=True)
                assert all(0 < price < 10_000 for price in prices)
                assert all(contracts > 0 for _, contracts in levels)
                for price in map(Decimal, prices):
                    dollars = price / 10_000
                    assert any(each.start <= dollars <= each.end and dollars % each.step == 0 for each in ranges)
            if state.yes_bids and state.no_bids:
                assert state.yes_bids[0][0] + state.no_bids[0][0] < 10_000, "the book is not crossed"
                assert state.yes_bids != state.no_bids


@settings(max_examples=25, deadline=None)
@given(SEEDS, INSTANTS)
def test_probabilities_and_quotes_never_rise_with_the_strike(seed: int, now: datetime) -> None:
    of = exchange(seed)
    for event in open_events(of, now):
        quotes = event.quotes(of.quotes_ms(milliseconds_of(now)))
        assert quotes is not None
        assert (np.diff(quotes.probabilities) <= 1e-12).all()
        for prices, none in ((quotes.bids, 0), (quotes.asks, 10_000)):
            assert (np.diff(prices[prices != none]) <= 0).all()
        assert (quotes.bids / 10_000 <= quotes.probabilities).all()
        assert (quotes.asks / 10_000 >= quotes.probabilities).all()


@settings(max_examples=10, deadline=None)
@given(SEEDS, INSTANTS)
def test_ranges_cover_all_values_once(seed: int, now: datetime) -> None:
    of = exchange(seed)
    for event in open_events(of, now, "KXBTC"):
        quotes = event.quotes(of.quotes_ms(milliseconds_of(now)))
        assert quotes is not None
        assert quotes.probabilities.sum() == pytest.approx(1.0)
        bounds = [market.bounds_usd() for market in event.markets]
        assert (bounds[0][0], bounds[-1][1]) == (None, None)
        assert all(low[1] == high[0] for low, high in pairwise(bounds))


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(0, 40), st.integers(0, 3000))
def test_a_market_settles_on_the_mean_of_the_index_seconds(seed: int, missing: int, drop_from: int) -> None:
    """Also where up to half of the last minute's prices are missing, by the mean of those that are known."""
    close = BEGIN + timedelta(hours=1, minutes=1)
    close_ms = milliseconds_of(close)
    kept = (PRICES.ticked_ms < close_ms - 60_000) | (PRICES.ticked_ms >= close_ms - 60_000 + 1_000 * min(missing, 20))
    prices = PriceHistory(PRICES.ticked_ms[kept], PRICES.prices_usd[kept])
    of = exchange(seed, prices=prices)
    basis = of.indices["BTC"].basis_bps(prices.ticked_ms)
    index = np.round(prices.prices_usd * np.exp(basis / 10_000), 2)
    expected = settled_price(SettlementRule.MEAN_60S, prices.ticked_ms, index, close_ms)
    [event] = [one for one in of.events(close + timedelta(minutes=15), "KXBTCD") if one.closes_at == close]
    states = of.states(event, close + timedelta(minutes=15))
    assert all(state.market.is_settled for state in states)
    value = states[0].index_value_usd
    assert value is not None
    if expected is not None:
        assert value == Decimal(repr(expected)).quantize(Decimal("0.01"))
    for state in states:
        assert state.index_value_usd == value
        assert state.market.result is (MarketResult.YES if state.market.is_yes_at(value) else MarketResult.NO)
    assert {state.market.result for state in states} == {MarketResult.YES, MarketResult.NO}


@settings(max_examples=4, deadline=None)
@given(SEEDS, st.lists(INSTANTS, min_size=2, max_size=3))
def test_answers_do_not_depend_on_earlier_questions_or_later_prices(seed: int, instants: list[datetime]) -> None:
    incidents = Incidents(0.3, 0.2, 0.2, 0.2)
    asked = exchange(seed, incidents)
    for now in instants:
        everything(asked, now)
    for now in instants:
        assert everything(asked, now) == everything(exchange(seed, incidents), now)
        known = int(np.searchsorted(PRICES.ticked_ms, milliseconds_of(now) // 1_000 * 1_000))
        now_known = prices_from(PRICES, slice(0, known))
        assert everything(exchange(seed, incidents, now_known), now) == everything(asked, now)


def test_another_seed_is_another_exchange() -> None:
    now = BEGIN + timedelta(hours=2, minutes=30)
    assert everything(exchange(1), now) != everything(exchange(2), now)


def test_prices_read_in_parts_give_the_same_as_all_at_once() -> None:
    now = BEGIN + timedelta(hours=4)
    parts = PriceHistory()
    of = exchange(prices=parts)
    for end in range(0, len(PRICES.ticked_ms), 1_700):
        for ticked_ms, price in zip(
            PRICES.ticked_ms[end : end + 1_700].tolist(), PRICES.prices_usd[end : end + 1_700].tolist(), strict=True
        ):
            parts.add(ticked_ms, price)
        parts.read_until_ms = int(parts.ticked_ms[-1])
        everything(of, min(now, datetime.fromtimestamp(parts.read_until_ms / 1_000, UTC)))
        everything(of, now - timedelta(seconds=2))  # the clock is ahead of what has been read
    assert everything(of, now) == everything(exchange(), now)


def states_at(of: SimulatedExchange, event: str, now: datetime) -> list[MarketState]:
    found = of.event(event, now)
    assert found is not None
    return of.states(found, now)


def test_the_order_of_statuses() -> None:
    close = datetime(2026, 7, 22, 19, 0, tzinfo=UTC)
    of = exchange()
    [event] = [one for one in open_events(of, close - timedelta(seconds=1)) if one.closes_at == close]
    seen = [states_at(of, event.ticker, close + timedelta(seconds=s))[20] for s in range(-2, 130)]
    statuses = [state.market.status for state in seen]
    assert statuses == sorted(statuses, key=["active", "closed", "determined", "finalized"].index)
    assert set(statuses) == {"active", "closed", "determined", "finalized"}
    for state in seen:
        decided = state.market.status in {MarketStatus.DETERMINED, MarketStatus.FINALIZED}
        assert (state.market.result is not None) is decided
        assert bool(state.yes_bids or state.no_bids) is (state.market.status is MarketStatus.ACTIVE)


def test_a_close_without_prices_is_voided_after_a_while() -> None:
    close = datetime(2026, 7, 22, 19, 0, tzinfo=UTC)
    until = int(np.searchsorted(PRICES.ticked_ms, milliseconds_of(close) - 45_000))
    of = exchange(prices=prices_from(PRICES, slice(0, until)))
    [event] = [one for one in open_events(of, close - timedelta(minutes=5)) if one.closes_at == close]
    waiting = timedelta(milliseconds=CLOSE_PATIENCE_MS)
    assert {one.market.status for one in states_at(of, event.ticker, close + waiting / 2)} == {MarketStatus.CLOSED}
    voided = states_at(of, event.ticker, close + 2 * waiting)
    assert {one.market.result for one in voided} == {MarketResult.VOID}
    assert {one.index_value_usd for one in voided} == {None}


def test_nothing_is_quoted_or_traded_without_prices() -> None:
    until = int(np.searchsorted(PRICES.ticked_ms, milliseconds_of(BEGIN + timedelta(hours=1, minutes=30))))
    of = exchange(prices=prices_from(PRICES, slice(0, until)))
    last = BEGIN + timedelta(hours=1, minutes=30)
    assert of.why_not_trading(last) is None
    later = last + timedelta(seconds=20)
    assert of.why_not_trading(later) == "no prices arrive"
    for event in open_events(of, later):
        assert not any(state.yes_bids or state.no_bids for state in of.states(event, later))


def test_events_begin_with_prices_each_second_and_not_with_those_of_a_warm_up() -> None:
    minutes = milliseconds_of(BEGIN) - 60_000 * np.arange(30, 0, -1)
    warm = PriceHistory(
        np.concatenate([minutes, PRICES.ticked_ms]), np.concatenate([np.full(30, 118_000.0), PRICES.prices_usd])
    )
    assert exchange(prices=warm).events(BEGIN - timedelta(seconds=5)) == []
    [before, *_] = exchange(prices=warm).events(BEGIN + timedelta(minutes=5), "KXBTCD")
    assert before.closes_at > BEGIN


def test_strikes_lie_around_the_index_at_the_open() -> None:
    opens = datetime(2026, 7, 22, 18, 0, tzinfo=UTC)
    of = exchange()
    [event] = [one for one in open_events(of, opens + timedelta(minutes=1)) if one.opens_at == opens]
    value = of.indices["BTC"].value_at(milliseconds_of(opens))
    assert value is not None
    strikes = [market.bounds_usd()[0] for market in event.markets]
    assert 40 <= len(strikes) <= 60
    assert abs(float(strikes[len(strikes) // 2] or 0) - value) <= 125
    assert {high - low for low, high in pairwise(strikes)} == {Decimal(250)}  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(3))
def test_a_halted_market_is_inactive_without_a_book_for_a_time(seed: int) -> None:
    of = exchange(seed, Incidents(0.0, 1.0, 0.0, 0.0))
    opens = datetime(2026, 7, 22, 18, 0, tzinfo=UTC)
    instants = [opens + timedelta(seconds=second) for second in range(10, 3_600, 10)]
    [event] = [one for one in open_events(of, instants[0]) if one.opens_at == opens]
    states = [of.states(event, now, [20])[0] for now in instants]
    halted = [state for state in states if state.market.status is MarketStatus.INACTIVE]
    assert 1 <= len(halted) <= 13
    assert not any(state.yes_bids or state.no_bids for state in halted)


def test_a_pause_freezes_the_quotes_of_all_markets() -> None:
    of = exchange(incidents=Incidents(1.0, 0.0, 0.0, 0.0))
    instants = [BEGIN + timedelta(minutes=61, seconds=second) for second in range(3_600)]
    paused = [now for now in instants if of.why_not_trading(now) == "trading is paused"]
    assert 5 <= len(paused) <= 45
    first, *_, last = paused
    assert last - first == timedelta(seconds=len(paused) - 1)
    for one, other in zip(open_events(of, first), open_events(of, last), strict=True):
        books = [
            [(state.yes_bids, state.no_bids) for state in of.states(event, now)]
            for event, now in ((one, first), (other, last))
        ]
        assert books[0] == books[1]


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_an_early_close_is_unannounced_and_settles_on_its_own_minute(seed: int) -> None:
    of = exchange(seed, Incidents(0.0, 0.0, 1.0, 0.0))
    scheduled = datetime(2026, 7, 22, 19, 0, tzinfo=UTC)
    [event] = [one for one in of.events(scheduled + timedelta(hours=1), "KXBTCD") if one.closes_at == scheduled]
    early = event.final_close_ms
    assert event.opens_ms + 120_000 <= early < event.scheduled_ms
    before, after = (datetime.fromtimestamp(early / 1_000 + offset, UTC) for offset in (-1, 1))
    assert states_at(of, event.ticker, before)[0].market.closes_at == scheduled
    shown = states_at(of, event.ticker, after)[0].market
    assert (milliseconds_of(shown.closes_at), shown.status) == (early, MarketStatus.CLOSED)
    settled = states_at(of, event.ticker, scheduled + timedelta(minutes=30))[0]
    assert settled.index_value_usd == of.indices["BTC"].settled_value(early)


def test_a_voided_market_has_no_value_and_the_others_have() -> None:
    of = exchange(3, Incidents(0.0, 0.0, 0.0, 0.2))
    now = datetime(2026, 7, 22, 20, 30, tzinfo=UTC)
    settled = [state for event in of.events(now, "KXBTC") for state in of.states(event, now) if state.market.is_settled]
    void = [state for state in settled if state.market.result is MarketResult.VOID]
    assert 0.1 < len(void) / len(settled) < 0.3
    event = of.event(void[0].market.event_ticker, now)
    assert event is not None
    assert "settlement_value_dollars" not in market_message(void[0], event)


def test_incidents_are_as_rare_as_they_are_said_to_be() -> None:
    incidents = Incidents(0.02, 0.005, 0.003, 0.001)
    pauses = [incidents.pause_in(5, hour) for hour in range(20_000)]
    assert sum(pause is not None for pause in pauses) == pytest.approx(400, rel=0.2)
    voids = sum(incidents.is_void(5, f"M{number}") for number in range(20_000))
    assert voids == pytest.approx(20, abs=15)
    assert not any(CALM.is_void(5, f"M{number}") for number in range(100))
