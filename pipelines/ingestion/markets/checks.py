"""Checks of recorded quotes and candles (see `tables`): a row is kept, or rejected with its reason.

In what is kept, a bid of 0 and an ask of a dollar, which stand for no order, are null.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from pipelines.errors import MarketError
from pipelines.ingestion.markets.columns import PER_CONTRACT, PER_DOLLAR
from pipelines.ingestion.markets.descriptions import DescribedMarket
from pipelines.ingestion.markets.rejections import Rejections
from pipelines.ingestion.markets.shapes import CANDLE_PRICES
from pipelines.storage.markets.candles import CONTRACTS, DOLLARS
from pipelines.storage.markets.quotes import MINUTE_END, QUOTE_SCHEMA

Reason = tuple[str, pl.Expr]

NO_KEY: Reason = ("no ticker or no time", pl.col("ticker").is_null() | pl.col("at").is_null())
NO_MARKET: Reason = ("the market is described neither in the files nor in the database", pl.col("closes_at").is_null())
BIDS = tuple(name for name in CANDLE_PRICES if "bid" in name)
ASKS = tuple(name for name in CANDLE_PRICES if "ask" in name)


def check_candles(
    candles: pl.DataFrame, markets: Mapping[str, DescribedMarket], rejections: Rejections
) -> tuple[pl.DataFrame, int]:
    """The candles to store, and how many were repeated. Raises MarketError unless the times are ends of minutes."""
    with_life = candles.join(_lives(markets), on="ticker", how="left")
    if with_life.select((pl.col("at") == pl.col("opens_at")).any()).item():
        raise MarketError(
            f"{candles['file'][0]}: candles dated at the opening of their market: times must be the ends of minutes; "
            "nothing was stored"
        )
    if with_life.select(pl.col("closes_at").is_not_null().any() & ~(pl.col("at") == pl.col("closes_at")).any()).item():
        raise MarketError(
            f"{candles['file'][0]}: no candle is dated at the close of its market, so that times may be the beginnings "
            "of minutes; nothing was stored"
        )
    reasons = [
        NO_KEY,
        NO_MARKET,
        ("time is not a whole minute", pl.col("at") != pl.col("at").dt.truncate("1m")),
        ("outside the time in which the market was open", pl.col("at") <= pl.col("opens_at")),
        ("outside the time in which the market was open", pl.col("at") > pl.col("closes_at")),
        _outside(BIDS, 0, PER_DOLLAR - 1),
        _outside(ASKS, 1, PER_DOLLAR),
        *(
            (
                "high below low, or open or close outside them",
                (pl.min_horizontal(f"{side}_open", f"{side}_close") < pl.col(f"{side}_low"))
                | (pl.max_horizontal(f"{side}_open", f"{side}_close") > pl.col(f"{side}_high")),
            )
            for side in ("yes_bid", "yes_ask")
        ),
        (
            "bid not below the ask",
            _crossed("yes_bid_open", "yes_ask_open") | _crossed("yes_bid_close", "yes_ask_close"),
        ),
        ("a negative or unreadable number of contracts", pl.min_horizontal("volume", "open_interest") < 0),
    ]
    kept = _split(with_life, rejections, reasons)
    values = [*CANDLE_PRICES, "volume", "open_interest"]
    unique, repeated = _one_of_each(kept, values, rejections, "candles of one minute")
    return unique.select(
        "ticker",
        pl.col("at").alias("ends_at"),
        *(_dollars(_or_none(name)).alias(name) for name in CANDLE_PRICES),
        *(_contracts(name) for name in ("volume", "open_interest")),
    ), repeated


def check_quotes(
    quotes: pl.DataFrame, markets: Mapping[str, DescribedMarket], rejections: Rejections
) -> tuple[pl.DataFrame, int, int]:
    """The quotes to store: those that differ from the one before, and the first of each MINUTE_END.

    Returns them with the number of those left out because they are the same, and because a later one has the same
    instant.
    """
    reasons = [
        NO_KEY,
        NO_MARKET,
        _outside(("bid",), 0, PER_DOLLAR - 1),
        _outside(("ask",), 1, PER_DOLLAR),
        ("a negative or unreadable number of contracts", pl.min_horizontal("bid_size", "ask_size", "volume") < 0),
        (
            "a price without contracts",
            (pl.col("bid") > 0) & (pl.col("bid_size") == 0) | (pl.col("ask") < PER_DOLLAR) & (pl.col("ask_size") == 0),
        ),
        ("bid not below the ask", _crossed("bid", "ask")),
        ("before the opening of its market", pl.col("at") < pl.col("opens_at")),
        ("at or after the close of its market", pl.col("at") >= pl.col("closes_at")),
    ]
    kept = _split(quotes.join(_lives(markets), on="ticker", how="left"), rejections, reasons)
    values = ["bid", "bid_size", "ask", "ask_size", "volume"]
    ordered = kept.filter(pl.col("order").is_not_null()).sort("ticker", "at", "order", "row")
    latest = ordered.unique(["ticker", "at"], keep="last", maintain_order=True)
    unordered = kept.filter(pl.col("order").is_null())
    unique, repeated = _one_of_each(unordered, values, rejections, "quotes of one instant")
    stored = (
        pl.concat([latest, unique])
        .sort("ticker", "at")
        .select(
            "ticker",
            pl.col("at").alias("quoted_at"),
            _dollars(_or_none("bid")).alias("yes_bid"),
            _contracts("bid_size").alias("yes_bid_size"),
            _dollars(PER_DOLLAR - _or_none("ask")).alias("no_bid"),
            _contracts("ask_size").alias("no_bid_size"),
            _contracts("volume"),
        )
        .with_columns(
            pl.when(pl.col(f"{side}_bid").is_not_null()).then(pl.col(f"{side}_bid_size")).alias(f"{side}_bid_size")
            for side in ("yes", "no")
        )
    )
    changed = stored.filter(_changed(QUOTE_SCHEMA.names()[2:]))
    return changed, repeated + len(stored) - len(changed), len(ordered) - len(latest)


def with_ids(frame: pl.DataFrame, ids: Mapping[str, int], schema: pl.Schema) -> pl.DataFrame:
    """A frame with the ids of its markets instead of their tickers, with the columns of a schema.

    Raises MarketError for a market without an id.
    """
    numbers = pl.DataFrame(list(ids.items()), schema={"ticker": pl.String, "market_id": pl.Int64}, orient="row")
    numbered = frame.join(numbers, on="ticker", how="left")
    missing = numbered.filter(pl.col("market_id").is_null())
    if len(missing):
        raise MarketError(f"{len(missing):,} rows of markets that are not stored, such as {missing['ticker'][0]}")
    return numbered.select(schema.names()).sort("market_id", schema.names()[1])


def _lives(markets: Mapping[str, DescribedMarket]) -> pl.DataFrame:
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "ticker": list(markets),
            "opens_at": [one.market.opens_at for one in markets.values()],
            "closes_at": [one.market.closes_at for one in markets.values()],
        },
        schema={"ticker": pl.String, "opens_at": instant, "closes_at": instant},
    )


def _split(frame: pl.DataFrame, rejections: Rejections, reasons: list[Reason]) -> pl.DataFrame:
    """The rows to which no reason applies, counted file by file."""
    files = frame["file"].unique(maintain_order=True).to_list()
    if len(files) == 1:
        return rejections.split(frame, files[0], reasons)
    parts = [rejections.split(frame.filter(pl.col("file") == file), file, reasons) for file in files]
    return pl.concat(parts) if parts else frame


def _one_of_each(frame: pl.DataFrame, values: list[str], rejections: Rejections, what: str) -> tuple[pl.DataFrame, int]:
    """One row for each market and instant. Rows that repeat it are counted, those that contradict it rejected."""
    if frame.group_by("ticker", "at").len().height == len(frame):
        return frame, 0
    distinct = frame.unique(["ticker", "at", *values], keep="first", maintain_order=True)
    several = pl.struct("ticker", "at").is_duplicated()
    unique = _split(distinct, rejections, [(f"several different {what}", several)])
    return unique, len(frame) - len(distinct)


def _outside(columns: Iterable[str], lowest: int, highest: int) -> Reason:
    names = list(columns)
    text = "bid" if "bid" in names[0] else "ask"
    condition = (pl.min_horizontal(names) < lowest) | (pl.max_horizontal(names) > highest)
    return f"{text} outside 0 to 1 dollar, or finer than 0.0001", condition


def _crossed(bid: str, ask: str) -> pl.Expr:
    return (pl.col(bid) > 0) & (pl.col(ask) < PER_DOLLAR) & (pl.col(bid) >= pl.col(ask))


def _or_none(name: str) -> pl.Expr:
    return pl.when((pl.col(name) > 0) & (pl.col(name) < PER_DOLLAR)).then(pl.col(name))


def _dollars(units: pl.Expr) -> pl.Expr:
    return (units.cast(pl.Decimal(18, 4)) / PER_DOLLAR).cast(DOLLARS)


def _contracts(name: str) -> pl.Expr:
    return (pl.col(name).cast(pl.Decimal(18, 2)) / PER_CONTRACT).cast(CONTRACTS).alias(name)


def _changed(values: list[str]) -> pl.Expr:
    """Whether a quote is the first of its market, differs from the one before, or is the first of a MINUTE_END."""
    minute = (pl.col("quoted_at") + MINUTE_END).dt.truncate("1m")
    value = pl.struct(*values, minute.alias("minute"))
    return value.ne_missing(value.shift()).over("ticker") | minute.shift().over("ticker").is_null()
