"""Shapes of recordings, recognised by their columns, whatever their files and folders are called."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import ClassVar

from pipelines.errors import MarketError
from pipelines.ingestion.markets.columns import Unit


@dataclass(frozen=True)
class MarketTable:
    """Markets, one in each row, with the names of their columns. `settled`: what they settled on."""

    ticker: str
    strike: str
    result: str
    closes_at: str
    opens_at: str | None = None
    status: str | None = None
    event_ticker: str | None = None
    settled: str | None = None
    kind: str = "markets"


@dataclass(frozen=True)
class ArchivedMarkets:
    """Markets as retention archives them: the columns of `market_data.market`."""

    exchange: str = "exchange"
    ticker: str = "ticker"
    event_ticker: str = "event_ticker"
    series_ticker: str = "series_ticker"
    symbol: str = "symbol"
    settlement: str = "settlement"
    strike_type: str = "strike_type"
    floor_strike: str = "floor_strike"
    cap_strike: str = "cap_strike"
    opens_at: str = "opens_at"
    closes_at: str = "closes_at"
    price_ranges: str = "price_ranges"
    status: str = "status"
    result: str = "result"
    settlement_value: str = "settlement_value"
    index_value: str = "index_value"
    kind: str = "archived markets"


@dataclass(frozen=True)
class CandleTable:
    """Minute candles in cents: `yes_bid_open_cents` and so on. `at`: end of the minute.

    `exchange`: a column with its name, which archived candles have; without one it is that of the markets.
    """

    ticker: str
    at: str
    exchange: ClassVar[str] = "exchange"
    kind: str = "minute candles"


@dataclass(frozen=True)
class QuoteTable:
    """Best bids and asks of markets, one market in each row. Either `yes_ask` or `no_bid` is given.

    `exchange`: a column with its name; without one it is Kalshi. `unit`: None where the values show it. `order`: a
    column that orders updates of one instant. `expires_at`, `strike`: columns that describe the market; rows without a
    strike are values of the index. Of two tables of the same markets the one with the higher `precision` is used.
    """

    kind: str
    ticker: str
    at: str
    yes_bid: str
    yes_ask: str | None = None
    no_bid: str | None = None
    yes_bid_size: str | None = None
    other_size: str | None = None
    volume: str | None = None
    unit: Unit | None = None
    order: str | None = None
    strike: str | None = None
    expires_at: str | None = None
    exchange: str | None = None
    precision: int = 0


@dataclass(frozen=True)
class UpDownQuotes:
    """Quotes of hourly up-or-down markets; `token_id` is the contract on up, `outcome` the result."""

    asset: str = "asset"
    at: str = "timestamp"
    event: str = "market_name"
    ticker: str = "token_id"
    bid: str = "best_bid"
    ask: str = "best_ask"
    spot: str = "binance_spot"
    result: str = "outcome"
    kind: str = "quotes of up-or-down markets"


@dataclass(frozen=True)
class HourOpens:
    """Opening prices of hours, which are the strikes of up-or-down markets."""

    asset: str = "asset"
    hour: str = "hour_key"
    open: str = "p_start_price"
    kind: str = "opening prices of hours"


Shape = MarketTable | ArchivedMarkets | CandleTable | QuoteTable | UpDownQuotes | HourOpens

CANDLE_PRICES = tuple(f"yes_{side}_{point}" for side in ("bid", "ask") for point in ("open", "high", "low", "close"))
SHAPES: tuple[Shape, ...] = (
    MarketTable(
        "market_ticker", "floor_strike", "result", "close_time", opens_at="open_time", event_ticker="event_ticker"
    ),
    MarketTable("market_ticker", "strike_price", "result", "close_time_iso", opens_at="open_time_iso", status="status"),
    MarketTable("ticker", "floor_strike", "result", "close_time", settled="settlement_value"),
    ArchivedMarkets(),
    CandleTable("market_ticker", "ts"),
    QuoteTable(
        "order-book updates",
        "market_ticker",
        "ts",
        "yes_bid_price_cents",
        yes_ask="yes_ask_price_cents",
        yes_bid_size="yes_bid_qty",
        other_size="yes_ask_qty_on_no_side",
        unit=Unit.CENTS,
        order="sequence_num",
        precision=1,
    ),
    QuoteTable(
        "ticker messages",
        "ticker",
        "recv_ts",
        "yes_bid_dollars",
        yes_ask="yes_ask_dollars",
        yes_bid_size="yes_bid_size_fp",
        other_size="yes_ask_size_fp",
        volume="volume_fp",
        unit=Unit.DOLLARS,
        order="exchange_ts",
        precision=2,
    ),
    QuoteTable(
        "order books by level",
        "product",
        "timestamp",
        "bid_1_price",
        yes_ask="ask_1_price",
        yes_bid_size="bid_1_quantity",
        other_size="ask_1_quantity",
        strike="strike",
        expires_at="expiration_time",
    ),
    QuoteTable(
        "order books", "ticker", "ts", "yes_bid", no_bid="no_bid", yes_bid_size="yes_bid_size", other_size="no_bid_size"
    ),
    QuoteTable("quotes", "ticker", "received_at", "yes_bid", yes_ask="yes_ask"),
    QuoteTable(
        "archived quotes",
        "ticker",
        "quoted_at",
        "yes_bid_dollars",
        no_bid="no_bid_dollars",
        yes_bid_size="yes_bid_contracts",
        other_size="no_bid_contracts",
        volume="volume_contracts",
        unit=Unit.DOLLARS,
        exchange="exchange",
        precision=2,
    ),
    UpDownQuotes(),
    HourOpens(),
)
#: Recordings that are known and cannot be used: their columns, and why.
REFUSED = (
    (
        frozenset({"fill_count", "taker_cost", "taker_fee"}),
        "fills of an account with their fees, not quotes",
    ),
    (
        frozenset({"type", "msg"}),
        "raw websocket messages: its order books have no time of receipt, so no quote has an instant",
    ),
)


def columns_of(shape: Shape) -> frozenset[str]:
    """The columns that a shape needs; a file may have others."""
    named = {field.name: getattr(shape, field.name) for field in fields(shape) if field.name not in ("kind", "unit")}
    more = [f"{name}_cents" for name in CANDLE_PRICES] if isinstance(shape, CandleTable) else []
    return frozenset([*more, *(value for value in named.values() if isinstance(value, str))])


def recognise(columns: Iterable[str], name: str) -> Shape:
    """The shape of a file with these columns. Raises MarketError for none, several, and those known to be of no use."""
    given = frozenset(columns)
    for needed, reason in REFUSED:
        if needed <= given:
            raise MarketError(f"{name}: {reason}")
    found = [shape for shape in SHAPES if columns_of(shape) <= given]
    if len(found) != 1:
        kinds = " or ".join(shape.kind for shape in found)
        what = f"its columns may be {kinds}" if found else "its columns are of no known recording"
        raise MarketError(f"{name}: {what}: {', '.join(sorted(given))}")
    return found[0]
