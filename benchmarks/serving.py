"""Latency of a ladder from the database and of a tick to its file, and the duration of the whole chain."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.interpolate import griddata

from benchmarks.latency_under_load import probed_session
from benchmarks.results import Result, percentiles_ms
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.ladder import LadderQuery, ladder_strikes_usd
from pipelines.live.probability_writer import probabilities_path
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import read_lookup_rows
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import temporary_server_folder

READS = 10_000
ROUNDS = 400


def ladder(database: Database, tables: FingerprintSet) -> Result:
    """A 21-strike ladder from the database, against one griddata per strike."""
    rng = np.random.default_rng(1)
    samples = []
    with database.pool("bench", Role.READER) as pool:
        pool.open()
        with pool.connection() as connection:
            version = read_version(connection, active_generation(connection, "BTC"))
        rule = version.rule
        for _ in range(READS):
            price, ttc, bucket = float(rng.uniform(6e4, 12e4)), float(rng.integers(1, 3600)), int(rng.integers(-30, 31))
            started = time.perf_counter()
            with pool.connection() as connection:
                rows = read_lookup_rows(connection, version, bucket, ttc)
            strikes, states = ladder_strikes_usd(price, 250.0), MarketStates.single(0.0, bucket / 100.0)
            LadderQuery(rule, version.axes, states, price, strikes, ttc).answer_from_lookup(rows).rows()
            samples.append(time.perf_counter() - started)
    points = np.array([(h * 60, m) for h in range(1, 61) for m in tables.nodes], dtype=np.float64)
    values = tables.positive[tables.index(0)].ravel()
    original = []
    for _ in range(3):
        price, ttc = float(rng.uniform(6e4, 12e4)), float(rng.integers(60, 3600))
        started = time.perf_counter()
        for strike in ladder_strikes_usd(price, 250.0).tolist():
            griddata(points, values, (ttc, min(abs(strike - price) / price * 1e4, 200.0)), method="linear")
        original.append(time.perf_counter() - started)
    ours = percentiles_ms(samples)
    theirs = percentiles_ms(original)
    return Result(
        f"21-strike ladder from the database, prepared, pooled, local socket ({READS:,} reads)",
        f"p50 {ours['p50_ms']} ms, p95 {ours['p95_ms']} ms, p99 {ours['p99_ms']} ms",
        f"p50 {theirs['p50_ms']:.0f} ms, scipy griddata linear per strike "
        f"({theirs['p50_ms'] / ours['p50_ms']:.0f} times ours)",
        "p95 under 1 ms",
        ours["p95_ms"] < 1.0,
        {"ours": ours, "yardstick": theirs},
    )


def tick_to_file(database: Database, output: Path) -> Result:
    """Latency from the commit of an inserted tick to the rename of its file, with two symbols."""
    rounds = iter(range(ROUNDS))
    with probed_session(database, output) as probe:
        latency = percentiles_ms(probe.measure_while(lambda: next(rounds, None) is not None, pause_seconds=0.02))
    return Result(
        f"price row inserted to JSON renamed, 2 symbols ({2 * ROUNDS} ticks)",
        f"p50 {latency['p50_ms']} ms, p95 {latency['p95_ms']} ms, p99 {latency['p99_ms']} ms",
        "-",
        "p95 under 10 ms, p99 under 50 ms",
        latency["p95_ms"] < 10.0 and latency["p99_ms"] < 50.0,
        latency,
    )


def whole_chain(prices: Path) -> Result:
    """One symbol from Parquet to JSON, by the command line, through Dagster, on an empty data folder."""
    with temporary_server_folder("strikecast-bench-") as home:
        environment = {**os.environ, "STRIKECAST_HOME": home, "STRIKECAST_SYMBOLS": '{"ETH": {"enabled": false}}'}
        environment.pop("STRIKECAST_DATABASE_URL", None)
        times = {}
        for name, arguments in (
            ("ingest", ["ingest", "BTC", str(prices)]),
            ("build", ["build", "BTC"]),
            ("live", ["live", "--once"]),
        ):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], env=environment, check=True)
            times[name] = time.perf_counter() - started
        assert probabilities_path(Path(home) / "output", "BTC").exists()
    total = sum(times.values())
    # Of the largest process that this one waited for; Linux counts in kB.
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    steps = ", ".join(f"{name} {value:.1f} s" for name, value in times.items())
    return Result(
        "whole chain for one symbol from Parquet to JSON, three commands on an empty data folder",
        f"{total:.1f} s ({steps}), peak RSS {peak_gb:.2f} GB",
        "-",
        "under 60 s, peak RSS under 1 GB",
        total < 60 and peak_gb < 1.0,
        {"seconds": times, "peak_rss_gb": peak_gb},
    )
