"""A build to be killed, as a process: `python killed_build.py URL SYMBOL STAGE MARKER`.

It creates MARKER when it reaches STAGE (`copy`: half of the lookup is written; `loaded`: the generation is committed as
complete, not published), and then sleeps.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.fingerprint import compute_fingerprints
from pipelines.domain.models.lookup import LookupBlock, build_lookup
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import closes_from_usd
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars
from pipelines.storage.models.generations import finish_generation, start_generation, summarize_closes
from pipelines.storage.models.tables import write_fingerprints, write_lookup
from pipelines.storage.postgres.connection import Database, Role


def main(url: str, symbol: str, stage: str, marker: Path) -> None:
    """Build up to the stage, then wait."""
    config = ModelConfig()
    rule = MomentumRule(config)
    bars = generate_bars(SimulationParameters(100.0), days=3, end_minute=29_000_000, seed=99)
    closes = closes_from_usd(bars.minutes, bars.close)
    tables = compute_fingerprints(closes, compute_momentum(closes, config), config)

    def blocks() -> Iterator[LookupBlock]:
        for block in build_lookup(tables, rule.axes):
            if block.bucket == 0 and stage == "copy":
                marker.touch()
                time.sleep(600)
            yield block

    with Database(url).connect("killed build", Role.PIPELINE) as connection:
        generation = start_generation(connection, symbol, "momentum", rule, tables.nodes, bars=summarize_closes(closes))
        write_fingerprints(connection, generation, tables)
        write_lookup(connection, generation, blocks(), rule.axes)
        finish_generation(connection, generation, complete=True)
    marker.touch()
    time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
