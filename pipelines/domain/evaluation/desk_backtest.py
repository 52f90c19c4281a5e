"""A backtest of the paper desk: recorded quotes and results as its inputs, applied by the function that trades live.

A candle is one quote at the end of its minute. An order of that minute can meet the next minute's quote at the
earliest, because the desk fills orders before it decides, and only from quotes that arrive after the order's latency.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from heapq import merge
from itertools import pairwise
from math import isnan

import numpy as np

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.inputs import BoardInput, DeskInput, MarketInput, ResultInput
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Trade
from pipelines.domain.evaluation.desk_quotes import DeskQuotes
from pipelines.domain.markets.books import Quote, Quotes, quotes_of_bids
from pipelines.domain.markets.contracts import Market, MarketStatus
from pipelines.domain.markets.fees import FeeTerms
from pipelines.domain.prices.bars import Floats, instant_of_minute

#: Quotes whose age is not known are shown with this age, which is too old to trade on by any rule.
UNKNOWN_AGE_SECONDS = 7200.0
#: Prices of contracts have up to six decimals.
PRICE_STEPS = 1_000_000


@dataclass(frozen=True)
class Assumptions:
    """What candles do not tell.

    `shown_contracts`: contracts at each quote's price; `result_delay_seconds`: from a market's close to its result.
    """

    shown_contracts: Decimal = Decimal(10)
    result_delay_seconds: int = 300


@dataclass(frozen=True)
class DeskRecording:
    """What is replayed of one series. `fee_terms`: by event ticker; `quotes.markets`: positions in `markets`."""

    symbol: str
    markets: Sequence[Market]
    quotes: DeskQuotes
    fee_terms: Mapping[str, FeeTerms]


@dataclass(frozen=True)
class DeskRun:
    """What a desk did. `trades`: all, in their order; `equity_usd`: after each change, at aware UTC; `boards`: shown.

    `state`: the last one.
    """

    state: DeskState
    trades: tuple[Trade, ...]
    events: tuple[DeskEvent, ...]
    equity_usd: tuple[tuple[datetime, Decimal], ...]
    boards: int


def run_desk(campaign: str, rules: DeskRules, inputs: Iterable[DeskInput]) -> DeskRun:
    """Apply inputs in their order to a new desk. Raises ValueError without inputs."""
    state: DeskState | None = None
    trades: list[Trade] = []
    events: list[DeskEvent] = []
    equity_usd: list[tuple[datetime, Decimal]] = []
    boards = 0
    for given in inputs:
        if state is None:
            state = DeskState.opened(campaign, rules, given.at)
            equity_usd.append((given.at, state.equity_usd))
        happened = apply(state, given)
        events += happened
        trades += [
            state.active[event.trade]
            for event in happened
            if event.kind is EventKind.SIGNAL and event.trade is not None
        ]
        boards += isinstance(given, BoardInput)
        if state.active or happened:
            equity = state.equity_usd
            if equity != equity_usd[-1][1]:
                equity_usd.append((given.at, equity))
    if state is None:
        raise ValueError("no quotes to show to the desk")
    return DeskRun(state, tuple(trades), tuple(events), tuple(equity_usd), boards)


def desk_inputs(recording: DeskRecording, probabilities: Floats, assumed: Assumptions) -> Iterator[DeskInput]:
    """Boards at their minutes, and each market's result after its delay, by time.

    `probabilities`: float64[n], P(yes) of each quote's market that the desk believes, NaN where unknown.
    """
    return merge(
        boards(recording, probabilities, assumed.shown_contracts),
        _results(recording, timedelta(seconds=assumed.result_delay_seconds)),
        key=lambda given: given.at,
    )


def boards(recording: DeskRecording, probabilities: Floats, shown_contracts: Decimal) -> Iterator[BoardInput]:
    """One board per minute and event that has quotes, by time; all of them are taken to be active."""
    quotes, markets = recording.quotes, recording.markets
    order = np.lexsort((quotes.markets, quotes.quotes.events, quotes.quotes.instants))
    quotes = quotes.part(order)
    columns = (
        quotes.markets.tolist(),
        _steps(quotes.quotes.bids, 0.0),
        _steps(quotes.quotes.asks, 1.0),
        np.minimum(quotes.ages_seconds, UNKNOWN_AGE_SECONDS).tolist(),
        probabilities[order].tolist(),
    )
    new = np.diff(quotes.quotes.instants).astype(np.bool_) | np.diff(quotes.quotes.events).astype(np.bool_)
    edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(quotes)]
    for start, stop in pairwise(edges):
        if stop == start:
            continue
        at = instant_of_minute(int(quotes.quotes.instants[start]))
        rows = zip(*(column[start:stop] for column in columns), strict=True)
        shown = tuple(
            _market_input(markets[market], at, age, probability, *_quotes(bid, ask, shown_contracts))
            for market, bid, ask, age, probability in rows
        )
        first = markets[columns[0][start]]
        yield BoardInput(
            at,
            recording.symbol,
            first.series_ticker,
            first.event_ticker,
            first.closes_at,
            recording.fee_terms[first.event_ticker],
            shown,
        )


def _market_input(
    market: Market, at: datetime, age_seconds: float, probability: float, quotes: Quotes, problem: str | None
) -> MarketInput:
    """Without the interval and the independent outcomes of the probability, which past fits do not have."""
    return MarketInput(
        market.ticker,
        MarketStatus.ACTIVE,
        at - timedelta(seconds=age_seconds) if age_seconds else at,
        quotes.yes_bid,
        quotes.yes_ask,
        quotes.no_bid,
        quotes.no_ask,
        None if isnan(probability) else Decimal(f"{probability:.6f}"),
        problem=problem,
    )


@lru_cache(maxsize=16_384)  # the pairs of prices are few
def _quotes(bid: int, ask: int, contracts: Decimal) -> tuple[Quotes, str | None]:
    """Quotes of both sides, prices in PRICE_STEPS; the problem of those that cross."""
    yes = Quote(Decimal(bid) / PRICE_STEPS, contracts) if bid > 0 else None
    no = Quote(1 - Decimal(ask) / PRICE_STEPS, contracts) if ask < PRICE_STEPS else None
    quotes = quotes_of_bids(yes, no)
    return quotes, "; ".join(quotes.problems) if yes is not None and no is not None and quotes.problems else None


def _steps(prices: Floats, none: float) -> list[int]:
    """Prices in PRICE_STEPS; `none` where there is no price."""
    found: list[int] = np.rint(np.nan_to_num(prices, nan=none) * PRICE_STEPS).astype(np.int64).tolist()
    return found


def _results(recording: DeskRecording, delay: timedelta) -> Iterator[ResultInput]:
    """The results of the markets that were shown, by time."""
    shown = [recording.markets[number] for number in np.unique(recording.quotes.markets).tolist()]
    for market in sorted(shown, key=lambda market: (market.closes_at, market.ticker)):
        assert market.result is not None
        yield ResultInput(market.closes_at + delay, market.ticker, market.result, market.settlement_value)
