"""Minutes and closes for tests: synthetic bars, and real ones if STRIKECAST_REAL_DATA is set."""

from dataclasses import replace

import numpy as np
import polars as pl
from real_data import real_data

from pipelines.domain.prices.bars import MINUTES_PER_DAY, Floats, Ints
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars

#: 2021-07-17 00:00 UTC, the first bar of the real files. Synthetic bars start there too, so that `first` is the same time
#: of the week in both, except for a few hundred missing minutes of the real files.
FIRST_MINUTE = 27_108_000
#: Prices and volatility have the size of the real ones. There are no gaps: tests remove bars themselves.
PARAMETERS = {
    "BTC": SimulationParameters(40_000.0, sigma_per_minute=6.0e-4, gaps_per_day=0.0),
    "ETH": SimulationParameters(2_000.0, sigma_per_minute=8.0e-4, gaps_per_day=0.0),
}
SEEDS = {"BTC": 11, "ETH": 12}


def price_series(
    source: str, symbol: str, first: int, minutes: int, *, seed: int | None = None, **changes: float
) -> tuple[Ints, Floats]:
    """Minutes since 1970 UTC, int64[n], and closes in USD, float64[n]: `minutes` bars from bar number `first` on.

    `source` is "generated" or "real". `seed` and `changes` (of SimulationParameters) apply to generated bars only.
    """
    at, close, _ = bar_series(source, symbol, first, minutes, seed=seed, **changes)
    return at, close


def bar_series(
    source: str, symbol: str, first: int, minutes: int, *, seed: int | None = None, **changes: float
) -> tuple[Ints, Floats, Floats]:
    """As `price_series`, with highs and lows in USD: float64[2, n]."""
    if source == "real":
        frame = pl.scan_parquet(real_data(f"prices/{symbol.lower()}_1m.parquet"))
        frame = frame.select("timestamp", "close", "high", "low").slice(first, minutes).collect()
        at = (frame["timestamp"].dt.epoch("s") // 60).to_numpy()
        return at, frame["close"].to_numpy(), frame.select("high", "low").to_numpy().T
    days = -(-minutes // MINUTES_PER_DAY)
    end = FIRST_MINUTE + first + days * MINUTES_PER_DAY
    bars = generate_bars(replace(PARAMETERS[symbol], **changes), days, end, SEEDS[symbol] if seed is None else seed)
    return bars.minutes[:minutes], bars.close[:minutes], np.array([bars.high, bars.low])[:, :minutes]


def without(series: tuple[Ints, Floats], rows: Ints) -> tuple[Ints, Floats]:
    """The series without the bars of some row numbers."""
    minutes, usd = series
    return np.delete(minutes, rows), np.delete(usd, rows)
