"""What holds after every input of any session, and that a replay gives the same bytes."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import fuzzing
from hypothesis import given
from hypothesis import strategies as st
from paper_desk import OPEN, random_rules, random_session, seeded
from pydantic import TypeAdapter

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.decisions import is_usable
from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.inputs import BoardInput, DeskInput, MarketInput, ResultInput
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import ENDED
from pipelines.domain.markets.contracts import MarketResult, Side

STATE = TypeAdapter(DeskState)
EVENTS = TypeAdapter(list[DeskEvent])
NOTHING = Decimal(0)
SEEDS = st.integers(0, 2**32)


def dumped(state: DeskState) -> bytes:
    return json.dumps(STATE.dump_python(state, mode="json"), sort_keys=True).encode()


def dumped_events(events: list[DeskEvent]) -> bytes:
    return EVENTS.dump_json(events)


def shuffled(value: Any, random: Random) -> Any:
    """JSON with the keys of its objects in another order."""
    if isinstance(value, list):
        return [shuffled(each, random) for each in value]
    if not isinstance(value, dict):
        return value
    items = [(key, shuffled(each, random)) for key, each in value.items()]
    random.shuffle(items)
    return dict(items)


def new_desk(random: Random) -> DeskState:
    return DeskState.opened("paper", random_rules(random), OPEN)


@dataclass
class Witness:
    """Follows a desk by its events, and checks what they and the state have in common after each input."""

    state: DeskState
    balances: dict[Account, Decimal]
    highest_stake: Decimal
    taken: dict[tuple[str, Side, Decimal], Decimal] = field(default_factory=dict)

    @classmethod
    def of(cls, state: DeskState) -> "Witness":
        return cls(state, dict(state.book.balances), state.rules.stake_usd)

    def apply(self, one: DeskInput) -> list[DeskEvent]:
        counted = self.counted()
        if isinstance(one, BoardInput) and one.problem is None:
            self.forget_emptied(one)
        events = apply(self.state, one)
        self.highest_stake = max(self.highest_stake, self.state.rules.stake_usd)
        self.check_money(events)
        if isinstance(one, BoardInput):
            self.check_sizes(one, events)
            signals = sum(event.kind is EventKind.SIGNAL for event in events)
            assert self.counted() - counted + signals == len(one.markets)
        self.check_limits(events)
        return events

    def counted(self) -> int:
        return sum(sum(totals.rejections.values()) for totals in self.state.totals.values())

    def check_money(self, events: list[DeskEvent]) -> None:
        state, book = self.state, self.state.book
        for event in events:
            assert sum(event.posting.values(), NOTHING) == 0
            for account, amount in event.posting.items():
                self.balances[account] += amount
            if event.kind is EventKind.BUY:
                assert self.balances[Account.CASH] >= 0
        assert book.imbalance_usd == 0
        assert book.balances == self.balances
        trades = state.active.values()
        assert book.balances[Account.POSITIONS] == sum((trade.cost_usd for trade in trades), NOTHING)
        assert sum((totals.gain_usd for totals in state.totals.values()), NOTHING) == book.gain_usd
        marked = sum((trade.held * (trade.last_bid or 0) - trade.cost_usd for trade in trades), NOTHING)
        assert state.equity_usd == -book.balances[Account.CAPITAL] + book.gain_usd + marked
        assert state.max_drawdown_usd >= state.highest_equity_usd - state.equity_usd >= 0
        for trade in [*trades, *state.ended.values()]:
            assert (trade.stage in ENDED) == (trade.number in state.ended)
            assert 0 <= trade.held <= trade.entry.contracts
            assert trade.entry.value_usd + trade.entry.fees_usd <= self.highest_stake
            assert all(fill.fee.total >= 0 for order in (trade.entry, *trade.exits) for fill in order.fills)

    def check_sizes(self, one: BoardInput, events: list[DeskEvent]) -> None:
        markets = {market.ticker: market for market in one.markets}
        for event in events:
            if event.kind not in {EventKind.BUY, EventKind.SELL}:
                continue
            assert event.ticker is not None
            assert event.side is not None
            assert event.price is not None
            assert event.contracts is not None
            assert event.contracts > 0
            is_sale = event.kind is EventKind.SELL
            market = markets[event.ticker]
            quote = market.bid(event.side) if is_sale else market.ask(event.side)
            assert quote is not None
            assert quote.contracts is not None
            assert quote.price == event.price
            other = Side.NO if event.side is Side.YES else Side.YES
            bids = (event.ticker, event.side, event.price) if is_sale else (event.ticker, other, 1 - event.price)
            self.taken[bids] = self.taken.get(bids, NOTHING) + event.contracts
            assert self.taken[bids] <= quote.contracts

    def forget_emptied(self, one: BoardInput) -> None:
        """Bids at a price are gone when the best bid is lower; what the desk took of them was all that there was."""
        for market in one.markets:
            if is_usable(market, one, self.state.rules) is None:
                for side in Side:
                    best = best_bid(market, side)
                    for key in [key for key in self.taken if key[:2] == (market.ticker, side)]:
                        if best is not None and best < key[2]:
                            del self.taken[key]

    def check_limits(self, events: list[DeskEvent]) -> None:
        state = self.state
        rules = state.rules
        for event in events:
            if event.kind is not EventKind.SIGNAL:
                continue
            assert event.trade is not None
            trade = state.active[event.trade]
            assert state.stopped is None
            assert state.loss_today_usd < rules.daily_loss_usd
            of_symbol = list(state.trades(symbol=trade.symbol))
            assert len(of_symbol) <= rules.positions_per_symbol
            assert len(list(state.trades(event_ticker=trade.event_ticker))) <= rules.positions_per_event
            assert sum((each.bound_usd for each in of_symbol), NOTHING) <= rules.capital_per_symbol_usd
            assert sum(each.ticker == trade.ticker for each in of_symbol) == 1


def best_bid(market: MarketInput, side: Side) -> Decimal | None:
    bid = market.bid(side)
    return None if bid is None else bid.price


def settle_all(state: DeskState) -> Iterator[ResultInput]:
    for ticker in sorted({trade.ticker for trade in state.active.values()}):
        yield ResultInput(state.at, ticker, MarketResult.YES)


@fuzzing.examples(150, 3_000)
@given(SEEDS, st.integers(1, 100))
def test_money_sizes_and_limits_hold_after_every_input_and_results_end_all_trades(seed: int, count: int) -> None:
    random = seeded(seed)
    witness = Witness.of(new_desk(random))
    for one in random_session(random, count):
        witness.apply(one)
    for last in list(settle_all(witness.state)):
        witness.apply(last)
    assert not witness.state.active
    assert witness.state.equity_usd == witness.state.book.cash_usd


@fuzzing.examples(60, 1_500)
@given(SEEDS, st.integers(1, 60))
def test_a_replay_gives_the_same_bytes_also_from_a_state_that_was_stored_between_any_two_inputs(
    seed: int, count: int
) -> None:
    random = seeded(seed)
    state = new_desk(random)
    stored = dumped(state)
    for one in random_session(random, count):
        events = apply(state, one)
        again = STATE.validate_json(json.dumps(shuffled(json.loads(stored), random)))
        assert dumped_events(apply(again, one)) == dumped_events(events)
        stored = dumped(again)
        assert stored == dumped(state)


def test_random_sessions_do_everything_that_a_desk_can_do() -> None:
    seen, reasons, rejected = Counter[EventKind](), Counter[str](), Counter[Rejection]()
    for seed in range(60):
        random = seeded(seed)
        state = new_desk(random)
        for one in random_session(random, 100):
            events = apply(state, one)
            seen.update(event.kind for event in events)
            reasons.update(event.reason for event in events if event.kind is EventKind.CANCEL)
        for totals in state.totals.values():
            rejected.update(totals.rejections)
    assert set(EventKind) == {kind for kind, count in seen.items() if count > 5}
    assert set(Rejection) == set(rejected)
    assert set(reasons) >= {
        "it has expired",
        "the edge is gone",
        "the desk was stopped",
        "the market has closed",
        "the market is inactive",
        "the market has its result, void",
        "it is too close to the close",
        "the limit of daily loss is exceeded",
        Rejection.THIN,
        Rejection.UNKNOWN,
    }
