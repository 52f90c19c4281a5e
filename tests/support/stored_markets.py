"""Markets and candles in market_data, inserted directly."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.fees import FeePeriod, FeeSchedule, FeeTerms, FeeType
from pipelines.domain.prices.bars import instant_of_minute
from pipelines.storage.markets.markets import StoredMarket, read_markets
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices.history import read_closes

#: Number of the market in its list, end of the minute, best bid and ask of YES in dollars (None for none).
CandleRow = tuple[int, datetime, Decimal | float | None, Decimal | float | None]


def market_event(
    closes_at: datetime,
    start_usd: Decimal,
    end_usd: Decimal,
    *,
    series: str = "KXBTCD",
    minutes: int = 60,
    offsets: Sequence[int] = (-20, 0, 20),
) -> list[Market]:
    """Markets at or above strikes `offsets` cents from the price at the event's start, settled by that at its end."""
    ticker = f"{series}-{closes_at:%y%b%d%H%M}".upper()
    strikes = [start_usd + Decimal(offset) / 100 for offset in offsets]
    return [
        Market(
            f"{ticker}-{offset}",
            ticker,
            series,
            StrikeType.GREATER_OR_EQUAL,
            strike,
            None,
            closes_at - timedelta(minutes=minutes),
            closes_at,
            (),
            MarketStatus.FINALIZED,
            MarketResult.YES if end_usd >= strike else MarketResult.NO,
        )
        for offset, strike in zip(offsets, strikes, strict=True)
    ]


def events_of_ten_hours(database: Database) -> list[Market]:
    """`market_event` at each of the last ten full hours of BTC's bars."""
    with database.connect("test", Role.READER) as connection:
        closes = read_closes(connection, "BTC")
    prices = dict(zip((closes.minutes + 1).tolist(), closes.usd.tolist(), strict=True))
    last = max(prices) // 60 * 60
    markets = []
    for hour in range(last - 9 * 60, last + 1, 60):
        start, end = (Decimal(f"{prices[minute]:.2f}") for minute in (hour - 60, hour))
        markets += market_event(instant_of_minute(hour), start, end)
    return markets


def candle_rows(markets: Sequence[Market]) -> list[CandleRow]:
    """A quote of 40 and 45.5 cents every 6th minute of the last hour of each market."""
    ends = [
        (number, market.closes_at - timedelta(minutes=left), market.opens_at)
        for number, market in enumerate(markets)
        for left in range(1, 60, 6)
    ]
    return [(number, end, Decimal("0.40"), Decimal("0.455")) for number, end, opens_at in ends if end > opens_at]


def store_markets(
    connection: Connection,
    markets: Sequence[Market],
    candles: Iterable[CandleRow],
    *,
    symbol: str = "BTC",
    exchange: str = "kalshi",
    settlement: str = "mean_60s",
) -> None:
    """Insert markets with their candles; needs the owner's rights."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO market_data.market (exchange, ticker, event_ticker, series_ticker, symbol, settlement, "
            "strike_type, floor_strike, cap_strike, opens_at, closes_at, price_ranges, status, result, settlement_value) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '[]', %s, %s, %s)",
            [
                (
                    exchange,
                    market.ticker,
                    market.event_ticker,
                    market.series_ticker,
                    symbol,
                    settlement,
                    market.strike_type,
                    market.floor_strike,
                    market.cap_strike,
                    market.opens_at,
                    market.closes_at,
                    market.status,
                    market.result,
                    market.settlement_value,
                )
                for market in markets
            ],
        )
        rows = cursor.execute("SELECT ticker, market_id FROM market_data.market WHERE exchange = %s", [exchange])
        ids = dict(rows.fetchall())
        with cursor.copy(
            "COPY market_data.market_candle (market_id, ends_at, yes_bid_close, yes_ask_close) FROM STDIN"
        ) as copy:
            for number, ends_at, bid, ask in candles:
                copy.write_row((ids[markets[number].ticker], ends_at, bid, ask))


def read_event(connection: Connection, exchange: str, event_ticker: str) -> list[StoredMarket]:
    """The markets of an event, by strike."""
    rows = connection.execute(
        "SELECT ticker FROM market_data.market WHERE exchange = %s AND event_ticker = %s"
        " ORDER BY coalesce(floor_strike, cap_strike), strike_type",
        [exchange, event_ticker],
    ).fetchall()
    found = read_markets(connection, exchange, [ticker for (ticker,) in rows])
    return [found[ticker] for (ticker,) in rows]


def read_fees(connection: Connection, exchange: str, series_ticker: str, event_ticker: str = "") -> FeeSchedule:
    """The terms of a series by date, and those of one of its events after them; no periods where none are stored."""
    rows = connection.execute(
        "SELECT fee_type, multiplier, nullif(starts_at, '-infinity'), ends_at FROM market_data.market_fee"
        " WHERE exchange = %s AND series_ticker = %s AND event_ticker IN ('', %s) ORDER BY event_ticker, starts_at",
        [exchange, series_ticker, event_ticker],
    ).fetchall()
    periods = [FeePeriod(FeeTerms(FeeType(kind), multiplier), *span) for kind, multiplier, *span in rows]
    return FeeSchedule(tuple(periods))
