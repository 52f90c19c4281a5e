"""Small recordings of markets in the shapes that are imported, with two hourly markets of one event."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

CLOSES_AT = datetime(2026, 7, 22, 18, tzinfo=UTC)
OPENS_AT = CLOSES_AT - timedelta(hours=1)
EVENT = "KXBTCD-26JUL2214"
STRIKES = (118_499.99, 118_749.99)
TICKERS = tuple(f"{EVENT}-T{strike}" for strike in STRIKES)
QUARTER = "KXBTC15M-26JUL221400-00"
Rows = Sequence[Mapping[str, Any]]


def at(seconds: float) -> datetime:
    """An instant after the opening."""
    return OPENS_AT + timedelta(seconds=seconds)


def write(path: Path, rows: Rows) -> Path:
    """Write rows as Parquet, CSV or JSON lines, by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)
    return path


def market_rows(**changes: Any) -> list[dict[str, Any]]:
    """Both markets: the lower strike is YES."""
    return [
        {
            "market_ticker": ticker,
            "result": result,
            "floor_strike": strike,
            "open_time": OPENS_AT,
            "close_time": CLOSES_AT,
            "event_ticker": EVENT,
            **changes,
        }
        for ticker, strike, result in zip(TICKERS, STRIKES, ("yes", "no"), strict=True)
    ]


def candle(ticker: str, minute: int, bid: int = 40, ask: int = 42, **changes: Any) -> dict[str, Any]:
    """A candle in cents that ends some minutes after the opening."""
    prices = {
        f"yes_{side}_{point}_cents": price
        for side, price in (("bid", bid), ("ask", ask))
        for point in ("open", "high", "low", "close")
    }
    return {"market_ticker": ticker, "ts": at(60 * minute), **prices, "volume": 3, "open_interest": 9, **changes}


def candle_rows() -> list[dict[str, Any]]:
    """Each minute of the hour for the first market, its last minute for the second one."""
    return [*(candle(TICKERS[0], minute) for minute in range(1, 61)), candle(TICKERS[1], 60, bid=0, ask=100)]


def candle_recording(folder: Path, candles: Rows | None = None, markets: Rows | None = None) -> Path:
    """A folder of candles and markets."""
    write(folder / "candles.parquet", candle_rows() if candles is None else candles)
    write(folder / "markets.parquet", market_rows() if markets is None else markets)
    return folder


def tick(seconds: float, bid: float | None, ask: float | None, **changes: Any) -> dict[str, Any]:
    """An order-book update of the first market, prices in cents."""
    return {
        "market_ticker": TICKERS[0],
        "ts": at(seconds),
        "sequence_num": round(seconds * 10),
        "yes_bid_price_cents": bid,
        "yes_bid_qty": 0.0 if bid is None else 10.0,
        "yes_ask_price_cents": ask,
        "yes_ask_qty_on_no_side": 0.0 if ask is None else 20.0,
        **changes,
    }


def tick_recording(folder: Path, ticks: Rows, markets: Rows | None = None) -> Path:
    """A folder of order-book updates and markets."""
    write(folder / "ticks.parquet", ticks)
    write(folder / "markets.csv", market_rows() if markets is None else markets)
    return folder


def message(seconds: float, bid: float | str, ask: float | str, **changes: Any) -> dict[str, Any]:
    """A ticker message of a 15-minute market, prices in dollars; it opens 45 minutes after the hour began."""
    return {
        "recv_ts": at(2700 + seconds),
        "exchange_ts": at(2700 + seconds - 0.1),
        "ticker": QUARTER,
        "yes_bid_dollars": bid,
        "yes_bid_size_fp": 10.25,
        "yes_ask_dollars": ask,
        "yes_ask_size_fp": 20.5,
        "volume_fp": 100.0 + seconds,
        **changes,
    }


def quarter_rows(**changes: Any) -> list[dict[str, Any]]:
    """The 15-minute market, which settled at its strike."""
    row = {"ticker": QUARTER, "close_time": "2026-07-22T18:00:00Z", "floor_strike": 118_512.34, "result": "yes"}
    return [{**row, "settlement_value": 118_512.34, **changes}]


def book(seconds: float, yes: float | None, no: float | None, **changes: Any) -> dict[str, Any]:
    """A book of the 15-minute market, prices in cents."""
    return {
        "ts": at(2700 + seconds),
        "ticker": QUARTER,
        "yes_bid": yes,
        "yes_bid_size": None if yes is None else 10.0,
        "no_bid": no,
        "no_bid_size": None if no is None else 5.5,
        **changes,
    }


def level(seconds: float, bid: float | None, ask: float | None, **changes: Any) -> dict[str, Any]:
    """A book by level of the first market, prices in cents; without strike, a value of the index."""
    return {
        "timestamp": at(seconds),
        "product": TICKERS[0],
        "strike": 118_500.0,
        "expiration_time": "2026-07-22 18:05:00+00:00",
        "bid_1_price": bid,
        "bid_1_quantity": None if bid is None else 10.0,
        "ask_1_price": ask,
        "ask_1_quantity": None if ask is None else 10.0,
        **changes,
    }


def index_value(seconds: float) -> dict[str, Any]:
    """A value of the index among books by level."""
    return level(seconds, None, None, product="BRTI", strike=None, expiration_time=None, price=118_500.0)


def up_down_rows(hours: int = 12) -> list[dict[str, Any]]:
    """Two quotes of each hour; every other hour is up."""
    return [
        {
            "asset": "BTC",
            "timestamp": OPENS_AT + timedelta(hours=hour, minutes=minute),
            "market_name": f"Bitcoin Up or Down - hour {hour}",
            "token_id": f"{10**30 + hour}",
            "best_bid": (0.9 if hour % 2 else 0.05) if minute else 0.49,
            "best_ask": (0.92 if hour % 2 else 0.07) if minute else 0.51,
            "binance_spot": 118_000.0 + hour,
            "outcome": "UP" if hour % 2 else "DOWN",
        }
        for hour in range(hours)
        for minute in (1, 50)
    ]


def open_rows(hours: int = 12, shift: int = 0) -> list[dict[str, Any]]:
    """Opening prices of the hours, with hours moved by a shift."""
    return [
        {
            "asset": "BTC",
            "hour_key": f"{OPENS_AT + timedelta(hours=hour + shift):%Y-%m-%d %H}",
            "p_start_price": 118_000.0 + 500 * shift + hour,
        }
        for hour in range(hours)
    ]
