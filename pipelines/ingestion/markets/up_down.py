"""Hourly up-or-down markets: up if the last price of the hour is at or above its opening price.

The files name neither the hours' zone nor the side of the quoted contract; both are inferred, and refused in doubt.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import MarketError
from pipelines.ingestion.markets.columns import instants, prices, unit_of
from pipelines.ingestion.markets.descriptions import DescribedMarket
from pipelines.ingestion.markets.files import RecordedFile
from pipelines.ingestion.markets.rejections import Rejections
from pipelines.ingestion.markets.shapes import HourOpens, UpDownQuotes

HOUR = timedelta(hours=1)
#: The median distance of the first recorded spot price of an hour from its opening price: near 0 when the hours are in
#: UTC, and 25 bps or more when they are those of a zone an hour away.
MAX_DISTANCE_BPS = 5.0
#: Hours that show it.
MIN_HOURS = 10
RESULTS = {"UP": MarketResult.YES, "DOWN": MarketResult.NO}


def read_up_down(
    file: RecordedFile, opens: RecordedFile, rejections: Rejections
) -> tuple[dict[str, DescribedMarket], pl.DataFrame]:
    """The markets by ticker, and their quotes (see `tables`).

    Markets without an opening price or result are rejected. Raises MarketError when the hours may not be in UTC, or the
    quotes not of up.
    """
    shape, hours = UpDownQuotes(), HourOpens()
    rows = file.frame.with_columns(instants(file.frame, shape.at, file.name).alias("at"))
    rows = rows.with_columns(pl.col("at").dt.truncate("1h").alias("hour"))
    unit = unit_of(rows, [shape.bid], file.name)
    minute = pl.col(hours.hour).cast(pl.String) + ":00"
    start = minute.str.to_datetime("%Y-%m-%d %H:%M", time_zone="UTC", strict=False)
    prices_of_hours = opens.frame.select(
        pl.col(hours.asset).alias(shape.asset), start.alias("hour"), pl.col(hours.open).alias("strike")
    )
    rows = rows.join(prices_of_hours, on=[shape.asset, "hour"], how="left")
    _require_utc(rows, shape, opens.name)
    _require_up(rows, shape, file.name)
    quotes = rows.select(
        pl.lit(file.name).alias("file"),
        "row",
        pl.col(shape.ticker).alias("ticker"),
        "at",
        prices(rows, shape.bid, unit).alias("bid"),
        prices(rows, shape.ask, unit).alias("ask"),
        *(pl.lit(None, pl.Int64).alias(name) for name in ("bid_size", "ask_size", "volume", "order")),
    )
    return _markets(rows, shape, file.name, rejections), quotes


def _markets(rows: pl.DataFrame, shape: UpDownQuotes, name: str, rejections: Rejections) -> dict[str, DescribedMarket]:
    results = pl.col(shape.result).drop_nulls()
    found = rows.group_by(shape.ticker, maintain_order=True).agg(
        pl.col("row", shape.asset, shape.event, "hour", "strike").first(),
        pl.col("hour").n_unique().alias("hours"),
        results.first().alias("result"),
        results.n_unique().alias("results"),
    )
    reasons = [
        ("market quoted in several hours", pl.col("hours") > 1),
        ("market without the opening price of its hour", pl.col("strike").is_null()),
        ("market without a result", pl.col("result").is_null()),
        ("market with several results", pl.col("results") > 1),
        ("market with an unknown result", ~pl.col("result").is_in(list(RESULTS))),
    ]
    kept = rejections.split(found, name, reasons)
    columns = [shape.ticker, shape.asset, shape.event, "hour", "strike", "result"]
    return {row[0]: _market(*row) for row in kept.select(columns).iter_rows()}


def _market(ticker: str, symbol: str, event: str, hour: datetime, strike: float, result: str) -> DescribedMarket:
    opens_at = hour.astimezone(UTC)
    market = Market(
        ticker=ticker,
        event_ticker=event,
        series_ticker=event.partition(" - ")[0],
        strike_type=StrikeType.GREATER_OR_EQUAL,
        floor_strike=Decimal(str(strike)),
        cap_strike=None,
        opens_at=opens_at,
        closes_at=opens_at + HOUR,
        price_ranges=(),
        status=MarketStatus.FINALIZED,
        result=RESULTS[result],
    )
    return DescribedMarket("polymarket", SettlementRule.LAST_PRICE, market, symbol=symbol)


def _require_utc(rows: pl.DataFrame, shape: UpDownQuotes, name: str) -> None:
    """Raise MarketError unless the hours' opening prices are those of UTC hours."""
    first = (
        rows.filter(pl.col(shape.spot).is_not_null() & pl.col("strike").is_not_null())
        .sort("at")
        .group_by("hour")
        .agg(((pl.col(shape.spot).first() / pl.col("strike").first()).log() * 10_000).abs().alias("bps"))
    )
    median = first["bps"].median()
    if len(first) < MIN_HOURS or not isinstance(median, float) or median > MAX_DISTANCE_BPS:
        raise MarketError(
            f"{name}: the hours may not be in UTC: in {len(first)} hours with spot prices, the first is {median!r} bps "
            f"from the opening price at the median; expected at most {MAX_DISTANCE_BPS:.0f}, in {MIN_HOURS} hours or "
            "more; nothing was stored"
        )


def _require_up(rows: pl.DataFrame, shape: UpDownQuotes, name: str) -> None:
    """Raise MarketError unless the last bids are higher where the result is up."""
    last = rows.sort("at").group_by(shape.ticker).last()
    means = dict(last.group_by(shape.result).agg(pl.col(shape.bid).mean()).iter_rows())
    if not {*RESULTS} <= {*means} or means["UP"] <= means["DOWN"]:
        raise MarketError(
            f"{name}: the last bids do not show that the contracts are on up: mean {means}; nothing was stored"
        )
