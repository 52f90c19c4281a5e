"""The live session while the database is looked after: `python -m benchmarks.maintenance [--prices FOLDER]`.

One session, ticks inserted one after the other all the while; retention of a million rows, vacuums and backups run as
an operator would run them, each in a process of its own. About five minutes on an idle machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.figures import Figure, percentiles_ms, report
from benchmarks.running import TIERS
from benchmarks.serving import SESSION, until_price
from pipelines.live.output import probabilities_path
from pipelines.storage.database import Database, Role
from pipelines.storage.embedded import EmbeddedServer

ROOT = Path(__file__).parents[1]
QUIET_SECONDS = 25.0
REPEATS = 2
INSERT = "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'bench')"
#: 250,000 snapshots of 500 sessions that ended long ago, with a position, metrics and limits each: a million rows.
SNAPSHOTS = """
INSERT INTO live_data.session_snapshots
    (session_id, created_at, session_start_time, mode, config, loop_count, status, snapshot_type)
SELECT 'old-' || n % 500, now() - interval '60 days' + n * interval '1 second', now(), 'paper', '{}', n, 'stopped',
    'on_stop'
FROM generate_series(1, 250000) AS n
"""
BELOW = """
WITH old AS (SELECT snapshot_id FROM live_data.session_snapshots WHERE session_id LIKE 'old-%'),
    metrics AS (INSERT INTO live_data.metrics_snapshots (snapshot_id) SELECT snapshot_id FROM old),
    risk AS (INSERT INTO live_data.risk_guard_snapshots (snapshot_id) SELECT snapshot_id FROM old)
INSERT INTO live_data.position_snapshots (snapshot_id, position_key, trade_data) SELECT snapshot_id, 'P', '{}' FROM old
"""
DEAD_ROWS = "UPDATE historical_data.price_history_btc SET volume = volume + 1 WHERE opened_at > '2025-01-01Z'"


class Ticker:
    """Inserts ticks and waits for each in its file."""

    def __init__(self, database: Database, output: Path) -> None:
        self.database, self.output, self.price = database, output, 100_000.0

    def while_(self, running: Callable[[], bool]) -> list[float]:
        """Seconds from the insert to the file of each tick, for as long as something runs."""
        samples = []
        with self.database.connect("bench", Role.LIVE, autocommit=True) as connection:
            while running():
                self.price += 1.0
                for symbol in TIERS:
                    started = time.perf_counter()
                    connection.execute(INSERT, [symbol, datetime.now(UTC), self.price])
                    until_price(probabilities_path(self.output, symbol), self.price)
                    samples.append(time.perf_counter() - started)
                time.sleep(0.01)
        return samples

    def for_seconds(self, seconds: float) -> list[float]:
        """As `while_`."""
        end = time.monotonic() + seconds
        return self.while_(lambda: time.monotonic() < end)

    def beside(self, environment: dict[str, str], *arguments: str) -> list[float]:
        """As `while_`, beside a command. Raises CalledProcessError when it fails."""
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *arguments], env=environment, stdout=subprocess.PIPE
        )
        samples = self.while_(lambda: child.poll() is None)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, arguments)
        assert child.stdout is not None
        print(child.stdout.read().decode()[-600:], flush=True)
        return samples


def measure(home: Path, prices: Path) -> list[Figure]:
    """Build both symbols from real bars, then tick beside each kind of maintenance."""
    environment = {**os.environ, "STRIKECAST_HOME": str(home)}
    environment.pop("STRIKECAST_DATABASE_URL", None)
    for symbol in TIERS:
        for arguments in (["ingest", symbol, str(prices / f"{symbol.lower()}_1m.parquet")], ["build", symbol]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], env=environment, check=True)
    with EmbeddedServer(home / "postgres").in_use() as url:
        database, output = Database(url), home / "bench"
        with database.connect("bench", None, autocommit=True) as connection:
            for statement in (SNAPSHOTS, BELOW):
                connection.execute(statement)
            for day in (datetime.now(UTC).date(), (datetime.now(UTC) - timedelta(days=1)).date()):
                connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [day])
            for symbol in TIERS:
                for minutes in range(32, 0, -1):
                    connection.execute(INSERT, [symbol, datetime.now(UTC) - timedelta(minutes=minutes), 100_000.0])
            # As a night finds it: autovacuum has come to all that the build wrote.
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
        child = subprocess.Popen([sys.executable, "-c", SESSION, database.url, str(output)])
        try:
            ticker = Ticker(database, output)
            ticker.for_seconds(5)
            quiet = ticker.for_seconds(QUIET_SECONDS)
            busy = {"retention deletes 1,000,000 rows": ticker.beside(environment, "retention")}
            busy["vacuum runs"] = ticker.beside(environment, "vacuum", "--reindex")
            for _ in range(REPEATS):
                _update_everything(database)
                busy["vacuum runs"] += ticker.beside(environment, "vacuum")
            busy["a backup runs"] = ticker.beside(environment, "backup", "create")
            quiet += ticker.for_seconds(QUIET_SECONDS)
        finally:
            child.terminate()
            child.wait()
    return [_figure(what, samples, quiet) for what, samples in busy.items()]


def _update_everything(database: Database) -> None:
    """Leave dead rows in half of a million bars."""
    with database.connect("bench", None, autocommit=True) as connection:
        connection.execute(DEAD_ROWS)


def _figure(what: str, samples: list[float], quiet: list[float]) -> Figure:
    ours, base = percentiles_ms(samples), percentiles_ms(quiet)
    ratio = ours["p99_ms"] / base["p99_ms"]
    return Figure(
        f"price row inserted to JSON renamed while {what} ({len(samples):,} ticks)",
        f"p50 {ours['p50_ms']}, p99 {ours['p99_ms']}, longest {ours['max_ms']:.0f} ms: {ratio:.2f} times the quiet p99",
        f"quiet: p50 {base['p50_ms']}, p99 {base['p99_ms']}, longest {base['max_ms']:.0f} ms ({len(quiet):,} ticks)",
        "p99 within 2 times the quiet one", ratio <= 2.0, {"busy": ours, "quiet": base},
    )  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintenance", description=__doc__)
    parser.add_argument("--prices", type=Path, default=ROOT.parent / "shared" / "data" / "prices")
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / "maintenance.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strikecast-bench-") as home:
        Path(home).chmod(0o755)
        figures = measure(Path(home), arguments.prices)
    report(figures, "in the same run", arguments.json)


if __name__ == "__main__":
    main()
