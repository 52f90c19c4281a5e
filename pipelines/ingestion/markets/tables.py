"""Tables of quotes and candles as exact values, in one shape.

Quotes have the columns file, row, ticker, at (UTC), bid, ask (of YES, int64 in 0.0001 dollars), bid_size, ask_size,
volume (int64 in hundredths of a contract) and order. Candles have file, row, ticker, at (end of the minute, UTC), the
eight prices, volume and open_interest. Null is missing; what cannot be read is -1.
"""

import polars as pl

from pipelines.errors import MarketError
from pipelines.ingestion.markets.columns import PER_DOLLAR, Unit, contracts, instants, prices, unit_of
from pipelines.ingestion.markets.files import RecordedFile
from pipelines.ingestion.markets.shapes import CANDLE_PRICES, CandleTable, QuoteTable


def quotes_of(file: RecordedFile, shape: QuoteTable) -> pl.DataFrame:
    """The quotes of a file. Raises MarketError for prices in an unknown unit, and for rounded ones."""
    rows = file.frame
    if shape.strike is not None:
        rows = rows.filter(pl.col(shape.strike).is_not_null())
    bids = [shape.yes_bid, *([shape.no_bid] if shape.no_bid else [])]
    unit = shape.unit or unit_of(rows, bids, file.name)
    bid = prices(rows, shape.yes_bid, unit)
    if shape.no_bid is not None:
        no_bid = prices(rows, shape.no_bid, unit)
        ask = (PER_DOLLAR - no_bid).set(no_bid < 0, -1)
    else:
        assert shape.yes_ask is not None
        ask = prices(rows, shape.yes_ask, unit)
    quotes = _keyed(file, rows, shape.ticker, shape.at).with_columns(
        bid.alias("bid"),
        ask.alias("ask"),
        _contracts(rows, shape.yes_bid_size).alias("bid_size"),
        _contracts(rows, shape.other_size).alias("ask_size"),
        _contracts(rows, shape.volume).alias("volume"),
        (pl.lit(None) if shape.order is None else rows[shape.order]).cast(pl.Int64).alias("order"),
    )
    _require_unrounded(quotes, unit, file.name)
    return quotes


def candles_of(file: RecordedFile, shape: CandleTable) -> pl.DataFrame:
    """The candles of a file."""
    rows = file.frame
    return _keyed(file, rows, shape.ticker, shape.at).with_columns(
        *(prices(rows, f"{name}_cents", Unit.CENTS).alias(name) for name in CANDLE_PRICES),
        *(_contracts(rows, name if name in rows.columns else None).alias(name) for name in ("volume", "open_interest")),
    )


def index_rows(file: RecordedFile, shape: QuoteTable) -> int:
    """How many rows are values of the index, and no quotes."""
    return 0 if shape.strike is None else file.frame[shape.strike].null_count()


def _keyed(file: RecordedFile, rows: pl.DataFrame, ticker: str, at: str) -> pl.DataFrame:
    return rows.select(
        pl.lit(file.name).alias("file"),
        "row",
        pl.col(ticker).cast(pl.String).alias("ticker"),
        instants(rows, at, file.name).alias("at"),
    )


def _contracts(rows: pl.DataFrame, column: str | None) -> pl.Series:
    return pl.Series([None] * len(rows), dtype=pl.Int64) if column is None else contracts(rows, column)


def _require_unrounded(quotes: pl.DataFrame, unit: Unit, name: str) -> None:
    """Raise MarketError where orders are at 0 or 1 dollar: a price below half a cent was rounded, and others too."""
    rounded = quotes.filter(
        ((pl.col("bid") == 0) | (pl.col("bid") == PER_DOLLAR)) & (pl.col("bid_size") > 0)
        | ((pl.col("ask") == PER_DOLLAR) | (pl.col("ask") == 0)) & (pl.col("ask_size") > 0)
    )
    if unit is Unit.CENTS and len(rounded):
        raise MarketError(
            f"{name}: {len(rounded):,} rows have contracts at 0 or 100 cents, so its prices are rounded to whole cents "
            "in a market with finer ones; nothing was stored"
        )
