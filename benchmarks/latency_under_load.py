"""A live session, ticks inserted one after the other, and something else beside it."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.live_processes import TIERS
from benchmarks.price_files import add_prices_option, chosen_prices, price_file
from benchmarks.results import Result, percentiles_ms, print_and_save
from benchmarks.serving import SESSION, until_price
from pipelines.live.file_writer import probabilities_path
from pipelines.storage.postgres.connection import Database, Role

ROOT = Path(__file__).parents[1]
QUIET_SECONDS = 25.0
WARM_UP_SECONDS = 5.0
INSERT = "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'bench')"
COUNTING = "from pipelines.processes.priority import lower_priority; lower_priority()\nwhile True: pass"


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

    def beside_counting(self, seconds: float) -> list[float]:
        """As `while_`, beside a process that only counts, in Linux's idle class: what it costs that a core is taken."""
        child = subprocess.Popen([sys.executable, "-c", COUNTING])
        try:
            return self.for_seconds(seconds)
        finally:
            child.kill()
            child.wait()

    def beside(self, environment: dict[str, str], *arguments: str) -> list[float]:
        """As `while_`, beside a command of ours. Raises CalledProcessError when it fails."""
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *arguments], env=environment, stdout=subprocess.PIPE
        )
        samples = self.while_(lambda: child.poll() is None)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, arguments)
        assert child.stdout is not None
        print(child.stdout.read().decode()[-600:], flush=True)
        return samples


def built(home: Path, prices: Path) -> dict[str, str]:
    """Build both symbols from their price files; the environment of whoever works on them."""
    environment = {**os.environ, "STRIKECAST_HOME": str(home)}
    environment.pop("STRIKECAST_DATABASE_URL", None)
    for symbol in TIERS:
        for arguments in (["ingest", symbol, str(price_file(prices, symbol))], ["build", symbol]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], env=environment, check=True)
    return environment


@contextmanager
def ticking(database: Database, output: Path) -> Iterator[Ticker]:
    """A warm live session that refreshes both symbols, on a database that autovacuum has been at."""
    with database.connect("bench", None, autocommit=True) as connection:
        for day in (datetime.now(UTC).date(), (datetime.now(UTC) - timedelta(days=1)).date()):
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [day])
        for symbol in TIERS:
            for minutes in range(32, 0, -1):
                connection.execute(INSERT, [symbol, datetime.now(UTC) - timedelta(minutes=minutes), 100_000.0])
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    child = subprocess.Popen([sys.executable, "-c", SESSION, database.url, str(output)])
    try:
        ticker = Ticker(database, output)
        ticker.for_seconds(WARM_UP_SECONDS)
        yield ticker
    finally:
        child.terminate()
        child.wait()


def command(program: str, description: str | None, measure: Callable[[Path, Path], Sequence[Result]]) -> None:
    """Measure in a home folder that goes afterwards, with the prices that the command line names; print, and write."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{program}", description=description)
    add_prices_option(parser)
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / f"{program}.json")
    arguments = parser.parse_args()
    prices = chosen_prices(arguments)
    with tempfile.TemporaryDirectory(prefix="strikecast-bench-") as home:
        Path(home).chmod(0o755)
        figures = measure(Path(home), prices.folder)
    print_and_save(figures, "in the same run", arguments.json, prices.source)


def compared(what: str, samples: list[float], quiet: list[float], times: float) -> Result:
    """Latency beside something against the quiet one of the same run; its p99 is to be within so many times that."""
    ours, base = percentiles_ms(samples), percentiles_ms(quiet)
    ratio = ours["p99_ms"] / base["p99_ms"]
    return Result(
        f"price row inserted to JSON renamed while {what} ({len(samples):,} ticks)",
        f"p50 {ours['p50_ms']}, p99 {ours['p99_ms']}, longest {ours['max_ms']:.0f} ms: {ratio:.2f} times the quiet p99",
        f"quiet: p50 {base['p50_ms']}, p99 {base['p99_ms']}, longest {base['max_ms']:.0f} ms ({len(quiet):,} ticks)",
        f"p99 within {times:g} times the quiet one",
        ratio <= times,
        {"busy": ours, "quiet": base},
    )
