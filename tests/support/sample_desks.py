"""Inputs of a paper desk with a known course: each hour one trade of BTC, bought in two parts, settled by its result."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import DeskEvent
from pipelines.domain.desk.inputs import BoardInput, DeskInput, MarketInput, ResultInput
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.desk.state import DeskState
from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.contracts import MarketResult, MarketStatus
from pipelines.domain.markets.fees import FeeTerms

SERIES = "KXBTCD"
HOUR = timedelta(hours=1)
#: P(YES), bid and ask of YES of an event's markets: one with an edge, one without, one with a wide spread.
MARKETS = (("T95000", "0.62", "0.50", "0.52"), ("T95250", "0.41", "0.40", "0.42"), ("T95500", "0.30", "0.10", "0.40"))


def event_ticker(closes_at: datetime) -> str:
    return f"{SERIES}-{closes_at:%y%b%d%H}".upper()


def board(at: datetime, closes_at: datetime, *, size: int = 60) -> BoardInput:
    """The event's markets at `at`, with so many contracts at each price."""
    event = event_ticker(closes_at)

    def quoted(price: Decimal) -> Quote:
        return Quote(price, Decimal(size))

    markets = []
    for strike, probability, bid, ask in MARKETS:
        yes_bid, yes_ask = Decimal(bid), Decimal(ask)
        markets.append(
            MarketInput(
                f"{event}-{strike}",
                MarketStatus.ACTIVE,
                at,
                quoted(yes_bid),
                quoted(yes_ask),
                quoted(1 - yes_ask),
                quoted(1 - yes_bid),
                Decimal(probability),
                Decimal(probability) - Decimal("0.05"),
                Decimal(probability) + Decimal("0.05"),
                500,
            )
        )
    return BoardInput(at, "BTC", SERIES, event, closes_at, FeeTerms(), tuple(markets))


def hour_inputs(closes_at: datetime, result: MarketResult | None) -> Iterator[DeskInput]:
    """The inputs of an event: a board each five minutes of its hour, then its result, unless None."""
    for minute in range(5, 60, 5):
        yield board(closes_at - HOUR + timedelta(minutes=minute), closes_at, size=60)
        yield board(closes_at - HOUR + timedelta(minutes=minute, seconds=2), closes_at, size=60)
    if result is not None:
        at = closes_at + timedelta(seconds=40)
        yield ResultInput(at, f"{event_ticker(closes_at)}-{MARKETS[0][0]}", result)


def course(until: datetime, hours: int) -> Iterator[DeskInput]:
    """Inputs of the whole hours before `until` (a whole hour, aware UTC): won and lost in turn; the last is open."""
    for number in range(hours):
        result = MarketResult.NO if number % 3 == 2 else MarketResult.YES
        last = number == hours - 1
        yield from hour_inputs(until - (hours - 1 - number) * HOUR, None if last else result)


def opened(until: datetime, hours: int, campaign: str = "paper") -> DeskState:
    """The state before the first input of `course`."""
    return DeskState.opened(campaign, DeskRules(), until - hours * HOUR)


def traded(until: datetime, hours: int) -> tuple[DeskState, list[DeskEvent]]:
    """The state after `course`, and its events."""
    state = opened(until, hours)
    events = [event for given in course(until, hours) for event in apply(state, given)]
    return state, events
