"""Generated bars as files, ingested as a user's would be."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from pipelines.domain.sample import SampleBars, SampleTruth, generate_bars
from pipelines.storage.database import Database
from pipelines.storage.ingestion import ingest

#: 2025-03-01, a Saturday.
END_MINUTE = 29_012_000


def sample(days: int, *, seed: int = 1, end_minute: int = END_MINUTE, truth: SampleTruth | None = None) -> SampleBars:
    return generate_bars(truth or SampleTruth(100.0), days, end_minute, seed)


def store(
    database: Database, symbol: str, bars: SampleBars, folder: Path, first: int = 0, last: int | None = None
) -> None:
    """Ingest bars first..last-1, with corrections allowed."""
    part = slice(first, last)
    frame = pl.DataFrame(
        {
            "timestamp": (pl.Series(bars.minutes[part]) * 60_000_000).cast(pl.Datetime("us", "UTC")),
            "open": bars.open[part], "high": bars.high[part], "low": bars.low[part], "close": bars.close[part],
            "volume": bars.volume[part],
        }
    )  # fmt: skip
    path = folder / f"{symbol}_{first}_{last}.parquet"
    frame.write_parquet(path)
    ingest(database, symbol, [path], datetime.now(UTC), accept_corrections=True)
