"""Contracts that the desk took from quotes: they are not there twice.

On paper the exchange's book keeps what the desk took. A buyer of a side takes bids for the other side, and a seller
takes bids for his own. Each price is remembered until the best bid is seen below it: then all bids at it are gone, and
those that come later are new. A quote that vanishes, or a better one before it, does not make them new.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal

from pipelines.domain.desk.inputs import MarketInput
from pipelines.domain.desk.trades import OrderFill
from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.candles import CONTRACT_STEP
from pipelines.domain.markets.contracts import Side

OTHER = {Side.YES: Side.NO, Side.NO: Side.YES}


@dataclass
class Taken:
    """Contracts taken from a market's bids of one side at one price, dollars."""

    ticker: str
    side: Side
    price: Decimal
    contracts: Decimal
    closes_at: datetime


def available(taken: Mapping[str, Taken], ticker: str, side: Side, quote: Quote, *, is_sale: bool) -> Decimal:
    """Contracts that an order may meet at a quote of its side, 0 where none are known."""
    if quote.contracts is None or not 0 < quote.price < 1:
        return Decimal(0)
    before = taken.get(_key(ticker, *_bids(side, quote.price, is_sale=is_sale)))
    shown = quote.contracts if before is None else quote.contracts - before.contracts
    return max(Decimal(0), shown.quantize(CONTRACT_STEP, ROUND_FLOOR))


def take(
    taken: dict[str, Taken], ticker: str, side: Side, fill: OrderFill, closes_at: datetime, *, is_sale: bool
) -> None:
    """Remember the contracts of a fill of an order of a side."""
    bidder, bid = _bids(side, fill.price, is_sale=is_sale)
    key = _key(ticker, bidder, bid)
    before = taken[key].contracts if key in taken else Decimal(0)
    taken[key] = Taken(ticker, bidder, bid, before + fill.contracts, closes_at)


def forget_emptied(taken: dict[str, Taken], markets: Mapping[str, MarketInput]) -> None:
    """Forget prices at which the bids are gone; `markets`: those with reliable quotes, by ticker."""
    for key, one in list(taken.items()):
        market = markets.get(one.ticker)
        if market is None:
            continue
        bid, ask = market.bid(one.side), market.ask(OTHER[one.side])
        seen = [] if bid is None else [bid.price]
        if ask is not None:
            seen.append(1 - ask.price)
        if seen and max(seen) < one.price:
            del taken[key]


def _bids(side: Side, price: Decimal, *, is_sale: bool) -> tuple[Side, Decimal]:
    """The side whose bids an order of a side meets, and their price."""
    return (side, price) if is_sale else (OTHER[side], 1 - price)


def _key(ticker: str, side: Side, price: Decimal) -> str:
    return f"{ticker} {side} {price.normalize():f}"
