"""Decisions of the desk: which markets of a board to enter, which positions to sell, and why all others are not.

Pure: (state, quotes, probabilities, fees, limits, now) in, decisions with reasons out.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from functools import lru_cache

from pipelines.domain.desk.inputs import BoardInput, MarketInput
from pipelines.domain.desk.liquidity import available
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.rules import DeskRules, Exit
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Stage
from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.contracts import MarketStatus, Side
from pipelines.domain.markets.fees import CENTICENT, EXACT, FeeTerms, Fill, fill_fee

#: Quotes dated further ahead than this belong to another clock.
AHEAD_SECONDS = -1.0


@dataclass(frozen=True)
class Entry:
    """Buy contracts of a side at `limit` dollars or less. `probability`: of the side; `edge_usd`: per contract."""

    market: MarketInput
    side: Side
    limit: Decimal
    contracts: Decimal
    probability: Decimal
    edge_usd: Decimal


@dataclass(frozen=True)
class Sale:
    """Sell the contracts of a trade at `limit` dollars or more; `gain_usd`: per contract, against its probability."""

    number: int
    limit: Decimal
    contracts: Decimal
    gain_usd: Decimal


@dataclass(frozen=True)
class Decisions:
    """What follows from a board. Every market of it is entered or counted in `rejections`."""

    entries: tuple[Entry, ...]
    sales: tuple[Sale, ...]
    rejections: Mapping[Rejection, int]


def decide(state: DeskState, board: BoardInput, *, clock_set_back: bool = False) -> Decisions:
    """Decide about a board at its instant; the state is not changed."""
    rejections: Counter[Rejection] = Counter()
    if clock_set_back or board.problem is not None:
        rejections[Rejection.CLOCK if clock_set_back else Rejection.BOARD] = len(board.markets)
        return Decisions((), (), rejections)
    candidates: list[Entry] = []
    ttc = (board.closes_at - board.at).total_seconds()
    in_time = state.rules.min_ttc_seconds <= ttc <= state.rules.max_ttc_seconds
    for market in board.markets:
        found = _candidate(market, board, state) if in_time else Rejection.TIME
        if isinstance(found, Entry):
            candidates.append(found)
        else:
            rejections[found] += 1
    entries: list[Entry] = []
    if candidates:
        limits = _Limits.of(state, board)
        for candidate in sorted(candidates, key=lambda entry: (-entry.edge_usd, entry.market.ticker)):
            allowed = limits.allowed(candidate)
            if isinstance(allowed, Entry):
                entries.append(allowed)
            else:
                rejections[allowed] += 1
    return Decisions(tuple(entries), tuple(_sales(state, board)), rejections)


def is_usable(market: MarketInput, board: BoardInput, rules: DeskRules) -> Rejection | None:
    """Why a market's quotes may not be met by an order at the board's instant; None when they may."""
    if market.status is not MarketStatus.ACTIVE:
        return Rejection.STATUS
    age = (board.at - market.received_at).total_seconds()
    if not AHEAD_SECONDS <= age <= rules.max_quote_age_seconds:
        return Rejection.OLD
    crossed = _is_crossed(market.yes_bid, market.yes_ask) or _is_crossed(market.no_bid, market.no_ask)
    return Rejection.QUOTES if crossed or market.problem is not None else None


def is_known(market: MarketInput, rules: DeskRules) -> Rejection | None:
    """Why a market's probability may not be acted on; None when it may. An unknown number of outcomes counts as 0."""
    if market.probability is None:
        return Rejection.UNKNOWN
    return Rejection.THIN if (market.independent or 0) < rules.min_independent else None


@lru_cache(maxsize=8192)  # the prices of a ladder are few
def contract_fee(price: Decimal, terms: FeeTerms) -> Decimal:
    """Taker fee of one contract, rounded up to 0.0001 dollars.

    Equal prices have equal cached fees, however many zeros they end with: no zeros are kept, because a replay must not
    depend on which of them came first.
    """
    return fill_fee(Fill(Decimal(1), price), terms, CENTICENT).total.normalize(EXACT)


def affordable(money_usd: Decimal, price: Decimal, terms: FeeTerms, precision_usd: Decimal) -> Decimal:
    """Whole contracts that one fill gets for at most so much, with its fee, rounded to the account's precision."""
    with localcontext(EXACT):
        cost = price + contract_fee(price, terms)
        return max(Decimal(0), (money_usd - precision_usd) // cost)


def _is_crossed(bid: Quote | None, ask: Quote | None) -> bool:
    """Whether the quotes of a side contradict each other: its ask is at or below its bid."""
    return ask is not None and bid is not None and ask.price <= bid.price


def _candidate(market: MarketInput, board: BoardInput, state: DeskState) -> Entry | Rejection:
    """The better side of a market, with the stake's contracts."""
    rules = state.rules
    rejection = is_usable(market, board, rules) or _unbuyable(market, rules) or is_known(market, rules)
    if rejection is not None:
        return rejection
    offers = (_offer(market, side, board, rules) for side in (Side.YES, Side.NO))
    best = max((offer for offer in offers if offer is not None), key=lambda entry: entry.edge_usd)
    if best.edge_usd < rules.min_edge_usd:
        return Rejection.EDGE
    if rules.interval_share and best.edge_usd < rules.interval_share * _half_width(market):
        return Rejection.INTERVAL
    ask = market.ask(best.side)
    if ask is None or not available(state.taken, market.ticker, best.side, ask, is_sale=False):
        return Rejection.SIZE
    return best if best.contracts else Rejection.STAKE


def _unbuyable(market: MarketInput, rules: DeskRules) -> Rejection | None:
    """Why no side has quotes that can be bought by; None when one has."""
    spreads = [spread for side in (Side.YES, Side.NO) if (spread := _spread_usd(market, side)) is not None]
    if not spreads:
        return Rejection.NO_ASK
    return Rejection.SPREAD if min(spreads) > rules.max_spread_usd else None


def _spread_usd(market: MarketInput, side: Side) -> Decimal | None:
    """The spread of a side; None without two quotes."""
    ask, bid = market.ask(side), market.bid(side)
    return ask.price - bid.price if ask is not None and bid is not None and 0 < bid.price < ask.price < 1 else None


def _offer(market: MarketInput, side: Side, board: BoardInput, rules: DeskRules) -> Entry | None:
    """What one side offers, whatever its edge, which without a gain before the fee is shown before the fee."""
    spread, ask, probability = _spread_usd(market, side), market.ask(side), market.probability_of(side)
    if spread is None or spread > rules.max_spread_usd or ask is None or probability is None:
        return None
    edge = probability - ask.price
    contracts = Decimal(0)
    if edge >= rules.min_edge_usd:  # a fee is never negative
        edge -= contract_fee(ask.price, board.fee_terms)
        contracts = affordable(rules.stake_usd, ask.price, board.fee_terms, rules.balance_precision_usd)
    return Entry(market, side, ask.price, contracts, probability, edge)


def _half_width(market: MarketInput) -> Decimal:
    """Half the width of the probability's interval; 1, as if nothing were known, without one."""
    return Decimal(1) if market.low is None or market.high is None else (market.high - market.low) / 2


@dataclass
class _Limits:
    """What the limits still allow on a board.

    `lost`: whether the limit of daily loss is reached; `held`: markets with a trade, and `known`: with a result;
    `of_event`, `of_symbol`: trades; `room_usd`: capital of the symbol that is not bound; `decided`: entries so far.
    """

    rules: DeskRules
    terms: FeeTerms
    stopped: bool
    lost: bool
    held: set[str]
    known: set[str]
    of_event: int
    of_symbol: int
    room_usd: Decimal
    cash_usd: Decimal
    decided: list[Entry] = field(default_factory=list)

    @classmethod
    def of(cls, state: DeskState, board: BoardInput) -> "_Limits":
        trades, rules = list(state.trades()), state.rules
        of_symbol = [trade for trade in trades if trade.symbol == board.symbol]
        of_event = [trade for trade in of_symbol if trade.event_ticker == board.event_ticker]
        with localcontext(EXACT):
            bound = sum((trade.bound_usd for trade in of_symbol), Decimal(0))
            reserved = sum((trade.entry.open_contracts * trade.entry.limit for trade in trades), Decimal(0))
            room, cash = rules.capital_per_symbol_usd - bound, state.book.cash_usd - reserved
        return cls(
            rules,
            board.fee_terms,
            state.stopped is not None,
            state.loss_today_usd >= rules.daily_loss_usd,
            {trade.ticker for trade in trades},
            {trade.ticker for trade in state.ended.values() if trade.result is not None},
            len(of_event),
            len(of_symbol),
            room,
            cash,
        )

    def allowed(self, entry: Entry) -> Entry | Rejection:
        """The entry as far as the limits allow it beside those decided before."""
        decided, ticker = len(self.decided), entry.market.ticker
        gates = (
            (Rejection.STOPPED, self.stopped),
            (Rejection.DAILY_LOSS, self.lost),
            (Rejection.STATUS, ticker in self.known),
            (Rejection.HELD, ticker in self.held),
            (Rejection.EVENT, self.of_event + decided >= self.rules.positions_per_event),
            (Rejection.SYMBOL, self.of_symbol + decided >= self.rules.positions_per_symbol),
        )
        for reason, shut in gates:
            if shut:
                return reason
        with localcontext(EXACT):
            planned = sum((other.contracts * other.limit for other in self.decided), Decimal(0))
        for money, reason in ((self.room_usd, Rejection.CAPITAL), (self.cash_usd, Rejection.CASH)):
            most = affordable(money - planned, entry.limit, self.terms, self.rules.balance_precision_usd)
            if not (contracts := min(entry.contracts, most)):
                return reason
            entry = replace(entry, contracts=contracts)
        self.decided.append(entry)
        return entry


def _sales(state: DeskState, board: BoardInput) -> list[Sale]:
    """Positions whose bid is worth more than they are, by the rule of exits."""
    sales: list[Sale] = []
    if state.rules.exit is Exit.NONE:
        return sales
    markets = {market.ticker: market for market in board.markets}
    for trade in state.trades(event_ticker=board.event_ticker):
        market = markets.get(trade.ticker)
        if market is None or trade.stage is not Stage.OPEN or trade.working:
            continue
        if is_usable(market, board, state.rules) or is_known(market, state.rules):
            continue
        bid, probability = market.bid(trade.side), market.probability_of(trade.side)
        if bid is None or probability is None:
            continue
        if not available(state.taken, trade.ticker, trade.side, bid, is_sale=True):
            continue
        gain = bid.price - contract_fee(bid.price, board.fee_terms) - probability
        if gain >= state.rules.exit_edge_usd:
            sales.append(Sale(trade.number, bid.price, trade.held, gain))
    return sales
