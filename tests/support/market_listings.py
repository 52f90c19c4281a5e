"""Listings of an hourly event of BTC, as the exchange's client returns them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pipelines.domain.markets.books import Quote, quotes_of_bids
from pipelines.domain.markets.contracts import Market, MarketStatus, PriceRange, StrikeType
from pipelines.domain.markets.listings import Listing

CLOSES_AT = datetime(2026, 7, 22, 18, tzinfo=UTC)
EVENT = "KXBTCD-26JUL2214"
CENTS = (PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),)


def market(strike: str = "118499.99", event: str = EVENT, closes_at: datetime = CLOSES_AT, **changes: Any) -> Market:
    """An active market of an event."""
    fields: dict[str, Any] = {
        "ticker": f"{event}-T{strike}",
        "event_ticker": event,
        "series_ticker": event.partition("-")[0],
        "strike_type": StrikeType.GREATER,
        "floor_strike": Decimal(strike),
        "cap_strike": None,
        "opens_at": closes_at - timedelta(hours=1),
        "closes_at": closes_at,
        "price_ranges": CENTS,
        "status": MarketStatus.ACTIVE,
    }
    return Market(**{**fields, **changes})


def listing(
    described: Market | None = None,
    bids: tuple[str | None, str | None] = ("0.40", "0.58"),
    volume: str = "12",
    index: str | None = None,
) -> Listing:
    """A market with ten contracts at the best bids for YES and NO."""
    yes, no = (None if price is None else Quote(Decimal(price), Decimal(10)) for price in bids)
    return Listing(
        market() if described is None else described,
        quotes_of_bids(yes, no),
        Decimal(volume),
        Decimal(3),
        None if index is None else Decimal(index),
    )
