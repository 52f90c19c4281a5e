"""What a feed of markets knows now: the event of a series that closes next, with its markets and their quotes."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipelines.domain.markets.fees import FeeTerms
from pipelines.domain.markets.listings import Listing


class MarketSource(StrEnum):
    """Where markets come from: nowhere, the exchange, or the simulated exchange of the demonstration."""

    NONE = "none"
    KALSHI = "kalshi"
    SIMULATED = "simulated"


@dataclass(frozen=True)
class QuotedMarket:
    """A market with its quotes, received at `received_at` (aware UTC): their age counts from it."""

    listing: Listing
    received_at: datetime


@dataclass(frozen=True)
class EventBoard:
    """The event of a series that closes next, as the feed knows it.

    `closes_at`: aware UTC. `markets`: of the whole event, in any order. `event_ticker`, `closes_at`: None while no
    event is open. `trading`: whether the exchange trades. `failure`: why the feed has no newer quotes, None while it
    works. `problems`: markets that were refused, with the reason.
    """

    symbol: str
    series_ticker: str
    source: MarketSource
    event_ticker: str | None = None
    title: str = ""
    closes_at: datetime | None = None
    markets: tuple[QuotedMarket, ...] = ()
    fee_terms: FeeTerms = field(default_factory=FeeTerms)
    trading: bool = True
    failure: str | None = None
    problems: tuple[str, ...] = ()
