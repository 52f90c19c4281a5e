"""Recorded quotes and results of hourly markets, from the folder `markets` of the real data."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import real_data

from pipelines.domain.evaluation.settlement_scores import RecordedQuotes
from pipelines.domain.markets.basis import two_sided


def recording(name: str) -> Path:
    """A file or folder of recorded markets; skips the test without it."""
    path = real_data.real_data("markets") / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


def hourly_candles() -> RecordedQuotes:
    """Two-sided quotes of the hourly BTC markets of April 2025 at the ends of minutes."""
    folder = recording("kxbtcd_hourly_1m_2025-04")
    markets = pl.read_parquet(folder / "markets.parquet")
    left = (pl.col("close_time") - pl.col("ts")).dt.total_minutes()
    frame = (
        pl.read_parquet(folder / "candles.parquet")
        .join(markets, on="market_ticker")
        .with_columns(left.alias("left"))
        .filter(pl.col("left").is_between(1, 59))
        .sort("ts", "market_ticker")
    )
    bids, asks = ((frame[f"yes_{side}_close_cents"] / 100).to_numpy() for side in ("bid", "ask"))
    columns = [
        (frame["close_time"].dt.epoch("s") // 3600).to_numpy(),
        (frame["ts"].dt.epoch("s") // 60).to_numpy(),
        frame["left"].to_numpy(),
        frame["floor_strike"].to_numpy() + 0.01,
        bids,
        asks,
        (frame["result"] == "yes").to_numpy(),
    ]
    kept = two_sided(bids, asks)
    return RecordedQuotes(*(column[kept] for column in columns))


def index_seconds() -> np.ndarray:
    """An hour of index values by the second, a missing second with the value before it."""
    frame = pl.read_parquet(recording("kxbtcd_hourly_book_brti_2025-05-14/KXBTCD-25MAY1323.parquet"))
    index = frame.filter(pl.col("product") == "BRTI").sort("timestamp")
    at = index["timestamp"].dt.epoch("s").to_numpy()
    newest = np.searchsorted(at, grid := np.arange(at[0], at[-1] + 1), side="right") - 1
    return np.where(grid - at[newest] <= 10, index["price"].to_numpy()[newest], np.nan)
