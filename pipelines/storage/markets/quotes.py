"""Quotes of markets in `market_data.market_quote`: written by the live session, or imported from recordings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.listings import Listing
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.strike_table import MAX_QUOTE_AGE
from pipelines.storage.live.batch_writer import BatchWriter, RowQueue
from pipelines.storage.markets.candles import CONTRACTS, DOLLARS, copy_frame
from pipelines.storage.markets.markets import MarketRecord, upsert_markets_async
from pipelines.storage.postgres.connection import AsyncConnection, Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)

#: The first quote in this time before the end of a minute is stored even if nothing has changed: each minute that was
#: polled then ends with a quote that counts in scores, whether or not its prices moved.
MINUTE_END = MAX_QUOTE_AGE
#: Quotes that wait while the table cannot be written: 79 minutes of 42 markets that change each second.
MAX_QUEUED_QUOTES = 200_000
#: What is known of a market is forgotten this long after its close.
FORGET_AFTER = timedelta(hours=24)
NEVER = datetime.min.replace(tzinfo=UTC)
#: Columns of quotes: `market_id`, time of receipt (UTC), best bids in dollars with contracts, contracts traded so far.
QUOTE_SCHEMA = pl.Schema(
    {
        "market_id": pl.Int64(),
        "quoted_at": pl.Datetime("us", "UTC"),
        "yes_bid": DOLLARS,
        "yes_bid_size": CONTRACTS,
        "no_bid": DOLLARS,
        "no_bid_size": CONTRACTS,
        "volume": CONTRACTS,
    }
)


@dataclass(frozen=True)
class QuoteCounts:
    """Quotes that were new, the same as the stored ones, or others of the same instant: then the stored ones stay."""

    inserted: int = 0
    unchanged: int = 0
    contradicting: int = 0


def store_quotes(connection: Connection, quotes: pl.DataFrame) -> QuoteCounts:
    """Store quotes with the columns of QUOTE_SCHEMA: one for each market and instant. Their days need partitions."""
    connection.execute(SQL["create_incoming_quote"])
    copy_frame(connection, SQL["copy_incoming_quote_in"], quotes.select(QUOTE_SCHEMA.names()))
    connection.execute(SQL["analyze_incoming_quote"])
    counts = read_rows(connection, QuoteCounts, SQL["compare_incoming_quotes"])[0]
    connection.execute(SQL["merge_incoming_quotes"])
    connection.execute(SQL["drop_incoming_quote"])
    return counts


@dataclass(frozen=True)
class _QuoteRecord:
    ticker: str
    quoted_at: datetime
    values: tuple[Decimal | None, ...]


@dataclass
class _Known:
    """What was queued last of a market."""

    record: MarketRecord
    values: tuple[Decimal | None, ...] = ()
    quoted_at: datetime = NEVER


class MarketWriter(BatchWriter):
    """Writes the markets and quotes of an exchange that have changed."""

    def __init__(self, connection: AsyncConnection, exchange: str) -> None:
        self._exchange = exchange
        self._markets = RowQueue("markets", "upsert_markets", 200)
        self._quotes = RowQueue("quotes", "insert_quotes", 500, "market_quote", MAX_QUEUED_QUOTES, self._markets)
        self._known: dict[str, _Known] = {}
        self._newest_close = NEVER
        super().__init__(connection, (self._markets, self._quotes))

    def add_markets(self, symbol: str, settlement: SettlementRule, listings: Iterable[Listing]) -> None:
        """Queue the markets that are new, or described otherwise than before; their quotes come after them."""
        changed = []
        for listing in listings:
            record = MarketRecord(symbol, settlement, listing)
            known = self._known.get(listing.market.ticker)
            if known is None:
                self._known[listing.market.ticker] = _Known(record)
            elif _description(known.record) == _description(record):
                continue
            else:
                known.record = record
            changed.append(record)
        self._forget_closed(changed)
        self._add(self._markets, changed)

    def add_quotes(self, received_at: datetime, listings: Iterable[Listing]) -> None:
        """Queue quotes received at an instant (aware) that have changed, or are the first of a MINUTE_END.

        Those of markets that were not added are refused, see `problems`.
        """
        rows = []
        minute = _minute_of(received_at)
        for listing in listings:
            values = _values(listing)
            known = self._known.get(listing.market.ticker)
            if known is not None:
                if values == known.values and minute == _minute_of(known.quoted_at):
                    continue
                known.values, known.quoted_at = values, received_at
            rows.append(_QuoteRecord(listing.market.ticker, received_at, values))
        self._add(self._quotes, rows)

    def _forget_closed(self, changed: Sequence[MarketRecord]) -> None:
        newest = max((record.listing.market.closes_at for record in changed), default=self._newest_close)
        if newest > self._newest_close:
            self._newest_close = newest
            kept = self._known.items()
            self._known = {
                name: one for name, one in kept if one.record.listing.market.closes_at > newest - FORGET_AFTER
            }

    async def _write(self, queue: RowQueue, batch: Sequence[Any]) -> None:
        if queue is self._markets:
            latest = {record.listing.market.ticker: record for record in batch}
            await upsert_markets_async(self.connection, self._exchange, list(latest.values()))
        else:
            names = QUOTE_SCHEMA.names()[2:]
            columns = {name: [record.values[at] for record in batch] for at, name in enumerate(names)}
            keys = {
                "exchange": self._exchange,
                "ticker": [record.ticker for record in batch],
                "quoted_at": [record.quoted_at for record in batch],
            }
            await self.connection.execute(SQL["insert_quotes"], {**keys, **columns}, prepare=True)

    def _forget(self, queue: RowQueue, batch: Sequence[Any]) -> None:
        """Lost markets are queued again when they are next received."""
        if queue is self._markets:
            for record in batch:
                self._known.pop(record.listing.market.ticker, None)

    def _utc_day(self, row: _QuoteRecord) -> date:
        return row.quoted_at.astimezone(UTC).date()


def _description(record: MarketRecord) -> tuple[Any, ...]:
    return record.symbol, record.settlement, record.listing.market, record.listing.index_value_usd


def _minute_of(at: datetime) -> datetime:
    """Start of the minute of a quote, where minutes begin MINUTE_END early."""
    return (at + MINUTE_END).replace(second=0, microsecond=0)


def _values(listing: Listing) -> tuple[Decimal | None, ...]:
    """The columns of a quote after its time."""
    quotes = listing.quotes
    return (*_bid(quotes.yes_bid), *_bid(quotes.no_bid), listing.volume)


def _bid(quote: Quote | None) -> tuple[Decimal | None, Decimal | None]:
    return (None, None) if quote is None else (quote.price, quote.contracts)
