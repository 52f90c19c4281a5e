"""What a backfill needs to know of closed markets, and what it has fetched of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pipelines.domain.markets.candles import WANTED, MarketCandles
from pipelines.storage.markets.candles import CANDLE_SCHEMA, CandleCounts, store_candles
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)


@dataclass(frozen=True)
class ClosedMarket:
    """A market past its close; times are aware UTC.

    `candles_fetched_at`: None until the exchange gave its candles.
    """

    market_id: int
    ticker: str
    event_ticker: str
    opens_at: datetime
    closes_at: datetime
    is_settled: bool
    candles_fetched_at: datetime | None


def read_closed(
    connection: Connection, exchange: str, symbol: str, series: str, since: datetime, until: datetime
) -> list[ClosedMarket]:
    """The markets of a series that closed in (since, until] (aware), oldest first."""
    parameters = {
        "exchange": exchange,
        "symbol": symbol,
        "series": series,
        "since": since,
        "until": until,
    }
    return read_rows(connection, ClosedMarket, SQL["closed_markets"], parameters)


def count_candles(connection: Connection, markets: Sequence[ClosedMarket], *, published: bool = False) -> Counter[int]:
    """Stored candles of the last hour of markets by their number; `published`: those of the exchange alone."""
    statement = SQL["count_published" if published else "count_candles"]
    parameters = {
        "markets": [one.market_id for one in markets],
        "closes": [one.closes_at for one in markets],
        "wanted": WANTED,
    }
    return Counter(dict(connection.execute(statement, parameters).fetchall()))


def store_fetched(
    connection: Connection, fetched: Sequence[tuple[int, MarketCandles]], fetched_at: datetime
) -> CandleCounts:
    """Store the candles of markets by number, and that those without refused candles were fetched (aware UTC)."""
    rows = [
        (
            market_id,
            one.ends_at,
            *(one.yes_bid.open, one.yes_bid.high, one.yes_bid.low, one.yes_bid.close),
            *(one.yes_ask.open, one.yes_ask.high, one.yes_ask.low, one.yes_ask.close),
            one.volume,
            one.open_interest,
        )
        for market_id, candles in fetched
        for one in candles.candles
    ]
    counts = store_candles(connection, pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row"))
    complete = [market_id for market_id, candles in fetched if not candles.refused]
    connection.execute(SQL["set_fetched"], [fetched_at, complete])
    return counts
