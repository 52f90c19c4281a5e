"""Candles of the exchange's messages as domain types, in their three shapes.

Prices are integer cents (2025), dollar strings below names that end in `_dollars` (2026), or dollar strings below the
names of the cents (the historical part of the API). Dollars count where a message has both. A candle that cannot be
used is refused by its ticker; the others of the message are still read.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.domain.markets.candles import Candle, MarketCandles, MinuteRange, PriceSpan
from pipelines.domain.markets.fees import CENT
from pipelines.domain.markets.listings import Refused
from pipelines.errors import MarketError, printable
from pipelines.markets.fields import Dollars, Message, OptionalNumber, Rows, Ticker, read
from pipelines.markets.tickers import NOT_RECEIVED, TICKERS_PER_REQUEST, chunks

#: Limits of the exchange for an answer: candles of all markets together, and of one.
CANDLES_PER_REQUEST, CANDLES_OF_A_MARKET = 10_000, 5_000
#: Ends of minutes in Unix seconds, from 2000 to 2100.
EARLIEST, LATEST = 946_684_800, 4_102_444_800


def _cents_or_dollars(value: object) -> object:
    """A price below a name without a unit, as dollars: integers are cents, and strings are dollars."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= 100:
            raise ValueError("expected 0 to 100 cents")
        return value * CENT
    return value


CentsOrDollars = Annotated[Dollars, BeforeValidator(_cents_or_dollars)]


class _SpanMessage(Message):
    open: CentsOrDollars = None
    high: CentsOrDollars = None
    low: CentsOrDollars = None
    close: CentsOrDollars = None
    open_dollars: Dollars = None
    high_dollars: Dollars = None
    low_dollars: Dollars = None
    close_dollars: Dollars = None

    def span(self, name: str) -> PriceSpan:
        """The prices; 0 and 1 stand for no order, and so does null."""
        return PriceSpan(*(self._price(name, each) for each in ("open", "high", "low", "close")))

    def _price(self, name: str, field: str) -> Decimal | None:
        if not self.model_fields_set & {field, f"{field}_dollars"}:
            raise MarketError(f"{name}.{field}_dollars and {name}.{field} missing")
        dollars: Decimal | None = getattr(self, f"{field}_dollars")
        price: Decimal | None = getattr(self, field) if dollars is None else dollars
        return None if price is None or not 0 < price < 1 else price


class _CandleMessage(Message):
    end_period_ts: int = Field(ge=EARLIEST, le=LATEST)
    yes_bid: _SpanMessage
    yes_ask: _SpanMessage
    volume: OptionalNumber = None
    volume_fp: OptionalNumber = None
    open_interest: OptionalNumber = None
    open_interest_fp: OptionalNumber = None

    def candle(self) -> Candle:
        return Candle(
            datetime.fromtimestamp(self.end_period_ts, UTC),
            self.yes_bid.span("yes_bid"),
            self.yes_ask.span("yes_ask"),
            _count("volume", self.volume_fp, self.volume),
            _count("open_interest", self.open_interest_fp, self.open_interest),
        )


class _BatchMessage(Message):
    market_ticker: Ticker
    candlesticks: Rows


class _SingleMessage(Message):
    ticker: Ticker
    candlesticks: Rows


def candle_requests(minutes: MinuteRange, tickers: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Parameters of the requests for minutes of one market, or of those in `tickers`, within the exchange's limits."""
    requests: list[dict[str, Any]] = []
    for part in minutes.parts(CANDLES_OF_A_MARKET):
        span = {
            "start_ts": int(part.first_at.timestamp()),
            "end_ts": int(part.last_at.timestamp()),
            "period_interval": 1,
        }
        if tickers is None:
            requests.append(span)
            continue
        size = min(TICKERS_PER_REQUEST, CANDLES_PER_REQUEST // len(part))
        requests += [{"market_tickers": ",".join(chunk), **span} for chunk in chunks(tickers, size)]
    return requests


def read_candles(rows: Sequence[object], tickers: Sequence[str], minutes: MinuteRange) -> list[MarketCandles]:
    """Candles of each of the markets, from the rows of all requests for them.

    Raises MarketError for a row that names no market.
    """
    candles: dict[str, list[object]] = {}
    for index, row in enumerate(rows):
        message = read(_BatchMessage, row, f"markets.{index}")
        candles.setdefault(message.market_ticker, []).extend(message.candlesticks)
    return [
        _market_candles(ticker, candles[ticker], minutes)
        if ticker in candles
        else MarketCandles(ticker, refused=(Refused(ticker, NOT_RECEIVED),))
        for ticker in tickers
    ]


def read_candles_of(bodies: Sequence[object], ticker: str, minutes: MinuteRange) -> MarketCandles:
    """Candles of the one market that the requests name; another ticker in an answer is an error."""
    rows: list[object] = []
    for body in bodies:
        message = read(_SingleMessage, body, ticker)
        if message.ticker != ticker:
            raise MarketError(f"{ticker}: received candles of {message.ticker}")
        rows += message.candlesticks
    return _market_candles(ticker, rows, minutes)


def _market_candles(ticker: str, rows: Sequence[object], minutes: MinuteRange) -> MarketCandles:
    """The candles of a market. A minute that comes twice with different values is refused."""
    found: dict[datetime, Candle] = {}
    refused: dict[str, str] = {}
    for row in rows:
        name = _name_of(row)
        try:
            candle = read(_CandleMessage, row, "candle").candle()
            if candle.ends_at not in minutes:
                raise MarketError(f"expected {minutes}")
            if found.setdefault(candle.ends_at, candle) != candle:
                raise MarketError("comes twice, with different values")
        except MarketError as error:
            refused.setdefault(name, str(error).removeprefix("candle: "))
    return MarketCandles(
        ticker,
        tuple(found[end] for end in sorted(found) if _time(end) not in refused),
        tuple(Refused(ticker, f"candle {name}: {reason}") for name, reason in refused.items()),
    )


def _name_of(row: object) -> str:
    """The end of a candle for messages, readable where it is a time."""
    end = row.get("end_period_ts") if isinstance(row, dict) else None
    if isinstance(end, int) and EARLIEST <= end <= LATEST:
        return _time(datetime.fromtimestamp(end, UTC))
    return printable(str(end), 40)


def _time(end: datetime) -> str:
    return f"{end:%Y-%m-%d %H:%M:%S}"


def _count(name: str, exact: Decimal | None, whole: Decimal | None) -> Decimal:
    if exact is None and whole is None:
        raise MarketError(f"{name}_fp and {name} missing")
    return exact if exact is not None else whole or Decimal(0)
