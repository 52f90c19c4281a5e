"""Trades of the desk: an entry order, the position that it opens, perhaps an exit order, and its settlement."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, localcontext
from enum import StrEnum

from pipelines.domain.markets.contracts import MarketResult, Side
from pipelines.domain.markets.fees import EXACT, FillFee


class Stage(StrEnum):
    """Where a trade is in its life."""

    #: Decided; no quote that its order may meet has arrived.
    SIGNALLED = "signalled"
    #: The entry is at the market, not or partly filled.
    WORKING = "working"
    #: Contracts are held and no entry is at work.
    OPEN = "open"
    #: All contracts were sold.
    CLOSED = "closed"
    #: Paid by the market's result.
    SETTLED = "settled"
    #: The market was voided: what was paid for the contracts was returned.
    REFUNDED = "refunded"
    #: Nothing was filled.
    CANCELLED = "cancelled"


#: Smallest part of a dollar in the cost of a part of a position.
COST_STEP_USD = Decimal("0.000001")
ENDED = frozenset({Stage.CLOSED, Stage.SETTLED, Stage.REFUNDED, Stage.CANCELLED})


@dataclass(frozen=True)
class OrderFill:
    """Contracts filled at one price, dollars of the side, and the fee charged."""

    at: datetime
    contracts: Decimal
    price: Decimal
    fee: FillFee


@dataclass
class Order:
    """An order at a limit (dollars of the side), valid from `placed_at` until `expires_at` (aware UTC).

    `rounding_usd`: the sum of rounding fees that the exchange keeps per order; `ended`: why no more is filled.
    """

    is_sale: bool
    limit: Decimal
    contracts: Decimal
    placed_at: datetime
    expires_at: datetime
    fills: list[OrderFill] = field(default_factory=list)
    rounding_usd: Decimal = Decimal(0)
    ended: str | None = None

    @property
    def filled(self) -> Decimal:
        """Contracts filled so far."""
        return sum((fill.contracts for fill in self.fills), Decimal(0))

    @property
    def open_contracts(self) -> Decimal:
        """Contracts that may still be filled."""
        return Decimal(0) if self.ended is not None else self.contracts - self.filled

    @property
    def fees_usd(self) -> Decimal:
        """Fees of all fills."""
        return sum((fill.fee.total for fill in self.fills), Decimal(0))

    @property
    def value_usd(self) -> Decimal:
        """Contracts times price of all fills."""
        with localcontext(EXACT):
            return sum((fill.contracts * fill.price for fill in self.fills), Decimal(0))


@dataclass
class Trade:
    """One trade. `probability`: of the side when it was signalled; `edge_usd`: per contract, after the fee.

    `last_bid`: newest known bid of the side. `paid_usd`: what the market's result paid in all, None before it.
    """

    number: int
    ticker: str
    event_ticker: str
    series_ticker: str
    symbol: str
    side: Side
    closes_at: datetime
    signalled_at: datetime
    probability: Decimal
    edge_usd: Decimal
    entry: Order
    exits: list[Order] = field(default_factory=list)
    stage: Stage = Stage.SIGNALLED
    last_bid: Decimal | None = None
    result: MarketResult | None = None
    settlement_value: Decimal | None = None
    paid_usd: Decimal | None = None
    ended_at: datetime | None = None

    @property
    def key(self) -> str:
        """Name of the position in snapshots."""
        return f"{self.number:06d} {self.ticker} {self.side}"

    @property
    def held(self) -> Decimal:
        """Contracts bought and not sold, whether or not they were settled since."""
        return self.entry.filled - self.sold

    @property
    def sold(self) -> Decimal:
        """Contracts sold before the close."""
        return sum((order.filled for order in self.exits), Decimal(0))

    @property
    def cost_usd(self) -> Decimal:
        """Cost of the contracts held, without fees, at the average price paid."""
        with localcontext(EXACT):
            return self.entry.value_usd - self.sold_cost_usd

    @property
    def sold_cost_usd(self) -> Decimal:
        """Cost of the contracts sold, at the average price paid, rounded to COST_STEP_USD until all are sold."""
        if not self.sold or not self.held:
            return self.entry.value_usd if self.sold else Decimal(0)
        with localcontext(EXACT):
            return (self.entry.value_usd * self.sold / self.entry.filled).quantize(COST_STEP_USD)

    @property
    def fees_usd(self) -> Decimal:
        """Fees of all fills."""
        return sum((order.fees_usd for order in self.exits), self.entry.fees_usd)

    @property
    def gain_usd(self) -> Decimal:
        """Gain so far: sales and payment less the cost of these contracts, and all fees."""
        with localcontext(EXACT):
            sales = sum((order.value_usd for order in self.exits), -self.sold_cost_usd)
            paid = Decimal(0) if self.paid_usd is None else self.paid_usd - self.cost_usd
            return sales + paid - self.fees_usd

    @property
    def bound_usd(self) -> Decimal:
        """Capital bound: the cost of contracts held, and what the rest of the entry may cost without fee."""
        if self.stage in ENDED:
            return Decimal(0)
        with localcontext(EXACT):
            return self.cost_usd + self.entry.open_contracts * self.entry.limit

    @property
    def working(self) -> list[Order]:
        """Orders that may still be filled."""
        return [order for order in (self.entry, *self.exits) if order.open_contracts]
