"""Recorded quotes and results of hourly markets, from the folder `markets` of the real data."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import real_data
from market_messages import market_2026

from pipelines.domain.evaluation.recorded_quotes import Candles, RecordedQuotes, SettledMarkets
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.ingestion.markets.recordings import read_recording


def recording(name: str) -> Path:
    """A file or folder of recorded markets; skips the test without it."""
    path = real_data.real_data("markets") / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


def hourly_recording() -> tuple[list[Market], Candles]:
    """The hourly BTC markets of April 2025, in the order of their file, and their minute candles."""
    return read_recording(recording("kxbtcd_hourly_1m_2025-04")).markets_and_candles()


def hourly_quotes() -> RecordedQuotes:
    """The quotes of these markets that count for scores."""
    markets, candles = hourly_recording()
    return SettledMarkets(markets).quotes(candles)


def index_seconds() -> np.ndarray:
    """An hour of index values by the second, a missing second with the value before it."""
    frame = pl.read_parquet(recording("kxbtcd_hourly_book_brti_2025-05-14/KXBTCD-25MAY1323.parquet"))
    index = frame.filter(pl.col("product") == "BRTI").sort("timestamp")
    at = index["timestamp"].dt.epoch("s").to_numpy()
    newest = np.searchsorted(at, grid := np.arange(at[0], at[-1] + 1), side="right") - 1
    return np.where(grid - at[newest] <= 10, index["price"].to_numpy()[newest], np.nan)


def quarter_hour_quotes() -> RecordedQuotes:
    """Quotes of the 15-minute BTC markets of May 2026: the newest of each minute."""
    folder = recording("kxbtc15m_book1s_2026-05")
    listed = pl.read_csv(folder / "markets.csv").drop_nulls("floor_strike").with_row_index("number")
    markets = [
        Market(
            row["ticker"],
            row["ticker"].rpartition("-")[0],
            "KXBTC15M",
            StrikeType.GREATER_OR_EQUAL,
            Decimal(str(row["floor_strike"])),
            None,
            (closes_at := datetime.fromisoformat(row["close_time"])) - timedelta(minutes=15),
            closes_at,
            (),
            MarketStatus.FINALIZED,
            MarketResult(row["result"]) if row["result"] else None,
        )
        for row in listed.iter_rows(named=True)
    ]
    book = pl.read_parquet(folder / "book_1s.parquet").sort("ts").join(listed.select("number", "ticker"), on="ticker")
    minutes = book.with_columns(pl.col("ts").dt.truncate("1m").dt.offset_by("1m").alias("end")).group_by(
        "number", "end"
    )
    frame = minutes.agg(pl.col("yes_bid", "no_bid", "ts").last()).sort("end")
    bids, no_bids = ((frame[side].fill_null(0.0) / 100).to_numpy() for side in ("yes_bid", "no_bid"))
    number, instants = frame["number"].cast(pl.Int64).to_numpy(), frame["end"].dt.epoch("s").to_numpy() // 60
    ages = (frame["end"] - frame["ts"]).dt.total_microseconds().to_numpy() / 1e6
    return SettledMarkets(markets).quotes(Candles(number, instants, bids, 1.0 - no_bids, ages))


@dataclass(frozen=True)
class RecordedUpdates:
    """The updates of an event's markets in their order: frame of market_ticker, ts, best bids (cents) and sizes."""

    closes_at: datetime
    frame: pl.DataFrame

    def rows(self) -> Iterator[tuple[datetime, dict[str, Any]]]:
        """Each update as the exchange lists its market then; the volume is the number of updates so far."""
        numbers = Counter[str]()
        opens_at = self.closes_at - timedelta(hours=1)
        times = {"open_time": opens_at.isoformat(), "close_time": self.closes_at.isoformat()}
        for name, at, bid, size, no_bid, no_size in self.frame.iter_rows():
            numbers[name] += 1
            event, _, strike = name.rpartition("-T")
            quotes = {
                "yes_bid_dollars": f"{bid / 100:.4f}",
                "yes_ask_dollars": f"{1 - no_bid / 100:.4f}",
                "no_bid_dollars": f"{no_bid / 100:.4f}",
                "no_ask_dollars": f"{1 - bid / 100:.4f}",
                "yes_bid_size_fp": f"{size:.2f}",
                "yes_ask_size_fp": f"{no_size:.2f}",
                "volume_fp": f"{numbers[name]}.00",
            }
            yield at, market_2026(strike, event, **{"floor_strike": strike, **times, **quotes})

    def of(self, ticker: str) -> list[tuple[int, float, int, float]]:
        """YES bid, its size, NO bid, its size, of each update of a market; 0 for no bid."""
        own = self.frame.filter(pl.col("market_ticker") == ticker)
        return own.select("bid", "size", "no_bid", "no_size").rows()


def updates(event: str, closes_at: datetime) -> RecordedUpdates:
    """The recorded order-book updates of an event of May 2025."""
    cents = pl.Int64
    frame = (
        pl.scan_parquet(recording("kxbtcd_hourly_ticks_2025-05") / "ticks.parquet")
        .filter(pl.col("market_ticker").str.starts_with(f"{event}-"))
        .select(
            "market_ticker",
            "ts",
            bid=pl.col("yes_bid_price_cents").fill_null(0).round().cast(cents),
            size=pl.col("yes_bid_qty").fill_null(0).cast(pl.Float64),
            no_bid=(100 - pl.col("yes_ask_price_cents").fill_null(100)).round().cast(cents),
            no_size=pl.col("yes_ask_qty_on_no_side").fill_null(0).cast(pl.Float64),
        )
        .collect()
        .sort("ts", maintain_order=True)
    )
    return RecordedUpdates(closes_at, frame)
