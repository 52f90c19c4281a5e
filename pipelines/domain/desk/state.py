"""The desk's state, all of it: what it needs to go on after a restart as if nothing had happened.

Mappings are read in the order of their keys, because a store may keep them in another order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext

from pipelines.domain.desk.book import Book
from pipelines.domain.desk.liquidity import Taken
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.desk.trades import Trade
from pipelines.domain.markets.fees import EXACT

#: Trades paid by a result are kept this long, and until the next full hour: it may be revised.
REVISABLE = timedelta(days=2)
#: Gains by day are kept this long: a clock that jumps ahead and back does not forget today's loss.
DAYS_KEPT = timedelta(days=30)
#: Trades that no result can change are kept this long, until the last of them was surely stored.
STORABLE = timedelta(hours=1)


@dataclass
class SymbolTotals:
    """Counts of a symbol since the campaign began.

    `rejections`: how often a market was looked at and not entered, by reason.
    """

    allowed: int = 0
    opened: int = 0
    closed: int = 0
    winning: int = 0
    losing: int = 0
    gain_usd: Decimal = Decimal(0)
    rejections: dict[Rejection, int] = field(default_factory=dict)

    def reject(self, reason: Rejection, count: int = 1) -> None:
        """Count a rejection."""
        self.rejections[reason] = self.rejections.get(reason, 0) + count


@dataclass
class DeskState:
    """The state of one campaign at its newest input.

    `at` (aware UTC): of that input, and `inputs`: how many there were. `active`: trades not ended, by number; `ended`:
    those of the last two days whose result may be revised, and all of the last hour. `taken`: contracts that the desk
    took from quotes. `daily_gain_usd`: gain of closed positions less fees, by UTC day. `stopped`: why no trades
    are entered by an operator's order. `breaches`: limits that are exceeded, in words, by name.
    """

    campaign: str
    rules: DeskRules
    book: Book
    started_at: datetime
    at: datetime
    inputs: int = 0
    next_number: int = 1
    active: dict[int, Trade] = field(default_factory=dict)
    ended: dict[int, Trade] = field(default_factory=dict)
    totals: dict[str, SymbolTotals] = field(default_factory=dict)
    taken: dict[str, Taken] = field(default_factory=dict)
    daily_gain_usd: dict[date, Decimal] = field(default_factory=dict)
    stopped: str | None = None
    breaches: dict[str, str] = field(default_factory=dict)
    highest_equity_usd: Decimal = Decimal(0)
    max_drawdown_usd: Decimal = Decimal(0)

    @classmethod
    def opened(cls, campaign: str, rules: DeskRules, at: datetime) -> "DeskState":
        """A new campaign with the capital of its rules."""
        capital = rules.capital_usd
        return cls(campaign, rules, Book.opened(capital), at, at, highest_equity_usd=capital)

    def trades(self, *, symbol: str | None = None, event_ticker: str | None = None) -> Iterator[Trade]:
        """Active trades in the order of their numbers."""
        for number in sorted(self.active):
            trade = self.active[number]
            if symbol in (None, trade.symbol) and event_ticker in (None, trade.event_ticker):
                yield trade

    def totals_of(self, symbol: str) -> SymbolTotals:
        """The counts of a symbol, for changing."""
        return self.totals.setdefault(symbol, SymbolTotals())

    @property
    def loss_today_usd(self) -> Decimal:
        """Loss of the UTC day of the newest input, as `loss_usd`."""
        return self.loss_usd(self.at)

    def loss_usd(self, now: datetime) -> Decimal:
        """Loss of the UTC day at `now` (aware UTC): of closed positions, and all fees; 0 after a gain.

        An input may be dated ahead of `now`; its day counts then, as it does for the limit.
        """
        day = max(now, self.at).date()
        return max(Decimal(0), -self.daily_gain_usd.get(day, Decimal(0)))

    @property
    def equity_usd(self) -> Decimal:
        """Cash, and the contracts held at the newest bid; without one they are worth nothing."""
        with localcontext(EXACT):
            return self.book.cash_usd + sum(
                (trade.held * trade.last_bid for trade in self.active.values() if trade.last_bid is not None),
                Decimal(0),
            )

    def add_gain(self, symbol: str, gain_usd: Decimal) -> None:
        """Count a gain or loss of a symbol on the day of the newest input."""
        today = self.at.date()
        with localcontext(EXACT):
            self.daily_gain_usd[today] = self.daily_gain_usd.get(today, Decimal(0)) + gain_usd
            self.totals_of(symbol).gain_usd += gain_usd

    def prune(self) -> None:
        """Forget ended trades, days and taken quotes that no later input can concern."""
        for number, trade in list(self.ended.items()):
            kept = STORABLE if trade.result is None else REVISABLE
            if trade.ended_at is not None and trade.ended_at <= self.at - kept:
                del self.ended[number]
        first_day = self.at.date() - DAYS_KEPT
        for day in [each for each in self.daily_gain_usd if each < first_day]:
            del self.daily_gain_usd[day]
        for key in [each for each, taken in self.taken.items() if taken.closes_at <= self.at]:
            del self.taken[key]


def stranded(trades: Iterable[Trade], at: datetime, patience: timedelta) -> list[Trade]:
    """Trades whose market closed longer than `patience` ago and that have not ended at `at` (aware UTC)."""
    return [trade for trade in trades if trade.closes_at + patience < at]
