"""Trading fees of the exchange, exact in Decimal dollars.

Each fill is charged on its own:

1. trade fee = 0.07 n p (1 - p) multiplier, rounded up to 0.0001, for n contracts at price p; a maker pays the share of
   it that the fee type says;
2. rounding fee: the balance changes by the proceeds less the trade fee, rounded down to the precision of the account's
   balance: a cent, or 0.0001 for accounts kept in hundredths of a cent. The difference is the rounding fee.

One thing is kept per order, over its taker and maker fills alike: the sum of rounding fees. When it exceeds a cent, a
cent is paid back and the sum is reduced by it, at the first fill that costs at least as much, because no fill's fee is
negative. An order that is filled in parts can thus cost more than one fill of the same size. With whole contracts at
whole cents it is at most a cent, and 0.0001 per fill, above the exact fee.

Source: the exchange's fee schedule and its documentation of fee rounding.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from enum import StrEnum

CENT = Decimal("0.01")
CENTICENT = Decimal("0.0001")
TAKER_RATE = Decimal("0.07")
#: Enough for the exact product of a count, two prices of six decimals, a rate and a multiplier.
EXACT = Context(prec=60)


class FeeType(StrEnum):
    """Fee type of a series, as the exchange names it."""

    QUADRATIC = "quadratic"
    QUADRATIC_WITH_MAKER_FEES = "quadratic_with_maker_fees"
    QUADRATIC_WITH_COMBO_MAKER_FEES = "quadratic_with_combo_maker_fees"


class Liquidity(StrEnum):
    """Whether a fill took an order from the book, or its own order was in the book."""

    TAKER = "taker"
    MAKER = "maker"


#: What a maker pays of a taker's fee.
MAKER_SHARE = {
    FeeType.QUADRATIC: Decimal(0),
    FeeType.QUADRATIC_WITH_MAKER_FEES: Decimal("0.25"),
    FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES: Decimal("0.5"),
}


@dataclass(frozen=True)
class FeeTerms:
    """Fee type and multiplier; a multiplier of 0 is a waiver. Raises ValueError for a negative multiplier."""

    fee_type: FeeType = FeeType.QUADRATIC
    multiplier: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        if not (self.multiplier.is_finite() and self.multiplier >= 0):
            raise ValueError(f"fee multiplier {self.multiplier}, expected 0 or more")

    def rate(self, liquidity: Liquidity) -> Decimal:
        """The fee per n p (1 - p)."""
        share = Decimal(1) if liquidity is Liquidity.TAKER else MAKER_SHARE[self.fee_type]
        return TAKER_RATE * share * self.multiplier


@dataclass(frozen=True)
class FeePeriod:
    """Terms from an instant until before another (aware UTC), None for no limit."""

    terms: FeeTerms
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def covers(self, at: datetime) -> bool:
        """Whether the terms apply at an instant (aware)."""
        return (self.starts_at is None or self.starts_at <= at) and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True)
class FeeSchedule:
    """Terms by date: of the periods that cover an instant, the last one applies.

    The order is therefore: the terms of the series, its changes by date, then overrides and waivers of the event.
    """

    periods: tuple[FeePeriod, ...]

    def terms_at(self, at: datetime) -> FeeTerms:
        """The terms at an instant (aware). Raises ValueError when no period covers it."""
        for period in reversed(self.periods):
            if period.covers(at):
                return period.terms
        raise ValueError(f"no fee terms at {at}")


@dataclass(frozen=True)
class Fill:
    """Contracts bought or sold at one price, in dollars of the side that was traded.

    Raises ValueError unless the count is above 0 and the price between 0 and 1.
    """

    contracts: Decimal
    price: Decimal
    liquidity: Liquidity = Liquidity.TAKER
    is_sale: bool = False

    def __post_init__(self) -> None:
        if not (self.contracts.is_finite() and self.contracts > 0):
            raise ValueError(f"{self.contracts} contracts, expected more than 0")
        if not (self.price.is_finite() and 0 < self.price < 1):
            raise ValueError(f"price {self.price}, expected between 0 and 1 dollar")


@dataclass(frozen=True)
class FillFee:
    """Fee of one fill in dollars: 0 or more in total."""

    trade_fee: Decimal
    rounding_fee: Decimal
    rebate: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        return self.trade_fee + self.rounding_fee - self.rebate


def fill_fee(fill: Fill, terms: FeeTerms, balance_precision: Decimal = CENT) -> FillFee:
    """The fee of a fill that is an order's first; `balance_precision`: CENT or CENTICENT."""
    with localcontext(EXACT):
        notional = fill.contracts * fill.price
        exact = terms.rate(fill.liquidity) * notional * (1 - fill.price)
        trade_fee = exact.quantize(CENTICENT, ROUND_CEILING)
        change = (notional if fill.is_sale else -notional) - trade_fee
        return FillFee(trade_fee, change - change.quantize(balance_precision, ROUND_FLOOR))


def next_fee(fill: Fill, terms: FeeTerms, balance_precision: Decimal, rounding_usd: Decimal) -> tuple[FillFee, Decimal]:
    """The fee of an order's next fill, and the sum of rounding fees after it; `rounding_usd`: before it, 0 at first."""
    with localcontext(EXACT):
        fee = fill_fee(fill, terms, balance_precision)
        accumulated = rounding_usd + fee.rounding_fee
        rebate = CENT if accumulated > CENT and fee.total >= CENT else Decimal(0)
        return FillFee(fee.trade_fee, fee.rounding_fee, rebate), accumulated - rebate


def order_fees(fills: Iterable[Fill], terms: FeeTerms, balance_precision: Decimal = CENT) -> list[FillFee]:
    """The fees of all fills of one order, in their order."""
    fees: list[FillFee] = []
    rounding_usd = Decimal(0)
    for fill in fills:
        fee, rounding_usd = next_fee(fill, terms, balance_precision, rounding_usd)
        fees.append(fee)
    return fees
