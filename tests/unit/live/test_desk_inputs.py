"""What the paper desk is told of a strike table."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import numpy as np
import pytest
from strike_tables import CLOSE, MID, NOW, PRICE, SERVED, board, prices, quoted, state, table

from pipelines.domain.desk.inputs import BoardInput
from pipelines.domain.desk.rules import Served
from pipelines.domain.markets.board import EventBoard, MarketSource, QuotedMarket
from pipelines.domain.markets.books import Quote
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import LadderQuery, LiveState, Reader
from pipelines.domain.models.probability import Reading
from pipelines.domain.models.strike_table import TableMarket
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.ticks import REPLAY, Tick
from pipelines.live.desk_inputs import board_input
from pipelines.live.strike_tables import Answered


def reader(independent: Callable[[Floats], Floats] = lambda moves: np.full(len(moves), 400.0)) -> Reader:
    """The price ends at least 10 bp away with half of the probability, either way."""

    def read(moves_bps: Floats) -> Reading:
        beyond = 50.0 * np.exp(-np.abs(moves_bps) / 40.0)
        return Reading(beyond, np.zeros(len(moves_bps), dtype=np.bool_), 1e6, independent(moves_bps))

    return read


def answerable(read: Reader) -> tuple[LadderQuery, Reader]:
    return LadderQuery(
        cast(Any, None), cast(Any, None), MarketStates.single(0.0, None, None), PRICE, np.empty(0), 1_200.0
    ), read


def answered(
    of: EventBoard,
    shown: int | None = None,
    live: LiveState | None = None,
    read: Reader | None = None,
    problems: tuple[str, ...] = (),
) -> Answered:
    """What a table was made of that shows the first `shown` markets of the board."""
    markets = [TableMarket.of(one, 0.5) for one in of.markets[:shown]]
    return Answered(live or state(), of, markets, CLOSE, problems, answerable(read or reader()))


def told(given: Answered, believed: Served = Served.POOL, held: tuple[str, ...] = ()) -> BoardInput:
    found = board_input(given, MID, believed, held, given.state.now)
    assert found is not None
    return found


def test_the_pool_is_that_of_the_strike_table_with_an_interval_around_it() -> None:
    of = board(quoted())
    [market] = told(answered(of)).markets
    query, read = answerable(reader())
    chance = float(query.at_or_above(read, np.array([80_200.0]))[0])
    [row] = table(of, [chance], SERVED)["strikes"]
    assert row["active_side"] == "yes"
    assert market.probability is not None
    assert market.low is not None
    assert market.high is not None
    assert float(market.probability) == pytest.approx(row["pooled_probability"] / 100, abs=1e-6)
    assert market.probability == market.probability.quantize(Decimal("0.000001"))
    assert market.low < market.probability < market.high
    assert (market.independent, market.problem) == (400, None)
    assert (market.yes_bid, market.received_at) == (of.markets[0].listing.quotes.yes_bid, of.markets[0].received_at)


def test_the_interval_is_wider_with_fewer_independent_outcomes() -> None:
    def width(outcomes: float) -> Decimal:
        [market] = told(answered(board(quoted()), read=reader(lambda moves: np.full(len(moves), outcomes)))).markets
        assert market.low is not None
        assert market.high is not None
        return market.high - market.low

    assert width(50.0) > 2 * width(400.0)


@pytest.mark.parametrize(("pool", "is_mid"), [(MID, True), (SERVED, False)], ids=["mid", "pool"])
def test_the_served_probability_is_the_mid_until_scores_support_the_pool(pool: Any, is_mid: bool) -> None:
    given = answered(board(quoted(**prices("0.1700", "0.2100"))))
    found = board_input(given, pool, Served.SERVED, (), NOW)
    assert found is not None
    [market] = found.markets
    assert (market.probability == Decimal("0.19")) is is_mid


def test_a_market_with_a_trade_is_told_when_the_table_no_longer_shows_it() -> None:
    of = board(*(quoted(f"{strike}.99") for strike in (80_199, 80_449, 80_699)))
    last = of.markets[2].listing.market.ticker
    assert [one.ticker for one in told(answered(of, shown=1)).markets] == [of.markets[0].listing.market.ticker]
    found = told(answered(of, shown=1), held=(last, of.markets[0].listing.market.ticker, "of another event"))
    assert [one.ticker for one in found.markets] == [of.markets[0].listing.market.ticker, last]
    assert found.markets[1].probability is not None


def late(live: LiveState, seconds: float) -> LiveState:
    return replace(live, tick=Tick(live.now - timedelta(seconds=seconds), PRICE))


@pytest.mark.parametrize(
    ("change", "live", "problem"),
    [
        ({}, state(), None),
        ({"trading": False}, state(), "the event is halted: the exchange does not trade"),
        ({}, state(REPLAY), "replayed prices are not of the time of the exchange's quotes"),
        ({"source": MarketSource.SIMULATED}, state(REPLAY), None),
        ({}, late(state(), 3.0), "the price is 3 s old"),
        ({}, state(now=NOW + timedelta(seconds=4)), "the event is unavailable: quotes are 4 s old"),
    ],
    ids=["none", "halted", "replayed", "simulated", "stale price", "stale quotes"],
)
def test_why_nothing_of_the_event_may_be_traded(change: Any, live: LiveState, problem: str | None) -> None:
    found = told(answered(board(quoted(), **change), live=live))
    assert found.problem == problem
    [market] = found.markets
    assert market.yes_bid is not None, "what is held is still met by its quotes"


def test_a_problem_of_the_prices_or_the_model_stops_trading() -> None:
    found = told(answered(board(quoted()), problems=("momentum is not known: the baseline answers",)))
    assert found.problem == "momentum is not known: the baseline answers"


def test_what_is_not_known_is_none() -> None:
    unknown = replace(answered(board(quoted())), answerable=None)
    [market] = told(unknown).markets
    assert (market.probability, market.low, market.high, market.independent) == (None, None, None, None)
    [wide] = told(answered(board(quoted(**prices("0.1000", "0.6000"))))).markets
    assert wide.probability is None, "no mid in so wide a spread"
    [without] = told(answered(board(quoted()), read=reader(lambda moves: np.full(len(moves), np.nan)))).markets
    assert without.probability is not None
    assert (without.low, without.high, without.independent) == (None, None, None)


def test_of_two_bounds_the_one_with_fewer_outcomes_counts() -> None:
    def outcomes(moves_bps: Floats) -> Floats:
        return np.where(moves_bps > 0, 70.0, 900.0)

    between = quoted("80199.99", strike_type="between", cap_strike=80449.99)
    [market] = told(answered(board(between), read=reader(outcomes))).markets
    assert market.independent == 70


def with_quotes(one: QuotedMarket, **changes: Any) -> QuotedMarket:
    return replace(one, listing=replace(one.listing, quotes=replace(one.listing.quotes, **changes)))


def test_quotes_that_cannot_be_relied_on_are_named() -> None:
    crossed = with_quotes(quoted(), problems=("crossed: bids of 0.6 for YES and 0.5 for NO",))
    impossible = with_quotes(quoted("80449.99"), yes_ask=Quote(Decimal("0.2"), Decimal("NaN")))
    first, second = told(answered(board(crossed, impossible))).markets
    assert first.problem == "crossed: bids of 0.6 for YES and 0.5 for NO"
    assert (first.probability, first.yes_bid is None) == (None, False)
    assert second.problem is not None
    assert "yes_ask" in second.problem
    assert (second.yes_bid, second.probability) == (None, None)


def test_quotes_of_one_side_are_no_problem() -> None:
    one_sided = with_quotes(quoted(), no_bid=None, yes_ask=None, problems=("no bids for NO",))
    [market] = told(answered(board(one_sided))).markets
    assert (market.problem, market.yes_ask, market.yes_bid is None) == (None, None, False)


def test_without_an_event_there_is_nothing_to_tell() -> None:
    closed = answered(board(event_ticker=None, closes_at=None))
    assert board_input(closed, SERVED, Served.POOL, (), NOW) is None
