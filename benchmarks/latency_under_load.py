"""Latency from an inserted tick to its file, while other work runs."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.live_processes import TIERS, wait_for_price
from benchmarks.price_files import add_prices_option, chosen_prices
from benchmarks.results import Result, percentiles_ms, print_and_save
from pipelines.live.probability_writer import probabilities_path
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import temporary_server_folder

ROOT = Path(__file__).parents[1]
QUIET_SECONDS = 25.0
WARM_UP_SECONDS = 5.0
INSERT = "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'bench')"
BUSY_LOOP = "from pipelines.processes.priority import lower_priority; lower_priority()\nwhile True: pass"
SESSION = f"""
import sys
from pathlib import Path
from pipelines.live.feeds.base import Feed
from pipelines.live.session import LiveSession
from pipelines.storage.postgres.connection import Database
LiveSession(Database(sys.argv[1]), Path(sys.argv[2]), {TIERS}, lambda _: Feed()).run()
"""


class LatencyProbe:
    """Inserts ticks one after the other, and waits for each in its file."""

    def __init__(self, database: Database, output: Path) -> None:
        self._database, self._output, self._price = database, output, 100_000.0

    def measure_while(self, condition: Callable[[], bool], pause_seconds: float = 0.01) -> list[float]:
        """Seconds from the insert of each tick to its file, while a condition holds."""
        samples = []
        with self._database.connect("bench", Role.LIVE, autocommit=True) as connection:
            while condition():
                self._price += 1.0
                for symbol in TIERS:
                    started = time.perf_counter()
                    connection.execute(INSERT, [symbol, datetime.now(UTC), self._price])
                    wait_for_price(probabilities_path(self._output, symbol), self._price)
                    samples.append(time.perf_counter() - started)
                time.sleep(pause_seconds)
        return samples

    def measure_for(self, seconds: float) -> list[float]:
        """As `measure_while`, for so many seconds."""
        end = time.monotonic() + seconds
        return self.measure_while(lambda: time.monotonic() < end)

    def measure_during_busy_loop(self, seconds: float) -> list[float]:
        """As `measure_for`, while a process in Linux's idle class keeps a core busy."""
        child = subprocess.Popen([sys.executable, "-c", BUSY_LOOP])
        try:
            return self.measure_for(seconds)
        finally:
            child.kill()
            child.wait()

    def measure_during_command(self, environment: dict[str, str], *arguments: str) -> list[float]:
        """As `measure_while`, while a strikecast command runs. Raises CalledProcessError when it fails."""
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *arguments], env=environment, stdout=subprocess.PIPE
        )
        samples = self.measure_while(lambda: child.poll() is None)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, arguments)
        assert child.stdout is not None
        print(child.stdout.read().decode()[-600:], flush=True)
        return samples


@contextmanager
def probed_session(database: Database, output: Path) -> Iterator[LatencyProbe]:
    """A probe of a warm live session that refreshes both symbols, on a vacuumed database."""
    now = datetime.now(UTC)
    with database.connect("bench", None, autocommit=True) as connection:
        for day in (now.date(), (now - timedelta(days=1)).date()):  # the half hour may begin yesterday
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [day])
        for symbol in TIERS:
            for minutes in range(32, 0, -1):
                connection.execute(INSERT, [symbol, now - timedelta(minutes=minutes), 100_000.0])
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    child = subprocess.Popen([sys.executable, "-c", SESSION, database.url, str(output)])
    try:
        probe = LatencyProbe(database, output)
        probe.measure_for(WARM_UP_SECONDS)
        yield probe
    finally:
        child.terminate()
        child.wait()


def run_benchmark(program: str, description: str | None, measure: Callable[[Path, Path], Sequence[Result]]) -> None:
    """Measure in a temporary home folder with the prices of the command line; print and save the results."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=description)
    add_prices_option(parser)
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / f"{program}.json")
    arguments = parser.parse_args()
    prices = chosen_prices(arguments)
    with temporary_server_folder("strikecast-bench-") as home:
        Path(home).chmod(0o755)
        results = measure(Path(home), prices.folder)
    print_and_save(results, "in the same run", arguments.json, prices.source)


def compare(work: str, samples: list[float], quiet: list[float], limit: float) -> Result:
    """Latency while `work` against the quiet latency of the same run; the limit is a multiple of the quiet p99."""
    ours, base = percentiles_ms(samples), percentiles_ms(quiet)
    ratio = ours["p99_ms"] / base["p99_ms"]
    return Result(
        f"price row inserted to JSON renamed while {work} ({len(samples):,} ticks)",
        f"p50 {ours['p50_ms']}, p99 {ours['p99_ms']}, longest {ours['max_ms']:.0f} ms: {ratio:.2f} times the quiet p99",
        f"quiet: p50 {base['p50_ms']}, p99 {base['p99_ms']}, longest {base['max_ms']:.0f} ms ({len(quiet):,} ticks)",
        f"p99 within {limit:g} times the quiet one",
        ratio <= limit,
        {"busy": ours, "quiet": base},
    )
