"""Rows of the paper desk's tables."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import NamedTuple

from pydantic import TypeAdapter

from pipelines.domain.desk.trades import Stage, Trade
from pipelines.domain.markets.contracts import MarketResult, Side
from pipelines.domain.markets.fees import EXACT


@dataclass(frozen=True)
class TradeRow:
    """A trade with its sums, dollars; fields as the columns of `live_data.desk_trade`. Times are aware UTC."""

    trade: int
    symbol: str
    series_ticker: str
    event_ticker: str
    ticker: str
    side: Side
    stage: Stage
    closes_at: datetime
    signalled_at: datetime
    opened_at: datetime | None
    ended_at: datetime | None
    probability: Decimal
    edge_usd: Decimal
    limit_usd: Decimal
    ordered_contracts: Decimal
    bought_contracts: Decimal
    sold_contracts: Decimal
    cost_usd: Decimal
    sales_usd: Decimal
    fees_usd: Decimal
    paid_usd: Decimal | None
    gain_usd: Decimal
    last_bid_usd: Decimal | None
    result: MarketResult | None
    settlement_value: Decimal | None

    @classmethod
    def of(cls, trade: Trade) -> "TradeRow":
        """The row of a trade."""
        with localcontext(EXACT):
            sales = sum((order.value_usd for order in trade.exits), Decimal(0))
        return cls(
            trade=trade.number,
            symbol=trade.symbol,
            series_ticker=trade.series_ticker,
            event_ticker=trade.event_ticker,
            ticker=trade.ticker,
            side=trade.side,
            stage=trade.stage,
            closes_at=trade.closes_at,
            signalled_at=trade.signalled_at,
            opened_at=trade.entry.fills[0].at if trade.entry.fills else None,
            ended_at=trade.ended_at,
            probability=trade.probability,
            edge_usd=trade.edge_usd,
            limit_usd=trade.entry.limit,
            ordered_contracts=trade.entry.contracts,
            bought_contracts=trade.entry.filled,
            sold_contracts=trade.sold,
            cost_usd=trade.entry.value_usd,
            sales_usd=sales,
            fees_usd=trade.fees_usd,
            paid_usd=trade.paid_usd,
            gain_usd=trade.gain_usd,
            last_bid_usd=trade.last_bid,
            result=trade.result,
            settlement_value=trade.settlement_value,
        )


@dataclass(frozen=True)
class EventRow:
    """An event of the desk; `event`: its number. Fields as those of `DeskEvent`; its postings are in the ledger."""

    event: int
    at: datetime
    kind: str
    reason: str
    trade: int | None
    symbol: str | None
    ticker: str | None
    side: Side | None
    price: Decimal | None
    contracts: Decimal | None
    fee_usd: Decimal | None


class EquityPoint(NamedTuple):
    """The account when a snapshot was saved (aware UTC), USD; `drawdown_usd`: the largest so far."""

    at: datetime
    equity_usd: float
    gain_usd: float
    drawdown_usd: float


@dataclass(frozen=True)
class CampaignRow:
    """A campaign by its newest snapshot, USD.

    `status`: running, or stopped when its live session ended; `stopped`: why an operator stopped entries, None when
    none did. Times are aware UTC.
    """

    campaign: str
    started_at: datetime
    saved_at: datetime
    status: str
    inputs: int
    stopped: str | None
    capital_usd: float
    equity_usd: float
    gain_usd: float
    drawdown_usd: float
    daily_loss_usd: float
    active: int


TRADE_ROWS = TypeAdapter(list[TradeRow])
EVENT_ROWS = TypeAdapter(list[EventRow])
