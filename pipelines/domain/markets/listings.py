"""Markets as an exchange lists them: contracts with their quotes, and what was refused with its reason."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Self

from pipelines.domain.markets.books import Book, Quotes
from pipelines.domain.markets.contracts import Market
from pipelines.domain.markets.fees import FeeTerms, FeeType


@dataclass(frozen=True)
class Refused:
    """A market that cannot be used; `reason` names the field."""

    ticker: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """A market with its quotes; `volume`, `open_interest`: contracts; `index_value_usd`: what it settled on.

    `exchange_index`: the section of the exchange that trades it, None where not said.
    """

    market: Market
    quotes: Quotes
    volume: Decimal
    open_interest: Decimal
    index_value_usd: Decimal | None = None
    exchange_index: int | None = None

    def of_series(self, series_ticker: str) -> Self:
        """The same of a known series: an answer by ticker does not name it, and tickers may begin otherwise."""
        if self.market.series_ticker == series_ticker:
            return self
        return replace(self, market=replace(self.market, series_ticker=series_ticker))


@dataclass(frozen=True)
class Listings:
    """Markets in the exchange's order, and those refused.

    `received_at`: our clock at the arrival of the answer, of the first one where several were needed; aware UTC.
    `arrival`: the number of that answer, which grows also when the clock is set back.
    """

    listings: tuple[Listing, ...]
    refused: tuple[Refused, ...] = ()
    received_at: datetime | None = None
    arrival: int = 0

    def with_fee_terms(self, fee_terms: FeeTerms) -> Self:
        """The same with the fee terms of their series or event."""
        listings = (replace(one, market=replace(one.market, fee_terms=fee_terms)) for one in self.listings)
        return replace(self, listings=tuple(listings))


@dataclass(frozen=True)
class Books:
    """Order books in the exchange's order, and those refused."""

    books: tuple[Book, ...]
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True)
class Event:
    """One close with its markets. Its fee type and multiplier replace those of the series where they are not None."""

    ticker: str
    series_ticker: str
    title: str
    markets: Listings
    fee_type: FeeType | None = None
    fee_multiplier: Decimal | None = None

    def fee_terms(self, series: FeeTerms) -> FeeTerms:
        """The fee terms of its markets, given those of the series."""
        return FeeTerms(
            series.fee_type if self.fee_type is None else self.fee_type,
            series.multiplier if self.fee_multiplier is None else self.fee_multiplier,
        )


@dataclass(frozen=True)
class ExchangeSection:
    """Whether a section of the exchange trades; `index`: its number in markets, None where not said."""

    index: int | None
    description: str
    trading_active: bool


@dataclass(frozen=True)
class ExchangeStatus:
    """Whether the exchange is up, and whether it trades: in all, and by section where it has sections."""

    exchange_active: bool
    trading_active: bool
    sections: tuple[ExchangeSection, ...] = ()

    def trades(self, exchange_index: int | None) -> bool:
        """Whether the section with this number trades; a section that is unknown trades as the exchange does."""
        halted = {each.index for each in self.sections if not each.trading_active and each.index is not None}
        return self.exchange_active and self.trading_active and exchange_index not in halted


@dataclass(frozen=True)
class HistoricalCutoff:
    """Markets settled, and trades made, before these instants (UTC) are in the historical part of the API."""

    market_settled_at: datetime
    trades_created_at: datetime
