"""What the paper desk is told of a strike table: the event's quotes with probabilities and their intervals."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from math import isnan, nan

import numpy as np

from pipelines.domain.desk.inputs import BoardInput, MarketInput
from pipelines.domain.desk.rules import Served
from pipelines.domain.markets.board import MarketSource, QuotedMarket
from pipelines.domain.markets.contracts import yes_probabilities
from pipelines.domain.markets.pool import PoolDecision, pooled_with
from pipelines.domain.models.ladder import LadderQuery, Reader
from pipelines.domain.models.strike_table import OPEN, is_comparable, market_status, usable_mid
from pipelines.domain.models.uncertainty import wilson_interval_pct
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.momentum import PERCENT_PER_UNIT
from pipelines.domain.prices.ticks import REPLAY
from pipelines.errors import single_line
from pipelines.live.strike_tables import Answered

#: Characters of a problem, which is kept with each input.
MOST_TEXT = 200


def board_input(
    answered: Answered, pool: PoolDecision, believed: Served, held: Collection[str], at: datetime
) -> BoardInput | None:
    """The markets of a table, and those of its event whose tickers are `held`, at `at` (aware UTC).

    None while no event is open. The probabilities are those of the table's last refresh.
    """
    board = answered.board
    if board.event_ticker is None or board.closes_at is None:
        return None
    shown = [market.quoted for market in answered.markets if market.quoted is not None]
    tickers = {quoted.listing.market.ticker for quoted in shown}
    wanted = set(held) - tickers
    quoted = [*shown, *(one for one in board.markets if one.listing.market.ticker in wanted)] if wanted else shown
    believes_pool = believed is Served.POOL or pool.served
    beliefs = _beliefs(quoted, answered.answerable, believes_pool=believes_pool)
    return BoardInput(
        at,
        board.symbol,
        board.series_ticker,
        board.event_ticker,
        board.closes_at,
        board.fee_terms,
        tuple(_market(one, belief) for one, belief in zip(quoted, beliefs, strict=True)),
        _problem(answered, at),
    )


@dataclass(frozen=True)
class _Belief:
    """P(YES) with its 95 % interval, fractions, and the independent outcomes behind it; None where unknown."""

    probability: Decimal | None
    low: Decimal | None
    high: Decimal | None
    independent: int | None


def _problem(answered: Answered, at: datetime) -> str | None:
    """Why nothing of the event may be traded at `at`."""
    state, board = replace(answered.state, now=at), answered.board
    problem = None
    if (status := market_status(board, at)) != OPEN:
        problem = f"the event is {status}"
    elif state.source == REPLAY and board.source is not MarketSource.SIMULATED:
        problem = "replayed prices are not of the time of the exchange's quotes"
    elif not is_comparable(state, board):
        problem = f"the price is {(at - state.tick.at).total_seconds():.0f} s old"
    elif answered.problems:
        problem = "; ".join(answered.problems)
    return None if problem is None else single_line(problem, MOST_TEXT)


def _market(quoted: QuotedMarket, belief: _Belief) -> MarketInput:
    """A market for the desk; one whose quotes cannot be, such as a fraction of the smallest price, has none."""
    market, quotes = quoted.listing.market, quoted.listing.quotes
    # Quotes of one side are what they are: a contract of it can be sold, and none can be bought.
    problems = () if quotes.yes_bid is None or quotes.no_bid is None else quotes.problems
    try:
        return MarketInput(
            market.ticker,
            market.status,
            quoted.received_at,
            quotes.yes_bid,
            quotes.yes_ask,
            quotes.no_bid,
            quotes.no_ask,
            belief.probability,
            belief.low,
            belief.high,
            belief.independent,
            single_line("; ".join(problems), MOST_TEXT) if problems else None,
        )
    except ValueError as error:
        return MarketInput(market.ticker, market.status, quoted.received_at, problem=single_line(str(error), MOST_TEXT))


def _beliefs(
    quoted: Sequence[QuotedMarket], answerable: tuple[LadderQuery, Reader] | None, *, believes_pool: bool
) -> list[_Belief]:
    """What is believed of each market: the pool, or the mid as the strike table serves it."""
    mids = np.array([usable_mid(one.listing.quotes)[0] for one in quoted])
    unknown = np.full(len(quoted), nan)
    yes, independent = (unknown, unknown) if answerable is None or not quoted else _answers(quoted, *answerable)
    low = high = chances = mids
    if believes_pool:
        lower, upper = (bound / PERCENT_PER_UNIT for bound in wilson_interval_pct(yes * PERCENT_PER_UNIT, independent))
        chances, low, high = (pooled_with(mids, each) for each in (yes, lower, upper))
    columns = zip(chances.tolist(), low.tolist(), high.tolist(), independent.tolist(), strict=True)
    return [
        _Belief(_decimal(chance), _decimal(least), _decimal(most), None if isnan(outcomes) else int(outcomes))
        for chance, least, most, outcomes in columns
    ]


def _answers(quoted: Sequence[QuotedMarket], query: LadderQuery, reader: Reader) -> tuple[Floats, Floats]:
    """The model's P(YES), fractions, and the independent outcomes behind the less certain bound: float64[n] each."""
    markets, outcomes = [one.listing.market for one in quoted], dict[float, float]()

    def at_or_above(strikes: Floats) -> Floats:
        chances, independent = query.with_independent(reader, strikes)
        outcomes.update(zip(strikes.tolist(), independent.tolist(), strict=True))
        return chances

    yes = yes_probabilities(markets, at_or_above)
    bounds = [[float(bound) for bound in market.bounds_usd() if bound is not None] for market in markets]
    return yes, np.array([_fewest([outcomes[bound] for bound in each]) for each in bounds])


def _fewest(outcomes: Sequence[float]) -> float:
    """The least of them, NaN where one is unknown."""
    return nan if any(isnan(one) for one in outcomes) else min(outcomes)


def _decimal(value: float) -> Decimal | None:
    return None if isnan(value) else Decimal(f"{value:.6f}")
