"""The desk's one step: an input changes the state and gives events. Nothing else changes it.

The same inputs in the same order from the same state give the same events and the same state, live and replayed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from pipelines.domain.desk.book import Posting, posting
from pipelines.domain.desk.decisions import Entry, Sale, contract_fee, decide, is_known, is_usable
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.fills import fill_order, meets
from pipelines.domain.desk.inputs import BoardInput, DeskInput, MarketInput, ResultInput, RulesInput, SwitchInput
from pipelines.domain.desk.limits import concerned, exceeded
from pipelines.domain.desk.liquidity import available, forget_emptied, take
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Order, Stage, Trade
from pipelines.domain.markets.contracts import MarketResult, MarketStatus, payoff
from pipelines.domain.markets.fees import EXACT, FeeTerms

#: Inputs of several sources may be out of order by so much.
TOLERATED_DISORDER = timedelta(seconds=1)
NOTHING = Decimal(0)
MARKET_CLOSED = "the market has closed"


def apply(state: DeskState, given: DeskInput) -> list[DeskEvent]:
    """Apply an input to the state; return the events in their order.

    Inputs refuse what cannot be when they are made, so that none fails halfway.
    """
    step = _Step(state, given.at)
    step.begin()
    match given:
        case BoardInput():
            step.board(given)
        case ResultInput():
            step.result(given)
        case SwitchInput():
            step.switch(given)
        case RulesInput():
            step.change_rules(given.rules)
    step.finish()
    return step.events


def apply_all(state: DeskState, inputs: Iterable[DeskInput]) -> list[DeskEvent]:
    """Apply inputs in their order; return all events."""
    return [event for given in inputs for event in apply(state, given)]


@dataclass
class _Step:
    """One input being applied."""

    state: DeskState
    at: datetime
    events: list[DeskEvent] = field(default_factory=list)
    clock_set_back: bool = False

    def note(
        self,
        kind: EventKind,
        reason: str = "",
        trade: Trade | None = None,
        *,
        price: Decimal | None = None,
        contracts: Decimal | None = None,
        fee_usd: Decimal | None = None,
        amounts: Posting | None = None,
    ) -> None:
        """Record an event, and make its posting."""
        if amounts:
            self.state.book.post(amounts)
        self.events.append(
            DeskEvent(
                self.at,
                kind,
                reason,
                None if trade is None else trade.number,
                None if trade is None else trade.symbol,
                None if trade is None else trade.ticker,
                None if trade is None else trade.side,
                price,
                contracts,
                fee_usd,
                amounts or {},
            )
        )

    def begin(self) -> None:
        """Advance the time, and cancel what has expired."""
        state, before = self.state, self.state.at
        if state.at - self.at > TOLERATED_DISORDER:
            self.clock_set_back = True
            reason = f"the clock was set back by {(state.at - self.at).total_seconds():.0f} s"
            self.note(EventKind.CLOCK, reason)
            for trade in state.trades():
                self.cancel(trade, reason)
            state.at = self.at
        state.at = max(state.at, self.at)
        state.inputs += 1
        for trade in state.trades():
            if self.at >= trade.closes_at:
                self.cancel(trade, MARKET_CLOSED)
            for order in trade.working:
                if self.at >= order.expires_at:
                    self.end_order(trade, order, "it has expired")
        if _hour(before) != _hour(state.at):
            state.prune()

    def finish(self) -> None:
        """End trades that have nothing left to do, and compare with the limits: a breach stops entries."""
        state = self.state
        self.end_trades()
        equity = state.equity_usd
        state.highest_equity_usd = max(state.highest_equity_usd, equity)
        state.max_drawdown_usd = max(state.max_drawdown_usd, state.highest_equity_usd - equity)
        breaches = exceeded(state)
        for name in sorted(breaches.keys() - state.breaches.keys()):
            self.note(EventKind.BREACH, breaches[name])
            for trade in state.trades():
                if concerned(name, trade):
                    self.end_entry(trade, f"the limit of {name} is exceeded")
            self.end_trades()
        for name in sorted(state.breaches.keys() - breaches.keys()):
            self.note(EventKind.KEPT, f"{name} is within its limit again")
        state.breaches = breaches

    def end_trades(self) -> None:
        """End trades without orders and contracts; those with contracts and without an entry at work are open."""
        for trade in self.state.trades():
            if trade.working:
                continue
            if not trade.entry.fills:
                self.end(trade, Stage.CANCELLED)
            elif not trade.held:
                self.end(trade, Stage.CLOSED)
            elif trade.stage in {Stage.SIGNALLED, Stage.WORKING}:
                trade.stage = Stage.OPEN

    def board(self, board: BoardInput) -> None:
        """Fill orders, then decide by what is left."""
        state = self.state
        markets = {market.ticker: market for market in board.markets}
        if board.problem is None and state.taken:
            tickers = {one.ticker for one in state.taken.values()}
            known = (market for market in board.markets if market.ticker in tickers)
            usable = (market for market in known if is_usable(market, board, state.rules) is None)
            forget_emptied(state.taken, {market.ticker: market for market in usable})
        for trade in state.trades(event_ticker=board.event_ticker):
            trade.closes_at = board.closes_at  # a market may close early
            if self.at >= trade.closes_at:
                self.cancel(trade, MARKET_CLOSED)
            if (market := markets.get(trade.ticker)) is not None:
                self.meet(trade, market, board)
        self.end_trades()
        decisions = decide(state, board, clock_set_back=self.clock_set_back)
        totals = state.totals_of(board.symbol)
        for reason, count in decisions.rejections.items():
            totals.reject(reason, count)
        for entry in decisions.entries:
            self.signal(entry, board)
        for sale in decisions.sales:
            self.signal_sale(sale)

    def meet(self, trade: Trade, market: MarketInput, board: BoardInput) -> None:
        """Let a trade's orders meet the quotes of its market."""
        bid = market.bid(trade.side)
        usable = board.problem is None and is_usable(market, board, self.state.rules) is None
        if usable:  # without a bid nobody would buy it
            trade.last_bid = NOTHING if bid is None else bid.price
        if market.status is not MarketStatus.ACTIVE:
            self.cancel(trade, f"the market is {market.status}")
            return
        rules = self.state.rules
        if board.closes_at - self.at < timedelta(seconds=rules.min_ttc_seconds):
            self.end_entry(trade, "it is too close to the close")
        latency = timedelta(seconds=float(rules.latency_seconds))
        for order in trade.working:
            if not usable or min(market.received_at, self.at) < order.placed_at + latency:
                continue
            if trade.stage is Stage.SIGNALLED:
                trade.stage = Stage.WORKING
                self.note(EventKind.WORK, "", trade)
            self.fill(trade, order, market, board.fee_terms)
            if not order.is_sale and (reason := self.why_not_wait(trade, market, board.fee_terms)):
                self.end_entry(trade, reason)

    def why_not_wait(self, trade: Trade, market: MarketInput, terms: FeeTerms) -> str | None:
        """Why the rest of an entry is not filled at its limit any more; None while it may gain."""
        probability, limit = market.probability_of(trade.side), trade.entry.limit
        if probability is None:
            return Rejection.UNKNOWN.value
        if (unknown := is_known(market, self.state.rules)) is not None:
            return unknown.value
        return None if probability - limit - contract_fee(limit, terms) > 0 else "the edge is gone"

    def fill(self, trade: Trade, order: Order, market: MarketInput, terms: FeeTerms) -> None:
        """Fill what the quote shows and the desk has not taken from it before."""
        state = self.state
        quote = market.bid(trade.side) if order.is_sale else market.ask(trade.side)
        if quote is None or not meets(order, quote.price):
            return
        there = available(state.taken, trade.ticker, trade.side, quote, is_sale=order.is_sale)
        if not there:
            return
        before, first = trade.cost_usd, not trade.entry.fills
        fill = fill_order(order, self.at, quote.price, there, terms, state.rules, state.book.cash_usd)
        if fill is None:
            return
        take(state.taken, trade.ticker, trade.side, fill, trade.closes_at, is_sale=order.is_sale)
        fee_usd = fill.fee.total
        with localcontext(EXACT):
            value, positions = fill.contracts * fill.price, trade.cost_usd - before
            cash = (value if order.is_sale else -value) - fee_usd
        amounts = posting(cash=cash, fees=fee_usd, positions=positions)
        if first:
            state.totals_of(trade.symbol).opened += 1
        state.add_gain(trade.symbol, cash + positions)
        kind = EventKind.SELL if order.is_sale else EventKind.BUY
        self.note(kind, "", trade, price=fill.price, contracts=fill.contracts, fee_usd=fee_usd, amounts=amounts)

    def signal(self, entry: Entry, board: BoardInput) -> None:
        """Place the order of an entry."""
        state = self.state
        trade = Trade(
            state.next_number,
            entry.market.ticker,
            board.event_ticker,
            board.series_ticker,
            board.symbol,
            entry.side,
            board.closes_at,
            self.at,
            entry.probability,
            entry.edge_usd,
            self.order(entry.limit, entry.contracts, is_sale=False),
        )
        state.active[trade.number] = trade
        state.next_number += 1
        state.totals_of(board.symbol).allowed += 1
        reason = f"probability {entry.probability}, edge {entry.edge_usd} per contract"
        self.note(EventKind.SIGNAL, reason, trade, price=entry.limit, contracts=entry.contracts)

    def signal_sale(self, sale: Sale) -> None:
        """Place the order of a sale."""
        trade = self.state.active[sale.number]
        trade.exits.append(self.order(sale.limit, sale.contracts, is_sale=True))
        reason = f"the bid is {sale.gain_usd} per contract above the probability"
        self.note(EventKind.SALE_SIGNAL, reason, trade, price=sale.limit, contracts=sale.contracts)

    def order(self, limit: Decimal, contracts: Decimal, *, is_sale: bool) -> Order:
        """An order placed now."""
        lasts = timedelta(seconds=float(self.state.rules.order_seconds))
        return Order(is_sale, limit, contracts, self.at, self.at + lasts)

    def cancel(self, trade: Trade, reason: str) -> None:
        """Cancel all orders of a trade."""
        for order in trade.working:
            self.end_order(trade, order, reason)

    def end_entry(self, trade: Trade, reason: str) -> None:
        """Cancel what is left of a trade's entry."""
        if trade.entry.open_contracts:
            self.end_order(trade, trade.entry, reason)

    def end_order(self, trade: Trade, order: Order, reason: str) -> None:
        """Cancel what is left of an order."""
        left = order.open_contracts
        order.ended = reason
        self.note(EventKind.CANCEL, reason, trade, price=order.limit, contracts=left)

    def result(self, given: ResultInput) -> None:
        """Pay the trades of a market, or correct what was paid."""
        state = self.state
        for trade in list(state.trades()):
            if trade.ticker == given.ticker:
                self.cancel(trade, f"the market has its result, {given.result}")
                if trade.held:
                    self.pay(trade, given)
        paid = (trade for trade in state.ended.values() if trade.ticker == given.ticker and trade.result is not None)
        for trade in sorted(paid, key=lambda each: each.number):
            if trade.result is not given.result or trade.paid_usd != payment(trade, given):
                self.pay(trade, given, revised=True)
            trade.settlement_value = given.settlement_value  # may become known after the result

    def pay(self, trade: Trade, given: ResultInput, *, revised: bool = False) -> None:
        """Post the payment of a result, or the difference to the one before."""
        paid, positions = payment(trade, given), NOTHING if revised else -trade.cost_usd
        with localcontext(EXACT):
            change = paid - (trade.paid_usd or NOTHING)
        if revised:
            self.count_end(trade, -1)
        trade.result, trade.settlement_value, trade.paid_usd = given.result, given.settlement_value, paid
        self.state.add_gain(trade.symbol, change + positions)
        is_void = given.result is MarketResult.VOID
        kind = EventKind.REVISE if revised else EventKind.REFUND if is_void else EventKind.SETTLE
        reason = f"the result is {given.result}"
        amounts = posting(cash=change, positions=positions)
        self.note(kind, reason, trade, contracts=trade.held, amounts=amounts)
        stage = Stage.REFUNDED if is_void else Stage.SETTLED
        if revised:
            trade.stage = stage
            self.count_end(trade, 1)
        else:
            self.end(trade, stage)

    def end(self, trade: Trade, stage: Stage) -> None:
        """Move a trade to those that have ended."""
        trade.stage, trade.ended_at = stage, self.at
        del self.state.active[trade.number]
        self.state.ended[trade.number] = trade
        if stage is Stage.CANCELLED:
            self.note(EventKind.END, "nothing was filled", trade)
            return
        if stage is Stage.CLOSED:
            self.note(EventKind.END, "all contracts were sold", trade)
        self.count_end(trade, 1)

    def count_end(self, trade: Trade, change: int) -> None:
        """Count an ended trade, or with -1 take it back."""
        totals = self.state.totals_of(trade.symbol)
        totals.closed += change
        if trade.gain_usd > 0:
            totals.winning += change
        elif trade.gain_usd < 0:
            totals.losing += change

    def switch(self, given: SwitchInput) -> None:
        """Stop or start entries; entries at work are cancelled."""
        self.state.stopped = given.reason if given.stopped else None
        self.note(EventKind.STOP if given.stopped else EventKind.START, given.reason)
        if given.stopped:
            for trade in self.state.trades():
                self.end_entry(trade, "the desk was stopped")

    def change_rules(self, rules: DeskRules) -> None:
        """Follow other rules from now on; the event says what has changed."""
        before = self.state.rules
        changes = [
            f"{each.name} from {getattr(before, each.name)} to {getattr(rules, each.name)}"
            + (", of new campaigns only" if each.name == "capital_usd" else "")
            for each in fields(DeskRules)
            if getattr(before, each.name) != getattr(rules, each.name)
        ]
        self.state.rules = rules
        self.note(EventKind.RULES, f"changed: {', '.join(changes) or 'nothing'}")


def payment(trade: Trade, given: ResultInput) -> Decimal:
    """What a result pays for the contracts that a trade holds, dollars; a void returns their price, not the fees."""
    if given.result is MarketResult.VOID:
        return trade.cost_usd
    with localcontext(EXACT):
        return trade.held * payoff(trade.side, given.result, given.settlement_value, NOTHING)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
