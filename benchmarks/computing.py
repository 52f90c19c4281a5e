"""Fingerprints in memory, and the lookup into the database."""

from pathlib import Path

import duckdb
import numpy as np

from benchmarks.results import Result, best_seconds
from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.fingerprint import FingerprintSet, compute_fingerprints, weight_bands
from pipelines.domain.models.lookup import LookupBlock, build_lookup
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.prices.bars import Closes, closes_from_usd
from pipelines.domain.prices.momentum import NO_BUCKET, Momentum, compute_momentum
from pipelines.storage.models.generations import (
    finish_generation,
    publish,
    roll_back,
    start_generation,
    summarize_closes,
)
from pipelines.storage.models.tables import verify_lookup, write_fingerprints, write_lookup
from pipelines.storage.postgres.binary_copy import HEADER, TRAILER, encode_rows, int2, int4
from pipelines.storage.postgres.connection import Connection, Database, Role

CONFIG = ModelConfig()
RULE = MomentumRule(CONFIG)
AXES = RULE.axes


def read_closes(path: Path) -> Closes:
    """Closes straight from a price file."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT epoch_us(timestamp) AS us, close FROM read_parquet(?) ORDER BY 1", [str(path)]
        )
        columns = rows.fetchnumpy()
    return closes_from_usd(columns["us"] // 60_000_000, columns["close"])


def plain_fingerprints(closes: Closes, momentum: Momentum) -> np.ndarray:
    """The yardstick: one numpy pass per horizon, moves as floats, one weighted bincount."""
    grid, rows = closes.on_grid()
    grid = np.concatenate([grid, np.full(60, np.nan)])
    weights = np.empty(len(closes))
    for band in weight_bands(closes.minutes, CONFIG):
        weights[band.start : band.stop] = band.weight
    group = np.where(momentum.buckets == NO_BUCKET, 61, momentum.buckets.astype(np.int64) + 30)
    counts = np.empty((60, 62 * 82))
    for horizon in range(1, 61):
        move = (grid[rows + horizon] - grid[rows]) / grid[rows]
        there = ~np.isnan(move)
        cell = np.clip(np.floor(move[there] * 2000), -41, 40).astype(np.int64) + 41
        counts[horizon - 1] = np.bincount(group[there] * 82 + cell, weights=weights[there], minlength=62 * 82)
    return counts


def fingerprints(path: Path) -> tuple[Result, Closes, FingerprintSet]:
    """62 fingerprints of five years."""
    closes = read_closes(path)
    momentum = compute_momentum(closes, CONFIG)
    ours = best_seconds(lambda: compute_fingerprints(closes, momentum, CONFIG))
    plain = best_seconds(lambda: plain_fingerprints(closes, momentum))
    figure = Result(
        f"62 fingerprints of {len(closes):,} bars with their intervals' evidence, bars in memory",
        f"{ours:.2f} s",
        f"{plain:.2f} s, one numpy pass per horizon with bincount ({plain / ours:.1f} times ours)",
        "not slower",
        ours <= plain,
        {"ours_seconds": ours, "yardstick_seconds": plain},
    )
    return figure, closes, compute_fingerprints(closes, momentum, CONFIG)


def lookup(database: Database, closes: Closes, tables: FingerprintSet) -> list[Result]:
    """Compute, COPY, checks, publish; and going back."""

    def build() -> int:
        with database.connect("bench", Role.PIPELINE) as connection:
            generation = start_generation(
                connection, "BTC", "momentum", RULE, tables.nodes, bars=summarize_closes(closes)
            )
            write_fingerprints(connection, generation, tables)
            sizes.append(write_lookup(connection, generation, build_lookup(tables, AXES), AXES).bytes_on_disk)
        with database.connect("bench", Role.PIPELINE) as connection:
            assert all(check.passed for check in verify_lookup(connection, generation, tables, AXES))
            finish_generation(connection, generation, complete=True)
        with database.connect("bench", Role.PIPELINE) as connection:
            publish(connection, generation)
        return generation

    def plain() -> None:
        with database.connect("bench", None) as connection:
            sizes_plain.append(_copy_plain_rows(connection, list(build_lookup(tables, AXES))))

    sizes: list[int] = []
    sizes_plain: list[int] = []
    ours, yardstick = best_seconds(build), best_seconds(plain, repeats=1)
    megabytes, megabytes_plain = sizes[-1] / 1e6, sizes_plain[-1] / 1e6

    def back_and_forth() -> None:
        with database.connect("bench", Role.PIPELINE) as connection:
            left, _ = roll_back(connection, "BTC")
        lefts.append(left)

    lefts: list[int] = []
    back = best_seconds(back_and_forth, repeats=1)
    with database.connect("bench", Role.PIPELINE) as connection:
        publish(connection, lefts[0])
    return [
        Result(
            f"lookup of {AXES.cells:,} cells: compute, COPY, checks, publish",
            f"{ours:.2f} s, {megabytes:.1f} MB",
            f"{yardstick:.2f} s, {megabytes_plain:.0f} MB, binary COPY of plain rows with a primary key "
            f"({yardstick / ours:.1f} times ours)",
            "3 times faster, 50 MB or less with intervals",
            yardstick >= 3 * ours and megabytes <= 50,
            {
                "ours_seconds": ours,
                "yardstick_seconds": yardstick,
                "bytes": sizes[-1],
                "yardstick_bytes": sizes_plain[-1],
            },
        ),
        Result(
            "going back one generation", f"{back * 1000:.1f} ms", "-", "under 50 ms", back < 0.05, {"seconds": back}
        ),
    ]


def _copy_plain_rows(connection: Connection, blocks: list[LookupBlock]) -> int:
    """The yardstick: the same cells as rows; returns bytes on disk."""
    connection.execute(
        "CREATE TABLE plain_lookup (generation integer, momentum_bucket smallint, ttc_seconds smallint, "
        "move_bps smallint, within_positive smallint, within_negative smallint)"
    )
    ttcs, moves = np.array(AXES.ttcs_seconds), np.array(AXES.nodes)
    with connection.cursor().copy("COPY plain_lookup FROM STDIN (FORMAT binary, FREEZE)") as copy:
        copy.write(HEADER)
        for block in blocks:
            n = block.within_positive.size
            keys = [int4(np.zeros(n)), int2(np.full(n, block.bucket)), int2(np.repeat(ttcs, len(moves)))]
            values = [int2(side.ravel()) for side in (block.within_positive, block.within_negative)]
            copy.write(encode_rows([*keys, int2(np.tile(moves, len(ttcs))), *values]))
        copy.write(TRAILER)
    connection.execute("ALTER TABLE plain_lookup ADD PRIMARY KEY (generation, momentum_bucket, ttc_seconds, move_bps)")
    row = connection.execute("SELECT pg_total_relation_size('plain_lookup')").fetchone()
    connection.execute("DROP TABLE plain_lookup")
    assert row is not None
    return int(row[0])
