"""Messages of the exchange as domain types, in both shapes: integer cents of 2025, and dollar strings of 2026.

Where a message has both, dollars count: cents are rounded. A market that cannot be used is refused by its ticker and
the field; the others of the message are still read. All functions raise MarketError for a message of another shape.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Literal, TypeVar

from pydantic import Field

from pipelines.domain.markets.books import Book, Quote, Quotes, quotes_of_bids
from pipelines.domain.markets.contracts import Market, PriceRange
from pipelines.domain.markets.fees import CENT, FeePeriod, FeeSchedule, FeeTerms
from pipelines.domain.markets.listings import (
    Books,
    Event,
    ExchangeSection,
    ExchangeStatus,
    HistoricalCutoff,
    Listing,
    Listings,
    Refused,
)
from pipelines.errors import MarketError, printable
from pipelines.markets.fields import (
    Cents,
    Dollars,
    FeeKind,
    GroupedNumber,
    Instant,
    Message,
    Number,
    OptionalNumber,
    Result,
    Rows,
    Status,
    Strikes,
    Ticker,
    read,
)
from pipelines.markets.slices import Steps, finish

T = TypeVar("T")


class _PriceRangeMessage(Message):
    start: Number = Field(ge=0, le=1)
    end: Number = Field(ge=0, le=1)
    step: Number = Field(gt=0, le=1)


class _MarketMessage(Message):
    ticker: Ticker
    event_ticker: Ticker
    market_type: Literal["binary"] = "binary"
    strike_type: Strikes
    floor_strike: OptionalNumber = None
    cap_strike: OptionalNumber = None
    open_time: Instant
    close_time: Instant
    status: Status
    result: Result = None
    settlement_value: Cents | None = None
    settlement_value_dollars: Dollars = None
    expiration_value: GroupedNumber = None
    price_ranges: list[_PriceRangeMessage] | None = None
    #: Cents.
    tick_size: int | None = Field(default=None, ge=1, le=100)
    yes_bid: Cents | None = None
    yes_ask: Cents | None = None
    no_bid: Cents | None = None
    no_ask: Cents | None = None
    yes_bid_dollars: Dollars = None
    yes_ask_dollars: Dollars = None
    no_bid_dollars: Dollars = None
    no_ask_dollars: Dollars = None
    yes_bid_size_fp: OptionalNumber = None
    yes_ask_size_fp: OptionalNumber = None
    volume: int | None = None
    volume_fp: OptionalNumber = None
    open_interest: int | None = None
    open_interest_fp: OptionalNumber = None
    exchange_index: int | None = None

    def ranges(self) -> tuple[PriceRange, ...]:
        if self.price_ranges:
            return tuple(PriceRange(each.start, each.end, each.step) for each in self.price_ranges)
        if self.tick_size is None:
            raise MarketError("price_ranges and tick_size missing")
        return (PriceRange(Decimal(0), Decimal(1), self.tick_size * CENT),)

    def quotes(self) -> Quotes:
        """The listed quotes; sizes are those of YES, and of the opposite orders for NO."""
        stated = {
            "yes_bid": _dollars("yes_bid", self.yes_bid_dollars, self.yes_bid),
            "yes_ask": _dollars("yes_ask", self.yes_ask_dollars, self.yes_ask),
            "no_bid": _dollars("no_bid", self.no_bid_dollars, self.no_bid),
            "no_ask": _dollars("no_ask", self.no_ask_dollars, self.no_ask),
        }
        quotes = quotes_of_bids(
            _quote(stated["yes_bid"], self.yes_bid_size_fp), _quote(stated["no_bid"], self.yes_ask_size_fp)
        )
        problems = [
            f"{name} listed at {stated[name]}, 1 less the opposite bid is {derived.price if derived else 'none'}"
            for name, derived in (("yes_ask", quotes.yes_ask), ("no_ask", quotes.no_ask))
            if _inside(stated[name]) != (derived.price if derived else None)
        ]
        return Quotes(quotes.yes_bid, quotes.yes_ask, quotes.no_bid, quotes.no_ask, (*quotes.problems, *problems))

    def listing(self, series_ticker: str | None) -> Listing:
        settled = self.settlement_value_dollars
        if settled is None and self.settlement_value is not None:
            settled = self.settlement_value * CENT
        market = Market(
            ticker=self.ticker,
            event_ticker=self.event_ticker,
            series_ticker=series_ticker or self.event_ticker.partition("-")[0],
            strike_type=self.strike_type,
            floor_strike=self.floor_strike,
            cap_strike=self.cap_strike,
            opens_at=self.open_time,
            closes_at=self.close_time,
            price_ranges=self.ranges(),
            status=self.status,
            result=self.result,
            settlement_value=None if self.result is None else settled,
        )
        volume = _count("volume", self.volume_fp, self.volume)
        open_interest = _count("open_interest", self.open_interest_fp, self.open_interest)
        return Listing(market, self.quotes(), volume, open_interest, self.expiration_value, self.exchange_index)


class _EventMessage(Message):
    event_ticker: Ticker
    series_ticker: Ticker
    title: str = ""
    fee_type_override: FeeKind | None = None
    fee_multiplier_override: OptionalNumber = None
    markets: Rows = Field(default_factory=list)


class _EventEnvelope(Message):
    event: _EventMessage
    #: Beside the event, unless nested in it.
    markets: Rows = Field(default_factory=list)


class _MarketEnvelope(Message):
    market: dict[str, object]


class _LevelsMessage(Message):
    yes_dollars: Rows = Field(default_factory=list)
    no_dollars: Rows = Field(default_factory=list)
    #: Cents.
    yes: Rows = Field(default_factory=list)
    no: Rows = Field(default_factory=list)


class _BookMessage(Message):
    ticker: Ticker | None = None
    orderbook_fp: _LevelsMessage | None = None
    orderbook: _LevelsMessage | None = None


class _SectionMessage(Message):
    exchange_index: int | None = None
    description: str
    trading_active: bool


class _StatusMessage(Message):
    exchange_active: bool
    trading_active: bool
    exchange_index_statuses: list[_SectionMessage] = Field(default_factory=list)


class _CutoffMessage(Message):
    market_settled_ts: Instant
    trades_created_ts: Instant


class _SeriesMessage(Message):
    ticker: Ticker
    fee_type: FeeKind
    fee_multiplier: Number = Field(ge=0)


class _SeriesEnvelope(Message):
    series: _SeriesMessage


class _FeeChangeMessage(Message):
    series_ticker: Ticker
    fee_type: FeeKind
    fee_multiplier: Number = Field(ge=0)
    scheduled_ts: Instant


class _LevelMessage(Message):
    price: Number
    contracts: Number


def read_page(body: object, key: str) -> tuple[list[object], str]:
    """The rows of a page below `key`, and the cursor of the next page, empty at the end."""
    if not isinstance(body, dict) or key not in body:
        raise MarketError(f"{key}: expected a JSON object with {key!r}, received {str(body)[:60]!r}")
    rows, cursor = body[key] or [], body.get("cursor") or ""
    if not isinstance(rows, list) or not isinstance(cursor, str):
        raise MarketError(f"{key}: expected a list and a cursor, received {str(body)[:60]!r}")
    return rows, cursor


def read_listings(rows: Sequence[object], series_ticker: str | None = None) -> Listings:
    """Markets of a list. A ticker that comes twice with different values is refused.

    `series_ticker`: of their event, where known; otherwise the beginning of the event's ticker.
    """
    return finish(reading_listings(rows, series_ticker))


def reading_listings(rows: Sequence[object], series_ticker: str | None = None) -> Steps[Listings]:
    """`read_listings` in steps of one market."""

    def listing(row: object, name: str) -> Steps[Listing]:
        yield
        return read(_MarketMessage, row, name).listing(series_ticker)

    return Listings(*(yield from _reading_each(rows, "markets", listing)))


def read_market(body: object, ticker: str) -> Listing:
    """The market of a request for one; another ticker is an error."""
    row = read(_MarketEnvelope, body, ticker).market
    read_ticker = _name_of(row, "no ticker")
    if read_ticker != ticker:
        raise MarketError(f"{ticker}: received market {read_ticker}")
    listings = read_listings([row])
    if listings.refused:
        raise MarketError(f"{ticker}: {listings.refused[0].reason}")
    return listings.listings[0]


def reading_event(body: object, ticker: str) -> Steps[Event]:
    """The event of a request for one, in steps of one market; another ticker is an error.

    Its markets are beside or inside it.
    """
    envelope = read(_EventEnvelope, body, ticker)
    if envelope.event.event_ticker != ticker:
        raise MarketError(f"{ticker}: received event {envelope.event.event_ticker}")
    return (yield from _reading_event(envelope.event, [*envelope.event.markets, *envelope.markets]))


def reading_events(rows: Sequence[object]) -> Steps[tuple[tuple[Event, ...], tuple[Refused, ...]]]:
    """Events with nested markets, and those refused, in steps of one market."""

    def event(row: object, name: str) -> Steps[Event]:
        message = read(_EventMessage, row, name)
        return (yield from _reading_event(message, message.markets))

    return (yield from _reading_each(rows, "events", event, "event_ticker"))


def read_book(body: object, ticker: str) -> Book:
    """The order book of a market; a message with the ticker of another one is an error."""
    message = read(_BookMessage, body, ticker)
    if message.ticker not in {None, ticker}:
        raise MarketError(f"{ticker}: received the order book of {message.ticker}")
    levels = message.orderbook_fp or message.orderbook
    if levels is None:
        raise MarketError(f"{ticker}: orderbook_fp and orderbook missing")
    if levels.model_fields_set >= {"yes_dollars", "no_dollars"}:
        yes, no, unit = levels.yes_dollars, levels.no_dollars, Decimal(1)
    elif levels.model_fields_set >= {"yes", "no"}:
        yes, no, unit = levels.yes, levels.no, CENT
    else:
        raise MarketError(f"{ticker}: a side of the order book missing, both in dollars and in cents")
    return Book(ticker, _levels(yes, f"{ticker}: yes", unit), _levels(no, f"{ticker}: no", unit))


def read_books(rows: Sequence[object]) -> Books:
    """The order books of a request for several."""

    def book(row: object, name: str) -> Steps[Book]:
        yield
        return read_book(row, name)

    return Books(*finish(_reading_each(rows, "orderbooks", book)))


def read_exchange_status(body: object) -> ExchangeStatus:
    """Whether the exchange trades."""
    message = read(_StatusMessage, body, "exchange status")
    sections = tuple(
        ExchangeSection(each.exchange_index, each.description, each.trading_active)
        for each in message.exchange_index_statuses
    )
    return ExchangeStatus(message.exchange_active, message.trading_active, sections)


def read_historical_cutoff(body: object) -> HistoricalCutoff:
    """Where the historical part of the API begins."""
    message = read(_CutoffMessage, body, "historical cutoff")
    return HistoricalCutoff(message.market_settled_ts, message.trades_created_ts)


def read_fee_schedule(series: object, changes: Iterable[object], ticker: str) -> FeeSchedule:
    """The fee terms of a series: those in force, and announced changes by date; changes of others are left out."""
    now = read(_SeriesEnvelope, series, ticker).series
    if now.ticker != ticker:
        raise MarketError(f"{ticker}: received series {now.ticker}")
    own = [one for one in changes if not isinstance(one, dict) or one.get("series_ticker") == ticker]
    announced = [read(_FeeChangeMessage, one, f"{ticker}: fee change") for one in own]
    periods = [
        FeePeriod(FeeTerms(one.fee_type, one.fee_multiplier), one.scheduled_ts)
        for one in sorted(announced, key=lambda change: change.scheduled_ts)
    ]
    return FeeSchedule((FeePeriod(FeeTerms(now.fee_type, now.fee_multiplier)), *periods))


def _reading_event(message: _EventMessage, rows: Sequence[object]) -> Steps[Event]:
    markets = yield from reading_listings(rows, message.series_ticker)
    own = tuple(one for one in markets.listings if one.market.event_ticker == message.event_ticker)
    others = tuple(
        Refused(one.market.ticker, f"event_ticker {one.market.event_ticker!r}: expected {message.event_ticker}")
        for one in markets.listings
        if one.market.event_ticker != message.event_ticker
    )
    return Event(
        message.event_ticker,
        message.series_ticker,
        message.title,
        Listings(own, (*markets.refused, *others)),
        message.fee_type_override,
        message.fee_multiplier_override,
    )


def _reading_each(
    rows: Sequence[object], what: str, reader: Callable[[object, str], Steps[T]], key: str = "ticker"
) -> Steps[tuple[tuple[T, ...], tuple[Refused, ...]]]:
    """What `reader` makes of each row and its name, and the rows that it refuses, by name."""
    found: dict[str, T] = {}
    refused: dict[str, Refused] = {}
    for index, row in enumerate(rows):
        name = _name_of(row, f"{what}.{index}", key)
        try:
            one = yield from reader(row, name)
            if found.setdefault(name, one) != one:
                raise MarketError("listed twice, with different values")
        except MarketError as error:
            refused.setdefault(name, Refused(name, str(error).removeprefix(f"{name}: ")))
    return tuple(one for name, one in found.items() if name not in refused), tuple(refused.values())


def _name_of(row: object, otherwise: str, key: str = "ticker") -> str:
    name = row.get(key) if isinstance(row, dict) else None
    return printable(name, 100) if isinstance(name, str) and name else otherwise


def _levels(rows: list[object], name: str, unit: Decimal) -> tuple[Quote, ...]:
    levels = []
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 2:
            raise MarketError(f"{name}.{index} {str(row)[:60]!r}: expected a price and a number of contracts")
        level = read(_LevelMessage, dict(zip(("price", "contracts"), row, strict=True)), f"{name}.{index}")
        levels.append(Quote(level.price * unit, level.contracts))
    return tuple(levels)


def _dollars(name: str, dollars: Decimal | None, cents: int | None) -> Decimal:
    if dollars is None and cents is None:
        raise MarketError(f"{name}_dollars and {name} missing")
    return dollars if dollars is not None else Decimal(cents or 0) * CENT


def _count(name: str, exact: Decimal | None, whole: int | None) -> Decimal:
    if exact is None and whole is None:
        raise MarketError(f"{name}_fp and {name} missing")
    return exact if exact is not None else Decimal(whole or 0)


def _inside(price: Decimal) -> Decimal | None:
    """A price that an order can have; 0 and 1 stand for no order."""
    return price if 0 < price < 1 else None


def _quote(price: Decimal, contracts: Decimal | None) -> Quote | None:
    return None if _inside(price) is None else Quote(price, contracts)
