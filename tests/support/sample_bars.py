"""Generated bars as files, ingested as a user's would be, and the models made of them."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from pipelines.domain.models.lookup import build_lookup_block
from pipelines.domain.prices.synthetic_bars import SampleBars, SampleTruth, generate_bars
from pipelines.ingestion.ingest import ingest
from pipelines.storage.models.generations import judge, publish, record_generation
from pipelines.storage.models.refit import CountsUpdate, update_counts, update_volatility
from pipelines.storage.models.tables import verify_lookup, write_fingerprints, write_lookup
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.history import summarize_bars

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
            "open": bars.open[part],
            "high": bars.high[part],
            "low": bars.low[part],
            "close": bars.close[part],
            "volume": bars.volume[part],
        }
    )
    path = folder / f"{symbol}_{first}_{last}.parquet"
    frame.write_parquet(path)
    ingest(database, symbol, [path], datetime.now(UTC), accept_corrections=True)


def renew(database: Database, symbol: str, *lenders: str) -> CountsUpdate:
    """Bring volatility and counts up to the newest bar."""
    with database.connect("test", Role.PIPELINE) as connection:
        update_volatility(connection, symbol, lenders)
    with database.connect("test", Role.PIPELINE) as connection:
        return update_counts(connection, symbol)


def publish_all(database: Database, symbol: str, update: CountsUpdate) -> dict[str, int]:
    """Store, check and publish every model that is made of counts; returns their generations."""
    generations = {}
    with database.connect("test", Role.PIPELINE) as connection:
        for fitted in update.fitted:
            axes = fitted.rule.axes
            generation = record_generation(
                connection,
                symbol,
                fitted.name,
                fitted.rule,
                fitted.tables.nodes,
                bars=summarize_bars(connection, symbol),
                borrowed_from=update.borrowed_from,
            )
            write_fingerprints(connection, generation, fitted.tables)
            blocks = (build_lookup_block(fitted.tables, bucket, axes) for bucket in axes.buckets)
            write_lookup(connection, generation, blocks, axes)
            checks = verify_lookup(connection, generation, fitted.tables, axes)
            assert [check.name for check in checks if not check.holds] == []
            judge(connection, generation, complete=True)
            publish(connection, generation)
            generations[fitted.name] = generation
    return generations
