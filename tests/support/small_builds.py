"""Builds of small generations: seven buckets instead of 61, otherwise the defaults. A build takes 0.1 s."""

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.fingerprint import compute_fingerprints
from pipelines.domain.models.lookup import build_lookup
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import closes_from_usd
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars
from pipelines.storage.models.generations import finish_generation, publish, start_generation, summarize_closes
from pipelines.storage.models.tables import write_fingerprints, write_lookup
from pipelines.storage.postgres.connection import Database, Role

SMALL = ModelConfig(bucket_limit=3, horizon_minutes=60)
RULE = MomentumRule(SMALL)


def build_generation(database: Database, symbol: str, *, seed: int, publish_it: bool = True) -> int:
    """Build and publish a small generation from synthetic bars made with the given seed."""
    bars = generate_bars(SimulationParameters(100.0), days=3, end_minute=29_000_000, seed=seed)
    closes = closes_from_usd(bars.minutes, bars.close)
    tables = compute_fingerprints(closes, compute_momentum(closes, SMALL), SMALL)
    with database.connect("test", Role.PIPELINE) as connection:
        bars_built_from = summarize_closes(closes)
        generation = start_generation(connection, symbol, "momentum", RULE, tables.nodes, bars=bars_built_from)
        write_fingerprints(connection, generation, tables)
        write_lookup(connection, generation, build_lookup(tables, RULE.axes), RULE.axes)
        finish_generation(connection, generation, complete=True)
    if publish_it:
        with database.connect("test", Role.PIPELINE) as connection:
            publish(connection, generation)
    return generation
