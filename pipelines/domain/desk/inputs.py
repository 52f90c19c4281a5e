"""What the desk is told, in order: boards of quotes with probabilities, results, the switch, its rules.

Decisions follow from these inputs and the state alone, so that the same inputs replayed give the same trades.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.contracts import MarketResult, MarketStatus, Side, payoff
from pipelines.domain.markets.fees import FeeTerms
from pipelines.errors import MarketError

#: Prices and payments have at most six decimals.
PRICE_STEP_USD = Decimal("0.000001")
#: More contracts than exist.
TOO_MANY = Decimal(10**12)
#: Of a fee; every known one is at most 1.
MAX_MULTIPLIER = Decimal(100)
#: Times from the first to the second year, so that a week can be added and subtracted.
YEARS = range(1970, 9999)
NO_OFFSET = timedelta(0)


@dataclass(frozen=True, slots=True)
class MarketInput:
    """A market's quotes with our probability of YES.

    `received_at` (aware UTC): of the quotes. `probability`: a fraction, with `low` and `high`, its 95 % interval, and
    `independent`, the independent outcomes behind the model's part; None where unknown. A bid of 0 and an ask of 1 are
    none. `problem`: why the quotes cannot be relied on. Raises ValueError for values that cannot be.
    """

    ticker: str
    status: MarketStatus
    received_at: datetime
    yes_bid: Quote | None = None
    yes_ask: Quote | None = None
    no_bid: Quote | None = None
    no_ask: Quote | None = None
    probability: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    independent: int | None = None
    problem: str | None = None

    def __post_init__(self) -> None:
        problems = _time_problems("received_at", self.received_at)
        for name in ("yes_bid", "yes_ask", "no_bid", "no_ask"):
            problems += _quote_problems(name, getattr(self, name))
        for name in ("probability", "low", "high"):
            value: Decimal | None = getattr(self, name)
            if value is not None and not (value.is_finite() and 0 <= value <= 1):
                problems.append(f"{name} {value}, expected 0 to 1")
        if not problems and self.low is not None and self.high is not None and self.low > self.high:
            problems.append(f"low {self.low} is above high {self.high}")
        if self.independent is not None and self.independent < 0:
            problems.append(f"independent {self.independent}, expected 0 or more")
        if problems:
            raise ValueError(f"{self.ticker}: {'; '.join(problems)}")

    def bid(self, side: Side) -> Quote | None:
        """The best bid of a side."""
        return self.yes_bid if side is Side.YES else self.no_bid

    def ask(self, side: Side) -> Quote | None:
        """The best ask of a side."""
        return self.yes_ask if side is Side.YES else self.no_ask

    def probability_of(self, side: Side) -> Decimal | None:
        """P(the side pays), a fraction."""
        if self.probability is None or side is Side.YES:
            return self.probability
        return 1 - self.probability


@dataclass(frozen=True, slots=True)
class BoardInput:
    """An event's markets at `at` (aware UTC): those nearest to the price, and those with trades.

    `problem`: why nothing of the event may be traded now. Raises ValueError for a market that is listed twice.
    """

    at: datetime
    symbol: str
    series_ticker: str
    event_ticker: str
    closes_at: datetime
    fee_terms: FeeTerms
    markets: tuple[MarketInput, ...]
    problem: str | None = None
    kind: Literal["board"] = "board"

    def __post_init__(self) -> None:
        problems = _time_problems("at", self.at) + _time_problems("closes_at", self.closes_at)
        if self.fee_terms.multiplier > MAX_MULTIPLIER:
            problems.append(f"fee multiplier {self.fee_terms.multiplier}, expected at most {MAX_MULTIPLIER}")
        counts = Counter(market.ticker for market in self.markets)
        if len(counts) < len(self.markets):
            twice = [ticker for ticker, count in counts.items() if count > 1]
            problems.append(f"more than one market {', '.join(sorted(twice))}")
        if problems:
            raise ValueError(f"{self.event_ticker}: {'; '.join(problems)}")


@dataclass(frozen=True, slots=True)
class ResultInput:
    """A market's final result, as known at `at` (aware UTC); `settlement_value`: what one YES is paid, dollars.

    Raises ValueError for a value that contradicts the result, and for a scalar result without one.
    """

    at: datetime
    ticker: str
    result: MarketResult
    settlement_value: Decimal | None = None
    kind: Literal["result"] = "result"

    def __post_init__(self) -> None:
        problems, value = _time_problems("at", self.at), self.settlement_value
        try:
            payoff(Side.YES, self.result, value, Decimal(0))
        except MarketError as error:
            problems.append(str(error))
        else:
            if value is not None and value % PRICE_STEP_USD:
                problems.append(f"settlement_value {value}, expected a multiple of {PRICE_STEP_USD}")
        if problems:
            raise ValueError(f"{self.ticker}: {'; '.join(problems)}")


@dataclass(frozen=True, slots=True)
class SwitchInput:
    """An operator's order at `at` (aware UTC): enter no trades from now on, or enter them again."""

    at: datetime
    stopped: bool
    reason: str
    kind: Literal["switch"] = "switch"

    def __post_init__(self) -> None:
        _require_time(self.at)


@dataclass(frozen=True, slots=True)
class RulesInput:
    """The rules from `at` (aware UTC) on. The capital is that of the campaign's first rules."""

    at: datetime
    rules: DeskRules
    kind: Literal["rules"] = "rules"

    def __post_init__(self) -> None:
        _require_time(self.at)


DeskInput = BoardInput | ResultInput | SwitchInput | RulesInput


def _time_problems(name: str, at: datetime) -> list[str]:
    if at.utcoffset() == NO_OFFSET and at.year in YEARS:
        return []
    return [f"{name} {at}, expected UTC, with the time zone, of the years {YEARS.start} to {YEARS.stop - 1}"]


def _require_time(at: datetime) -> None:
    if problems := _time_problems("at", at):
        raise ValueError(problems[0])


def _quote_problems(name: str, quote: Quote | None) -> list[str]:
    if quote is None:
        return []
    price, contracts = quote.price, quote.contracts
    if not (price.is_finite() and 0 <= price <= 1 and not price % PRICE_STEP_USD):
        return [f"{name} at {price}, expected a multiple of {PRICE_STEP_USD} from 0 to 1"]
    if contracts is not None and not (contracts.is_finite() and 0 <= contracts < TOO_MANY):
        return [f"{name} of {contracts} contracts, expected 0 or more"]
    return []
