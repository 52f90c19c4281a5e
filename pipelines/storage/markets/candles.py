"""Minute candles of markets in `market_data.market_candle`: published by the exchange, or derived from quotes."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import LiteralString

import polars as pl

from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol
from pipelines.storage.postgres.statements import Statements, read_rows

SQL = Statements(__name__)

#: Prices are exact to 0.0001 dollars, numbers of contracts to 0.01, as the exchange's are.
DOLLARS = pl.Decimal(18, 4)
CONTRACTS = pl.Decimal(18, 2)
SIDES = ("yes_bid", "yes_ask")
PRICES = tuple(f"{side}_{point}" for side in SIDES for point in ("open", "high", "low", "close"))
#: Columns of candles: `market_id`, `ends_at` is the end of the minute (UTC), prices in dollars, null for none.
CANDLE_SCHEMA = pl.Schema(
    {
        "market_id": pl.Int64(),
        "ends_at": pl.Datetime("us", "UTC"),
        **dict.fromkeys(PRICES, DOLLARS),
        "volume": CONTRACTS,
        "open_interest": CONTRACTS,
    }
)
#: Held by the transaction of a writer of candles.
CANDLE_LOCK = ("strikecast.markets", "candles")
#: Rows of a block of text that is sent at a time.
BLOCK_ROWS = 50_000
#: A quote stands until the next one, at most this long: it is stored again at the end of each minute, of markets that
#: are polled once a minute up to 60 s later.
MAX_STANDING = timedelta(seconds=125)


@dataclass(frozen=True)
class CandleCounts:
    """Candles that were new, had other values than the stored ones and replaced them, or were the same."""

    inserted: int = 0
    corrected: int = 0
    unchanged: int = 0


def store_candles(connection: Connection, candles: pl.DataFrame) -> CandleCounts:
    """Store the exchange's candles, with the columns of CANDLE_SCHEMA: one for each market and minute.

    They replace derived ones, and those with other values. Other writers of candles wait until the transaction ends.
    Raises psycopg's IntegrityError for prices outside 0 to 1, and ends that are not whole minutes.
    """
    lock_symbol(connection, *CANDLE_LOCK)
    candles = candles.select(CANDLE_SCHEMA.names())
    market_ids = candles["market_id"].unique().to_list()
    known = [row[0] for row in connection.execute(SQL["markets_with_candles"], [market_ids]).fetchall()]
    is_known = pl.col("market_id").is_in(known)
    # Without a comparison it takes half of the time.
    new = candles.filter(~is_known)
    copy_frame(connection, SQL["copy_candles_in"], new)
    if len(new) == len(candles):
        return CandleCounts(inserted=len(new))
    connection.execute(SQL["create_incoming_candle"])
    copy_frame(connection, SQL["copy_incoming_candle_in"], candles.filter(is_known))
    connection.execute(SQL["analyze_incoming_candle"])
    counts = read_rows(connection, CandleCounts, SQL["compare_incoming_candles"])[0]
    connection.execute(SQL["merge_incoming_candles"])
    connection.execute(SQL["drop_incoming_candle"])
    return replace(counts, inserted=counts.inserted + len(new))


def derive_candles(
    connection: Connection,
    since: datetime,
    until: datetime,
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    margin: timedelta = timedelta(0),
) -> int:
    """Compute the candles of minutes that end in (since, until] (aware UTC) from quotes, and return how many changed.

    `exchange`, `symbol`: of these markets only. `margin`: at both ends of the range, this long, stored candles stay,
    because they may come from quotes that are no longer stored. The exchange's own candles stay. A minute opens with
    the quote that stands at its start; none is a bid of 0 and an ask of 1, so that a low bid or a high ask is NULL
    where there was none for a while.
    """
    lock_symbol(connection, *CANDLE_LOCK)
    parameters = {
        "since": since,
        "until": until,
        "standing": MAX_STANDING,
        "exchange": exchange,
        "symbol": symbol,
        "margin": margin,
    }
    return connection.execute(SQL["derive_candles"], parameters).rowcount


def copy_frame(connection: Connection, statement: LiteralString, frame: pl.DataFrame) -> None:
    """Run a COPY FROM STDIN (FORMAT csv) with the rows of a frame without texts."""
    with connection.cursor().copy(statement) as copy:
        for block in frame.iter_slices(BLOCK_ROWS):
            copy.write(block.write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6fZ"))
