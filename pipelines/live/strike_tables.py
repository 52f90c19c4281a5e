"""The strike table of one series in a live session: its event and quotes from the feed, its file."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import nan

import numpy as np

from pipelines.domain.markets.basis import GRID_BPS, QuotedBasis, choose_basis
from pipelines.domain.markets.board import EventBoard, MarketSource, QuotedMarket
from pipelines.domain.markets.contracts import yes_probabilities
from pipelines.domain.markets.nearest import MarketBounds
from pipelines.domain.markets.pool import NOT_SCORED, PoolDecision
from pipelines.domain.markets.question import MarketQuestion, without_basis
from pipelines.domain.markets.settlement import MARKET_RULE
from pipelines.domain.models.ladder import (
    LadderQuery,
    LiveState,
    Reader,
    ladder_strikes_usd,
    next_market_close,
    ttc_seconds,
)
from pipelines.domain.models.strike_table import (
    OPEN,
    ROWS,
    TableMarket,
    is_comparable,
    is_fresh,
    ladder_markets,
    market_status,
    strike_table,
)
from pipelines.domain.prices.bars import Floats
from pipelines.domain.prices.momentum import BPS_PER_UNIT
from pipelines.live.probability_writer import strike_table_path
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.storage.postgres.connection import AsyncPool

#: Answers reach this far ahead.
SECONDS_PER_HOUR = 3_600


@dataclass
class StrikeTable:
    """Answers the markets of a series and writes their file. One task refreshes; the feed replaces `board`.

    `wake`: set by new quotes, and by a new price after its probability file was written.
    `is_first`: among the series of its symbol; then its quotes of each minute give a basis.
    """

    refresher: SymbolRefresher
    board: EventBoard
    is_first: bool
    quoted_basis: QuotedBasis = field(default_factory=QuotedBasis)
    pool: PoolDecision = NOT_SCORED
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: Arrival of the first quotes that the file does not show yet, by the performance counter.
    arrived_at: float | None = None
    _bounds: MarketBounds | None = None
    _minute: datetime | None = None
    _last: "Answered | None" = None

    def __post_init__(self) -> None:
        series = None if self.is_first else self.board.series_ticker
        self.path = strike_table_path(self.refresher.files.folder, self.refresher.symbol, series)
        self.refresher.on_new_price.append(self.wake)

    @property
    def is_written(self) -> bool:
        """Whether the file shows markets."""
        return self._last is not None and any(market.quoted is not None for market in self._last.markets)

    @property
    def answered(self) -> "Answered | None":
        """What the last file was made of; another object after each refresh, None before the first."""
        return self._last

    def use_board(self, board: EventBoard) -> None:
        """Show what the feed knows now."""
        self.board = board
        self.arrived_at = self.arrived_at or time.perf_counter()
        self.wake.set()

    async def refresh(self, pool: AsyncPool, now: datetime) -> None:
        """Answer the event's markets and replace the file at `now` (aware UTC); nothing before the first price.

        Raises SupersededError when another session may write, OSError when the file cannot be written.
        """
        tick, board = self.refresher.newest_tick(), _open_board(self.board, now)
        arrived_at, self.arrived_at = self.arrived_at, None
        if tick is None:
            return
        closes_at = board.closes_at or next_market_close(now)
        ttc = ttc_seconds(now, closes_at)
        question = self._question(now, closes_at, board)
        state = self.refresher.state(tick, now, question)
        quoted = self._nearest(board, tick.price_usd)
        if ttc > SECONDS_PER_HOUR:
            found = [f"the event closes in {ttc / SECONDS_PER_HOUR:.1f} hours: answers reach one hour ahead"]
            answerable = None
        else:
            asked = await self.refresher.ask(pool, state, np.empty(0), ttc)
            state, answerable, found = asked.state, asked.answerable, asked.problems
        markets = self._with_answers(quoted, tick.price_usd, answerable)
        problems = [*self.refresher.price_problems, *found]
        self._last = Answered(state, board, markets, closes_at, problems, answerable)
        self._write(self._last)
        if arrived_at is not None:
            self.refresher.metrics.record("table", time.perf_counter() - arrived_at)
        if self.is_first and answerable is not None and is_comparable(state, board):
            self._compare(board, quoted, now, *answerable)

    def _question(self, now: datetime, closes_at: datetime, board: EventBoard) -> MarketQuestion:
        """What the markets ask; those of the simulated exchange by the basis of its own quotes, which is invented."""
        question = self.refresher.question(now, closes_at, MARKET_RULE)
        if board.source is not MarketSource.SIMULATED:
            return question
        choice = choose_basis([self.quoted_basis.estimate()], now)
        warnings = () if choice.basis else (without_basis("; ".join(choice.reasons)),)
        return replace(question, basis=choice.basis, refused=choice.reasons, warnings=warnings)

    def write_final(self, now: datetime, reason: str) -> None:
        """Write the last answers without quotes, and why no further refresh follows."""
        if self._last is not None:
            self._write(replace(self._last, state=replace(self._last.state, now=now)), reason)

    def _write(self, answered: "Answered", ended: str | None = None) -> None:
        payload = strike_table(
            answered.state,
            self.refresher.tier_usd,
            answered.board,
            answered.markets,
            closes_at=answered.closes_at,
            pool=self.pool,
            features=self.refresher.ticks.features(),
            problems=answered.problems,
            ended=ended,
        )
        self.refresher.files.replace(self.path, payload)

    def _nearest(self, board: EventBoard, price_usd: float) -> list[QuotedMarket]:
        """The markets of the table, nearest to the price first."""
        by_ticker = {one.listing.market.ticker: one for one in board.markets}
        if self._bounds is None or self._bounds.tickers != tuple(by_ticker):
            self._bounds = MarketBounds.of(one.listing.market for one in board.markets)
        return [by_ticker[ticker] for ticker in self._bounds.nearest(price_usd, ROWS)]

    def _with_answers(
        self, quoted: Sequence[QuotedMarket], price_usd: float, answerable: tuple[LadderQuery, Reader] | None
    ) -> list[TableMarket]:
        """The markets with P(yes), or without markets the ladder."""
        if quoted:
            found = np.full(len(quoted), nan) if answerable is None else _yes(quoted, *answerable)
            return [TableMarket.of(one, float(chance)) for one, chance in zip(quoted, found, strict=True)]
        strikes = ladder_strikes_usd(price_usd, self.refresher.tier_usd)
        yes = np.full(len(strikes), nan)
        if answerable is not None:
            query, reader = answerable
            yes = query.at_or_above(reader, strikes)
        return ladder_markets(strikes, yes, price_usd)

    def _compare(
        self, board: EventBoard, quoted: Sequence[QuotedMarket], now: datetime, query: LadderQuery, reader: Reader
    ) -> None:
        """Once a minute, compare the quotes of the table with the answers at each basis of the grid."""
        minute = now.astimezone(UTC).replace(second=0, microsecond=0)
        counted = self.quoted_basis.counted
        is_counted = counted is not None and now <= counted.at  # also after the clock was set back
        if is_counted or minute == self._minute or market_status(board, now) != OPEN:
            return
        fresh = [one for one in quoted if is_fresh(one, now)]
        quotes = [one.listing.quotes for one in fresh]
        bids = np.array([nan if one.yes_bid is None else float(one.yes_bid.price) for one in quotes])
        asks = np.array([nan if one.yes_ask is None else float(one.yes_ask.price) for one in quotes])
        chances = _yes(fresh, query, reader, query.settlement.basis_bps - GRID_BPS)
        self.quoted_basis.add(now, query.price_usd, chances, bids, asks)
        self._minute = minute


@dataclass(frozen=True)
class Answered:
    """What a file was made of. `answerable`: the query and a reader of what answers it, None where nothing is known."""

    state: LiveState
    board: EventBoard
    markets: Sequence[TableMarket]
    closes_at: datetime
    problems: Sequence[str]
    answerable: tuple[LadderQuery, Reader] | None = None


def _open_board(board: EventBoard, now: datetime) -> EventBoard:
    """The board without an event that has closed: a feed that has stopped does not hand over."""
    if board.closes_at is None or board.closes_at > now:
        return board
    return replace(board, event_ticker=None, title="", closes_at=None, markets=())


def _yes(
    quoted: Sequence[QuotedMarket], query: LadderQuery, reader: Reader, shifts_bps: float | Floats = 0.0
) -> Floats:
    """P(yes) of each market, fractions: float64[n], or float64[m, n] for m shifts, by which its strikes are moved."""
    shifts = np.exp(np.asarray(shifts_bps) / BPS_PER_UNIT)[..., np.newaxis]

    def at_or_above(strikes: Floats) -> Floats:
        moved = strikes * shifts
        return query.at_or_above(reader, moved.ravel()).reshape(moved.shape)

    return yes_probabilities([one.listing.market for one in quoted], at_or_above)
