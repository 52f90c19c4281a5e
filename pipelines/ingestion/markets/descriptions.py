"""Markets of recordings: their strikes, times and results, from a table of them or from the rows of their quotes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import polars as pl

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import MarketError, single_line
from pipelines.ingestion.markets.columns import instants
from pipelines.ingestion.markets.files import RecordedFile
from pipelines.ingestion.markets.rejections import Rejections
from pipelines.ingestion.markets.shapes import MarketTable, QuoteTable
from pipelines.storage.markets.markets import stored_market

#: Strike types of series, for recordings that do not have them.
STRIKE_TYPES = {
    "KXBTCD": StrikeType.GREATER,
    "KXETHD": StrikeType.GREATER,
    "KXBTC15M": StrikeType.GREATER_OR_EQUAL,
    "KXETH15M": StrikeType.GREATER_OR_EQUAL,
}
#: The exchange's expiration comes this long after the close.
EXPIRATION_AFTER_CLOSE = timedelta(minutes=5)
QUARTER_HOUR_SECONDS = 900
#: An opening time that is not recorded. It is replaced by that of the first quote or candle.
UNKNOWN_OPENING = datetime(1970, 1, 1, tzinfo=UTC)
#: Settlement values up to this are what a contract is paid, larger ones values of the index.
MAX_PAYMENT = 1


@dataclass(frozen=True)
class DescribedMarket:
    """A market as a recording describes it.

    `index_value_usd`: the value of the index that it settled on. `symbol`: None where the recording does not name it.
    `source`: the file and the row, counted from 1, that describe it.
    """

    exchange: str
    settlement: SettlementRule
    market: Market
    index_value_usd: Decimal | None = None
    symbol: str | None = None
    source: tuple[str, int] = field(default=("", 0), compare=False)

    @property
    def has_opening(self) -> bool:
        """Whether its opening time is recorded."""
        return self.market.opens_at != UNKNOWN_OPENING

    def opened_by(self, at: datetime) -> "DescribedMarket":
        """The same with an opening time."""
        return replace(self, market=replace(self.market, opens_at=at))


def read_markets(file: RecordedFile, shape: MarketTable, rejections: Rejections) -> dict[str, DescribedMarket]:
    """The markets of a table by ticker. Rows without strike, close or result, and contradictory ones, are rejected.

    Raises MarketError when the strike type of a series is not known.
    """
    frame = file.frame.with_columns(
        instants(file.frame, shape.closes_at, file.name).alias("closes_at"),
        pl.lit(UNKNOWN_OPENING).cast(pl.Datetime("us", "UTC")).alias("opens_at")
        if shape.opens_at is None
        else instants(file.frame, shape.opens_at, file.name).alias("opens_at"),
    )
    frame = rejections.split(
        frame,
        file.name,
        [
            ("no ticker", pl.col(shape.ticker).is_null()),
            ("no strike", pl.col(shape.strike).is_null()),
            ("no time of the close", pl.col("closes_at").is_null()),
            ("no time of the opening", pl.col("opens_at").is_null()),
            ("no result", pl.col(shape.result).is_null() | (pl.col(shape.result).cast(pl.String) == "")),
            ("several markets of one ticker", pl.col(shape.ticker).is_duplicated()),
        ],
    )
    found: dict[str, DescribedMarket] = {}
    for row in frame.iter_rows(named=True):
        try:
            one = _market(row, shape)
        except (ValueError, MarketError) as error:
            rejected = frame.filter(pl.col("row") == row["row"])
            rejections.add(file.name, "a contradictory or unknown market", rejected, f"row {row['row']}: {error}")
        else:
            found[one.market.ticker] = replace(one, source=(file.name, row["row"]))
    return found


def archived_markets(file: RecordedFile) -> dict[str, DescribedMarket]:
    """The markets of a file of the archive by ticker. Raises MarketError for a file that was changed since."""
    found: dict[str, DescribedMarket] = {}
    for row in file.frame.iter_rows(named=True):
        try:
            one = stored_market({**row, "market_id": 0, "price_ranges": orjson.loads(row["price_ranges"])})
        except (ValueError, KeyError, TypeError, ArithmeticError, MarketError) as error:
            problem = single_line(str(error), 200)
            raise MarketError(
                f"{file.name}: row {row['row']} is no archived market: {problem}; nothing was stored"
            ) from None
        found[one.market.ticker] = DescribedMarket(
            row["exchange"],
            one.settlement,
            one.market,
            one.index_value_usd,
            one.symbol,
            source=(file.name, row["row"]),
        )
    return found


def markets_of_quotes(file: RecordedFile, shape: QuoteTable) -> dict[str, DescribedMarket]:
    """The markets that the rows of quotes describe by strike and expiration, without results.

    Raises MarketError when they contradict each other or the tickers.
    """
    assert shape.strike is not None
    assert shape.expires_at is not None
    expires = instants(file.frame.filter(pl.col(shape.expires_at).is_not_null()), shape.expires_at, file.name)
    frame = file.frame.filter(pl.col(shape.strike).is_not_null())
    rows = frame.with_columns(expires.alias("closes_at")).select(shape.ticker, shape.strike, "closes_at").unique()
    found: dict[str, DescribedMarket] = {}
    for ticker, strike, expires_at in rows.iter_rows():
        closes_at = expires_at - EXPIRATION_AFTER_CLOSE
        if ticker in found or closes_at.timestamp() % QUARTER_HOUR_SECONDS:
            raise MarketError(
                f"{file.name}: {ticker} expires at {expires_at}, expected one time, 5 minutes after a quarter of an "
                "hour; nothing was stored"
            )
        market = _kalshi(ticker, _floor_of(ticker), UNKNOWN_OPENING, closes_at, MarketStatus.CLOSED, None)
        if market.bounds_usd()[0] != _exact(strike):
            raise MarketError(f"{file.name}: strike {strike} contradicts its ticker {ticker}; nothing was stored")
        found[ticker] = DescribedMarket("kalshi", SettlementRule.MEAN_60S, market)
    return found


def _market(row: Mapping[str, Any], shape: MarketTable) -> DescribedMarket:
    strike = _exact(row[shape.strike])
    status = MarketStatus(row[shape.status]) if shape.status else MarketStatus.FINALIZED
    result = MarketResult(row[shape.result])
    market = _kalshi(row[shape.ticker], strike, row["opens_at"], row["closes_at"], status, result)
    if (stated := row.get(shape.event_ticker or "")) not in (None, market.event_ticker):
        raise MarketError(f"{market.ticker}: event {stated} contradicts its ticker")
    settled = None if shape.settled is None or row[shape.settled] is None else _exact(row[shape.settled])
    if settled is not None and settled <= MAX_PAYMENT:
        market, settled = replace(market, settlement_value=settled), None
    if settled is not None and market.is_yes_at(settled) is not (result is MarketResult.YES):
        raise MarketError(f"{market.ticker}: result {result} contradicts the value {settled} that it settled on")
    return DescribedMarket("kalshi", SettlementRule.MEAN_60S, market, settled)


def _kalshi(
    ticker: str,
    floor: Decimal,
    opens_at: datetime,
    closes_at: datetime,
    status: MarketStatus,
    result: MarketResult | None,
) -> Market:
    series = ticker.partition("-")[0]
    strike_type = STRIKE_TYPES.get(series)
    if strike_type is None:
        raise MarketError(f"{ticker}: the strike type of series {series} is not known")
    if strike_type is StrikeType.GREATER and _floor_of(ticker) != floor:
        raise MarketError(f"{ticker}: strike {floor} contradicts its ticker")
    return Market(
        ticker=ticker,
        event_ticker=ticker.rpartition("-")[0],
        series_ticker=series,
        strike_type=strike_type,
        floor_strike=floor,
        cap_strike=None,
        opens_at=opens_at,
        closes_at=closes_at,
        price_ranges=(),
        status=status,
        result=result,
    )


def _floor_of(ticker: str) -> Decimal:
    """The floor at the end of a ticker such as KXBTCD-25MAY1920-T105499.99."""
    name = ticker.rpartition("-T")[2]
    if not name.replace(".", "", 1).isdigit():
        raise MarketError(f"{ticker}: expected a ticker with its strike, such as KXBTCD-25MAY1920-T105499.99")
    return Decimal(name)


def _exact(value: object) -> Decimal:
    """A number as it is written; the shortest text of a binary fraction."""
    return Decimal(str(value))
