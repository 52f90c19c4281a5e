"""Answers from the database, ticks into files, and the whole chain."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
from scipy.interpolate import griddata

from benchmarks.results import Result, percentiles_ms
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.ladder import LadderQuery, ladder_strikes_usd
from pipelines.live.file_writer import probabilities_path
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import read_lookup_rows
from pipelines.storage.postgres.connection import Database, Role

READS = 10_000
TICKS = 400
SESSION = """
import sys
from pathlib import Path
from pipelines.live.feeds.base import Feed
from pipelines.live.session import LiveSession
from pipelines.storage.postgres.connection import Database
LiveSession(Database(sys.argv[1]), Path(sys.argv[2]), {"BTC": 250.0, "ETH": 20.0}, lambda _: Feed()).run()
"""


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
    """From the insert's commit to the file's rename, two symbols ticking."""
    child = subprocess.Popen([sys.executable, "-c", SESSION, database.url, str(output)])
    insert = "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'bench')"
    samples = []
    try:
        with database.connect("bench", Role.LIVE, autocommit=True) as connection:
            now = datetime.now(UTC)
            for days in range(2):
                day = (now - timedelta(days=days)).date()  # the half hour may begin yesterday
                connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [day])
            for symbol in ("BTC", "ETH"):
                for minutes in range(32, 0, -1):
                    connection.execute(insert, [symbol, now - timedelta(minutes=minutes), 100_000.0])
            for number in range(TICKS + 20):
                price = 100_000.0 + number
                symbols = ("BTC", "ETH") if number % 2 else ("ETH", "BTC")
                for symbol in symbols:
                    path = probabilities_path(output, symbol)
                    started = time.perf_counter()
                    connection.execute(insert, [symbol, datetime.now(UTC), price])
                    until_price(path, price)
                    if number >= 20:  # the first ones wait for the session to start
                        samples.append(time.perf_counter() - started)
                time.sleep(0.02)
    finally:
        child.terminate()
        child.wait()
    figures = percentiles_ms(samples)
    return Result(
        f"price row inserted to JSON renamed, 2 symbols ({len(samples)} ticks)",
        f"p50 {figures['p50_ms']} ms, p95 {figures['p95_ms']} ms, p99 {figures['p99_ms']} ms",
        "-",
        "p95 under 10 ms, p99 under 50 ms",
        figures["p95_ms"] < 10.0 and figures["p99_ms"] < 50.0,
        figures,
    )


def until_price(path: Path, price: float) -> None:
    seen = None
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        try:
            state = path.stat().st_ino, path.stat().st_mtime_ns
        except FileNotFoundError:
            state = None
        if state != seen:
            seen = state
            if orjson.loads(path.read_bytes())["current_price"] == price:
                return
        time.sleep(0.0002)
    raise TimeoutError(f"{path} never showed {price}")


def whole_chain(prices: Path) -> Result:
    """One symbol from Parquet to JSON, by the command line, through Dagster, on an empty data folder."""
    with tempfile.TemporaryDirectory(prefix="strikecast-bench-") as home:
        environment = {**os.environ, "STRIKECAST_HOME": home, "STRIKECAST_SYMBOLS": '{"BTC": {"strike_tier_usd": 250}}'}
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
