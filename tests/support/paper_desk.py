"""Boards, results and whole random sessions for the paper desk."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent, EventKind
from pipelines.domain.desk.inputs import BoardInput, DeskInput, MarketInput, ResultInput, RulesInput, SwitchInput
from pipelines.domain.desk.rules import DeskRules, Exit
from pipelines.domain.desk.state import DeskState
from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.contracts import MarketResult, MarketStatus
from pipelines.domain.markets.fees import CENT, CENTICENT, FeeTerms

#: An hour of one event, which closes at its end.
OPEN = datetime(2026, 3, 21, 14, tzinfo=UTC)
CLOSE = OPEN + timedelta(hours=1)
SETTLED = CLOSE + timedelta(seconds=30)
#: Twenty minutes before the close.
T = CLOSE - timedelta(minutes=20)
EVENT = "KXBTCD-26MAR2111"
TICKER = f"{EVENT}-T70000"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def quote(price: str | Decimal, contracts: str | Decimal | None = "1000") -> Quote:
    return Quote(Decimal(price), None if contracts is None else Decimal(contracts))


def market(at: datetime = T, bid: str = "0.40", ask: str = "0.42", **changes: Any) -> MarketInput:
    """A market with these quotes of YES, 1,000 contracts each, and a probability that makes YES worth buying."""
    size: str | None = changes.pop("size", "1000")
    given: dict[str, Any] = {
        "ticker": TICKER,
        "status": MarketStatus.ACTIVE,
        "received_at": at,
        "yes_bid": quote(bid, size),
        "yes_ask": quote(ask, size),
        "no_bid": quote(1 - Decimal(ask), size),
        "no_ask": quote(1 - Decimal(bid), size),
        "probability": Decimal("0.55"),
        "low": Decimal("0.53"),
        "high": Decimal("0.57"),
        "independent": 500,
    }
    return MarketInput(**{**given, **changes})


def board(*markets: MarketInput, at: datetime = T, **changes: Any) -> BoardInput:
    """A board of the event, of one market at its instant by default."""
    given = BoardInput(at, "BTC", "KXBTCD", EVENT, CLOSE, FeeTerms(), markets or (market(at),))
    return replace(given, **changes)


def result(of: str = "yes", at: datetime = SETTLED, ticker: str = TICKER, value: str | None = None) -> ResultInput:
    """The result of the market."""
    return ResultInput(at, ticker, MarketResult(of), None if value is None else Decimal(value))


def desk(at: datetime = OPEN, **rules: Any) -> DeskState:
    """A new campaign whose rules have these changes."""
    return DeskState.opened("paper", DeskRules(**rules), at)


def kinds(events: Iterable[DeskEvent]) -> list[str]:
    """The kinds of events, in their order."""
    return [event.kind.value for event in events]


def only(events: Iterable[DeskEvent], kind: EventKind) -> list[DeskEvent]:
    """The events of a kind."""
    return [event for event in events if event.kind is kind]


def bought(contracts: str = "50", price: str = "0.42", **rules: Any) -> DeskState:
    """A desk that holds contracts of the market, whose order is done."""
    state = desk(**{"stake_usd": Decimal(contracts) * Decimal(price) * Decimal("1.05"), **rules})
    for at in (T, T + seconds(1)):
        apply(state, board(market(at, ask=price, size=contracts), at=at))
    apply(state, board(market(T + seconds(95)), at=T + seconds(95)))
    assert [trade.held for trade in state.active.values()] == [Decimal(contracts)]
    return state


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311


def random_rules(random: Random) -> DeskRules:
    """Rules with which something happens in a short session."""
    return DeskRules(
        capital_usd=Decimal(random.choice([40, 200, 10_000])),
        stake_usd=Decimal(random.choice(["0.4", "5", "50"])),
        min_edge_usd=Decimal(random.choice(["-0.05", "0", "0.02"])),
        interval_share=Decimal(random.choice(["0", "0.5"])),
        max_quote_age_seconds=Decimal(3),
        min_ttc_seconds=random.choice([0, 60]),
        latency_seconds=Decimal(random.choice(["0", "1", "2.5"])),
        order_seconds=Decimal(random.choice([3, 10, 90])),
        exit=random.choice(list(Exit)),
        exit_edge_usd=Decimal(random.choice(["-0.10", "0.02"])),
        balance_precision_usd=random.choice([CENT, CENTICENT]),
        daily_loss_usd=Decimal(random.choice(["0.5", "5", "500"])),
        capital_per_symbol_usd=Decimal(random.choice([3, 30, 2_500])),
        positions_per_symbol=random.choice([1, 2, 10]),
        positions_per_event=random.choice([1, 2, 3]),
    )


def random_session(random: Random, count: int) -> Iterator[DeskInput]:
    """Inputs of two symbols: hours that close, results, revisions, voids, orders of an operator, a clock that jumps,
    quotes that vanish, cross and are late, and sizes that are missing, zero and parts of contracts.
    """
    at, known = OPEN + timedelta(minutes=random.choice([1, 30, 58])), list[str]()
    bids = dict[str, int]()
    for _ in range(count):
        at += seconds(random.choices([0.4, 1, 2, 5, 30, 600, 3_000], [2, 10, 4, 2, 1, 0.2, 0.2])[0])
        if random.random() < 0.01:
            at += timedelta(hours=random.choice([-1, 1, -24, 24]))
        choice = random.random()
        if choice < 0.88:
            given = _random_board(random, at, bids)
            known += [each.ticker for each in given.markets if each.ticker not in known]
            yield given
        elif choice < 0.96 and known:
            of = random.choice(list(MarketResult))
            value = Decimal(random.choice(["0.25", "0.333333", "1"])) if of is MarketResult.SCALAR else None
            yield ResultInput(at, random.choice(known[-4:]), of, value)
        elif choice < 0.98:
            yield SwitchInput(at, random.random() < 0.4, "a test")
        else:
            yield RulesInput(at, random_rules(random))


def _random_board(random: Random, at: datetime, bids: dict[str, int]) -> BoardInput:
    symbol = random.choice(["BTC", "BTC", "ETH"])
    closes_at = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    event = f"KX{symbol}D-{closes_at:%d%H}"
    markets = tuple(_random_market(random, at, f"{event}-T{strike}", bids) for strike in (100, 200))
    problem = "the exchange is halted" if random.random() < 0.03 else None
    terms = FeeTerms(multiplier=Decimal(random.choice(["1", "1", "0.5", "0"])))
    return BoardInput(at, symbol, f"KX{symbol}D", event, closes_at, terms, markets, problem)


def _random_market(random: Random, at: datetime, ticker: str, bids: dict[str, int]) -> MarketInput:
    """Quotes near those before, at cents, and a probability that is more often far from them than a good one is."""
    bid = bids[ticker] = min(97, max(2, bids.get(ticker, 40) + random.choice([-8, -1, 0, 0, 0, 0, 0, 1, 8])))
    ask = min(99, bid + random.choices([1, 2, 12, 0], [8, 4, 1, 0.4])[0])
    size = random.choices(["3", "7", "40", "1000", "0.37", "2.5", "0", None], [3, 3, 3, 3, 1, 1, 0.5, 0.5])[0]
    odd = random.random()
    chance = Decimal(min(99, max(1, bid + random.choice([-20, -4, 1, 8, 20])))) / 100
    made = market(
        at - seconds(random.choices([0, 0.3, 1, 4, -0.5], [5, 5, 2, 0.5, 1])[0]),
        f"{bid / 100:.2f}",
        f"{ask / 100:.2f}",
        ticker=ticker,
        size=size,
        probability=None if odd < 0.03 else chance,
        low=max(Decimal(0), chance - Decimal("0.02")),
        high=min(Decimal(1), chance + Decimal("0.02")),
        independent=random.choices([500, 10, None], [20, 1, 1])[0],
        problem="no bids for NO" if 0.03 < odd < 0.05 else None,
        status=random.choice(list(MarketStatus)) if 0.05 < odd < 0.07 else MarketStatus.ACTIVE,
    )
    return replace(made, yes_ask=None, no_bid=None) if 0.07 < odd < 0.1 else made
