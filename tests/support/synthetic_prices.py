"""Ingest synthetic bars from files, and build models from them."""

from datetime import UTC, datetime
from pathlib import Path

from pipelines.domain.models.lookup import build_lookup
from pipelines.domain.prices.synthetic_bars import SimulationParameters, SyntheticBars, generate_bars
from pipelines.ingestion.ingest import ingest
from pipelines.storage.models.generations import finish_generation, publish, start_generation
from pipelines.storage.models.refit import CountsUpdate, update_counts, update_volatility
from pipelines.storage.models.tables import verify_lookup, write_fingerprints, write_lookup
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.history import summarize_bars

#: 2025-03-01, a Saturday.
END_MINUTE = 29_012_000


def synthetic_bars(
    days: int, *, seed: int = 1, end_minute: int = END_MINUTE, parameters: SimulationParameters | None = None
) -> SyntheticBars:
    return generate_bars(parameters or SimulationParameters(100.0), days, end_minute, seed)


def ingest_bars(
    database: Database, symbol: str, bars: SyntheticBars, folder: Path, first: int = 0, last: int | None = None
) -> None:
    """Ingest bars first..last-1, accepting corrections."""
    path = folder / f"{symbol}_{first}_{last}.parquet"
    bars.frame()[first:last].write_parquet(path)
    ingest(database, symbol, [path], datetime.now(UTC), accept_corrections=True)


def update_models(database: Database, symbol: str, *lenders: str) -> CountsUpdate:
    """Update volatility and counts to the newest bar."""
    with database.connect("test", Role.PIPELINE) as connection:
        update_volatility(connection, symbol, lenders)
    with database.connect("test", Role.PIPELINE) as connection:
        return update_counts(connection, symbol)


def publish_all(database: Database, symbol: str, update: CountsUpdate) -> dict[str, int]:
    """Store, check and publish every model built from counts; return their generations."""
    generations = {}
    with database.connect("test", Role.PIPELINE) as connection:
        for fitted in update.fitted:
            axes = fitted.rule.axes
            generation = start_generation(
                connection,
                symbol,
                fitted.name,
                fitted.rule,
                fitted.tables.nodes,
                bars=summarize_bars(connection, symbol),
                borrowed_from=update.borrowed_from,
            )
            write_fingerprints(connection, generation, fitted.tables)
            write_lookup(connection, generation, build_lookup(fitted.tables, axes), axes)
            checks = verify_lookup(connection, generation, fitted.tables, axes)
            assert [check.name for check in checks if not check.passed] == []
            finish_generation(connection, generation, complete=True)
            publish(connection, generation)
            generations[fitted.name] = generation
    return generations
