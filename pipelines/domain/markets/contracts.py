"""Contracts of the exchange: what a market asks, where it is in its life, and what it pays.

An event is one close; it has one YES/NO market per strike. Strikes are exact (Decimal), because 118499.99 means 118,500
or more: the index is published to the cent, and `greater` is strict.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from functools import lru_cache

import numpy as np

from pipelines.domain.markets.fees import FeeTerms
from pipelines.domain.prices.bars import Floats
from pipelines.errors import MarketError

#: The smallest difference between two values of the index, in dollars.
INDEX_STEP_USD = Decimal("0.01")


class Side(StrEnum):
    """What a contract pays on."""

    YES = "yes"
    NO = "no"


class StrikeType(StrEnum):
    """How a market's value is compared with its strikes; the exchange has more types, which are refused."""

    GREATER = "greater"
    GREATER_OR_EQUAL = "greater_or_equal"
    LESS = "less"
    LESS_OR_EQUAL = "less_or_equal"
    #: At or above the floor and at or below the cap.
    BETWEEN = "between"


HAS_FLOOR = frozenset({StrikeType.GREATER, StrikeType.GREATER_OR_EQUAL, StrikeType.BETWEEN})
HAS_CAP = frozenset({StrikeType.LESS, StrikeType.LESS_OR_EQUAL, StrikeType.BETWEEN})


class MarketStatus(StrEnum):
    """A market's status in its own record; filters of requests have other names."""

    INITIALIZED = "initialized"
    ACTIVE = "active"
    INACTIVE = "inactive"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"


class MarketResult(StrEnum):
    """A market's result; a scalar result pays the settlement value, a void returns what was paid."""

    YES = "yes"
    NO = "no"
    SCALAR = "scalar"
    VOID = "void"


@dataclass(frozen=True)
class PriceRange:
    """Prices from `start` to `end` in steps of `step`, dollars."""

    start: Decimal
    end: Decimal
    step: Decimal


@dataclass(frozen=True)
class Market:
    """One YES/NO contract.

    `floor_strike`, `cap_strike`: dollars of the index, None where the type has none. `opens_at`, `closes_at`: UTC.
    `settlement_value`: what one YES contract is paid, dollars, None until known. `fee_terms`: None while the series is
    unknown. Raises MarketError for strikes that the type does not have, and for contradictory fields.
    """

    ticker: str
    event_ticker: str
    series_ticker: str
    strike_type: StrikeType
    floor_strike: Decimal | None
    cap_strike: Decimal | None
    opens_at: datetime
    closes_at: datetime
    price_ranges: tuple[PriceRange, ...]
    status: MarketStatus
    result: MarketResult | None = None
    settlement_value: Decimal | None = None
    fee_terms: FeeTerms | None = None

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name, strike, types in (
            ("floor_strike", self.floor_strike, HAS_FLOOR),
            ("cap_strike", self.cap_strike, HAS_CAP),
        ):
            if strike is None and self.strike_type in types:
                problems.append(f"{name} missing, strike_type {self.strike_type} needs it")
            if strike is not None and not (strike.is_finite() and strike > 0):
                problems.append(f"{name} {strike}, expected more than 0")
            if strike is not None and self.strike_type not in types:
                problems.append(f"{name} {strike}, strike_type {self.strike_type} has none")
        if self.floor_strike is not None and self.cap_strike is not None and self.cap_strike <= self.floor_strike:
            problems.append(f"cap_strike {self.cap_strike} is not above floor_strike {self.floor_strike}")
        if self.opens_at.tzinfo is None or self.closes_at.tzinfo is None:
            problems.append("open_time or close_time without a time zone")
        elif self.opens_at >= self.closes_at:
            problems.append(f"open_time {self.opens_at} is not before close_time {self.closes_at}")
        if self.result is not None:
            problems += _contradictions(self.result, self.settlement_value)
        if problems:
            raise MarketError(f"{self.ticker}: {'; '.join(problems)}")

    @property
    def is_settled(self) -> bool:
        """Whether the result is final; that of a determined market may still be disputed."""
        return self.status is MarketStatus.FINALIZED and self.result is not None

    def bounds_usd(self, index_step_usd: Decimal = INDEX_STEP_USD) -> tuple[Decimal | None, Decimal | None]:
        """The market is YES for values at or above the first and below the second bound; None for no bound.

        Both are values that the index can have.
        """
        return _bounds(self.strike_type, self.floor_strike, self.cap_strike, index_step_usd)

    def is_yes_at(self, value_usd: Decimal) -> bool:
        """Whether the market is YES for a value of the index."""
        lower, upper = self.bounds_usd()
        return (lower is None or value_usd >= lower) and (upper is None or value_usd < upper)


def yes_probabilities(markets: Sequence[Market], at_or_above: Callable[[Floats], Floats]) -> Floats:
    """P(yes) of each market, fractions: float64[..., n].

    `at_or_above`: P(the market's value is at or above K), fractions, NaN where unknown: float64[..., k] for float64[k]
    strikes in dollars; it is called once, with the bounds of all markets.
    """
    bounds = [tuple(None if bound is None else float(bound) for bound in market.bounds_usd()) for market in markets]
    strikes = sorted({bound for both in bounds for bound in both if bound is not None})
    found = at_or_above(np.array(strikes))
    # A market without a lower bound is above it for certain; one without an upper bound never reaches it.
    certain = np.broadcast_to([1.0, 0.0], (*found.shape[:-1], 2))
    places: dict[float | None, int] = {strike: place for place, strike in enumerate(strikes)}
    lower = np.array([places.get(low, len(strikes)) for low, _ in bounds], dtype=np.intp)
    upper = np.array([places.get(up, len(strikes) + 1) for _, up in bounds], dtype=np.intp)
    reached = np.concatenate([found, certain], axis=-1)
    # Of two bounds at the price, the upper one may be the likelier by a rounding.
    return np.asarray(np.clip(reached[..., lower] - reached[..., upper], 0.0, 1.0))


def market_of(ticker: str, markets: Iterable[Market]) -> Market:
    """The market with a ticker. Raises MarketError when there is none, or two that differ.

    Results are looked up by ticker: the order of an event's markets says nothing.
    """
    found = {market for market in markets if market.ticker == ticker}
    if len(found) != 1:
        raise MarketError(f"{ticker}: {len(found) or 'no'} {'different ' if found else ''}markets with this ticker")
    return found.pop()


def payoff(side: Side, result: MarketResult, settlement_value: Decimal | None, paid: Decimal) -> Decimal:
    """What one contract pays, dollars; `paid`: its price, which a void returns.

    YES is paid the settlement value and NO the rest of a dollar; without a value, the result decides. Raises
    MarketError for a scalar result without a value, and for a value that contradicts the result.
    """
    if problems := _contradictions(result, settlement_value):
        raise MarketError("; ".join(problems))
    if result is MarketResult.VOID:
        return paid
    if result is MarketResult.SCALAR:
        assert settlement_value is not None
        yes = settlement_value
    else:
        yes = Decimal(result is MarketResult.YES)
    return yes if side is Side.YES else 1 - yes


@lru_cache(maxsize=4096)  # live, the markets of a second are those of the second before
def _bounds(
    strike_type: StrikeType, floor: Decimal | None, cap: Decimal | None, step: Decimal
) -> tuple[Decimal | None, Decimal | None]:
    lower = upper = None
    if floor is not None:
        lower = (_above if strike_type is StrikeType.GREATER else _at_or_above)(floor, step)
    if cap is not None:
        upper = (_at_or_above if strike_type is StrikeType.LESS else _above)(cap, step)
    return lower, upper


def _contradictions(result: MarketResult, value: Decimal | None) -> list[str]:
    if value is None:
        return ["result scalar without settlement_value"] if result is MarketResult.SCALAR else []
    if not (value.is_finite() and 0 <= value <= 1):
        return [f"settlement_value {value}, expected between 0 and 1"]
    if result in {MarketResult.YES, MarketResult.NO} and value != (result is MarketResult.YES):
        return [f"settlement_value {value} contradicts result {result}"]
    return []


def _at_or_above(strike: Decimal, step: Decimal) -> Decimal:
    return (strike / step).to_integral_value(ROUND_CEILING) * step


def _above(strike: Decimal, step: Decimal) -> Decimal:
    return ((strike / step).to_integral_value(ROUND_FLOOR) + 1) * step
