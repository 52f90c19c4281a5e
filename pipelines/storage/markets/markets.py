"""Markets in `market_data.market`: their description, life and result."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from psycopg.rows import dict_row

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, PriceRange, StrikeType
from pipelines.domain.markets.listings import Listing
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.storage.postgres.connection import AsyncConnection, Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)


@dataclass(frozen=True)
class MarketRecord:
    """A market to store, as an exchange lists it, with the symbol and the rule that it settles by."""

    symbol: str
    settlement: SettlementRule
    listing: Listing


@dataclass(frozen=True)
class StoredMarket:
    """A market as it is stored, without its fee terms. `index_value_usd`: the value of the index that it settled on."""

    market_id: int
    symbol: str
    settlement: SettlementRule
    market: Market
    index_value_usd: Decimal | None


@dataclass(frozen=True)
class Upserted:
    """Ids of markets by ticker, and which of them were new or changed."""

    ids: Mapping[str, int]
    written: frozenset[str]


def upsert_markets(connection: Connection, exchange: str, records: Sequence[MarketRecord]) -> Upserted:
    """Store markets that are new or have changed.

    A later status or a missing result does not replace a final result, unless the exchange disputes, amends or
    finalizes it again: then the former one is kept in `market_revision`. A value that is unknown (price ranges, index)
    does not replace a known one. Tickers must be distinct.
    """
    rows = connection.execute(SQL["upsert_markets"], _columns(exchange, records)).fetchall()
    ids = {ticker: market_id for ticker, market_id, _ in rows}
    return Upserted(ids, frozenset(ticker for ticker, _, is_written in rows if is_written))


async def upsert_markets_async(connection: AsyncConnection, exchange: str, records: Sequence[MarketRecord]) -> None:
    """As `upsert_markets`."""
    await connection.execute(SQL["upsert_markets"], _columns(exchange, records), prepare=True)


def read_markets(connection: Connection, exchange: str, tickers: Iterable[str]) -> dict[str, StoredMarket]:
    """Those of the markets that are stored, by ticker."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["markets_by_ticker"], [exchange, list(tickers)]).fetchall()
    return {row["ticker"]: stored_market(row) for row in rows}


async def read_unsettled_async(
    connection: AsyncConnection, exchange: str, closed_after: datetime, now: datetime
) -> list[StoredMarket]:
    """Markets that closed after an instant and before `now` (aware UTC) and have no final result, oldest first."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL["unsettled_markets"], [exchange, closed_after, now])
        return [stored_market(row) for row in await cursor.fetchall()]


@dataclass(frozen=True)
class MarketFreshness:
    """A symbol's newest quote of the last day (aware UTC), if there is one, and its closed markets without a result."""

    symbol: str
    newest_quote_at: datetime | None
    unsettled: int


def read_freshness(
    connection: Connection, exchange: str, symbols: Sequence[str], now: datetime, settled_after: timedelta
) -> list[MarketFreshness]:
    """How current the markets of each symbol are at `now` (aware UTC).

    `unsettled`: those of the last week without a final result `settled_after` their close.
    """
    parameters = {"exchange": exchange, "symbols": list(symbols), "now": now, "settled_after": settled_after}
    return read_rows(connection, MarketFreshness, SQL["freshness"], parameters)


@dataclass(frozen=True)
class SeriesSummary:
    """What is stored of a series. Times are those of quotes and candles, aware UTC.

    `unsettled`: markets past their close without a final result.
    """

    exchange: str
    series: str
    symbol: str
    settlement: str
    events: int
    markets: int
    unsettled: int
    quotes: int
    candles: int
    first_at: datetime | None
    last_at: datetime | None


def summarize(connection: Connection, symbol: str | None) -> list[SeriesSummary]:
    """What is stored of each series, of a symbol or all."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [SeriesSummary(**row) for row in cursor.execute(SQL["summary"], [symbol, symbol]).fetchall()]


def stored_market(row: Mapping[str, Any]) -> StoredMarket:
    """From the columns of `market_data.market`. Raises MarketError for a row that contradicts itself."""
    market = Market(
        ticker=row["ticker"],
        event_ticker=row["event_ticker"],
        series_ticker=row["series_ticker"],
        strike_type=StrikeType(row["strike_type"]),
        floor_strike=row["floor_strike"],
        cap_strike=row["cap_strike"],
        opens_at=row["opens_at"],
        closes_at=row["closes_at"],
        price_ranges=tuple(
            PriceRange(*(Decimal(one[name]) for name in ("start", "end", "step"))) for one in row["price_ranges"]
        ),
        status=MarketStatus(row["status"]),
        result=None if row["result"] is None else MarketResult(row["result"]),
        settlement_value=row["settlement_value"],
    )
    rule = SettlementRule(row["settlement"])
    return StoredMarket(row["market_id"], row["symbol"], rule, market, row["index_value"])


def _columns(exchange: str, records: Sequence[MarketRecord]) -> dict[str, Any]:
    markets = [record.listing.market for record in records]
    return {
        "exchange": exchange,
        "symbol": [record.symbol for record in records],
        "settlement": [str(record.settlement) for record in records],
        "ticker": [market.ticker for market in markets],
        "event_ticker": [market.event_ticker for market in markets],
        "series_ticker": [market.series_ticker for market in markets],
        "strike_type": [str(market.strike_type) for market in markets],
        "floor_strike": [market.floor_strike for market in markets],
        "cap_strike": [market.cap_strike for market in markets],
        "opens_at": [market.opens_at for market in markets],
        "closes_at": [market.closes_at for market in markets],
        "price_ranges": [_json(market.price_ranges) for market in markets],
        "status": [str(market.status) for market in markets],
        "result": [None if market.result is None else str(market.result) for market in markets],
        "settlement_value": [market.settlement_value for market in markets],
        "index_value": [record.listing.index_value_usd for record in records],
    }


def _json(ranges: Iterable[PriceRange]) -> str:
    texts = [{"start": str(one.start), "end": str(one.end), "step": str(one.step)} for one in ranges]
    return orjson.dumps(texts).decode()
