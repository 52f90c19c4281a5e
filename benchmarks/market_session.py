"""The live session with markets: `python -m benchmarks.market_session [--prices FOLDER] [--seconds N] [--json FILE]`.

Two symbols with 21 markets each at one price and one request for quotes a second, against the same session without
markets, and against one whose paper desk trades on them, in turn and twice, all in processes of their own. About
fifteen minutes on an idle machine. The exchange is the simulated one.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.live_processes import TIERS, build_symbols, session, stop_session, wait_for, written_at
from benchmarks.price_files import add_prices_option, chosen_prices
from benchmarks.results import Result, print_and_save
from pipelines.live.probability_writer import probabilities_path, strike_table_path
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer, temporary_server_folder

ROOT = Path(__file__).parents[1]
WARM_UP_SECONDS = 15.0


@contextmanager
def exchange(environment: Mapping[str, str]) -> Iterator[None]:
    """The simulated exchange on the stored prices."""
    command = [sys.executable, "-m", "pipelines.cli", "markets", "simulate"]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for((Path(environment["STRIKECAST_HOME"]) / "simulated_exchange.json").exists)
        yield
    finally:
        child.terminate()
        child.wait()


def run(database: Database, output: Path, environment: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """One session: its metrics, CPU time in percent of a core, and largest RSS in MB."""
    with session(database, output, environment=environment) as child:
        wait_for(lambda: all(written_at(probabilities_path(output, symbol)) for symbol in TIERS))
        if "STRIKECAST_MARKETS__SOURCE" in environment:
            wait_for(lambda: all(written_at(strike_table_path(output, symbol)) for symbol in TIERS))
        time.sleep(WARM_UP_SECONDS)
        process, sizes = psutil.Process(child.pid), []
        before, end = sum(process.cpu_times()[:2]), time.monotonic() + seconds
        while time.monotonic() < end:
            sizes.append(process.memory_info().rss / 1e6)
            time.sleep(1)
        share = 100 * (sum(process.cpu_times()[:2]) - before) / seconds
        return {**stop_session(child), "cpu": share, "rss": max(sizes)}


def measure(home: Path, prices: Path, seconds: float) -> list[Result]:
    """Build both symbols, and run sessions without markets, with them, and with the paper desk in turn."""
    environment = build_symbols(home, prices)
    markets = {**environment, "STRIKECAST_MARKETS__SOURCE": "simulated", "STRIKECAST_MARKETS__SIMULATION_PORT": "0"}
    desk = {**markets, "STRIKECAST_DESK__ENABLED": "true", "STRIKECAST_DESK__PROBABILITY": "pool"}
    alone, beside, trading = [], [], []
    with EmbeddedServer(home / "postgres").running() as url:
        for number in range(2):
            alone.append(run(Database(url), home / f"alone{number}", environment, seconds))
            with exchange(markets):
                beside.append(run(Database(url), home / f"beside{number}", markets, seconds))
                trading.append(run(Database(url), home / f"trading{number}", desk, seconds))
    without, with_markets = (min(one["latencies"]["total"]["p95"] for one in of) for of in (alone, beside))
    table = max(one["latencies"]["table"]["p95"] for one in beside)
    cpu, rss = min(one["cpu"] for one in beside), max(one["rss"] for one in beside)
    decisions = max(one["latencies"]["desk"]["p95"] for one in trading)
    tables, tables_trading = (min(one["latencies"]["table"]["p95"] for one in of) for of in (beside, trading))
    raw = {"alone": alone, "beside": beside, "trading": trading}
    return [
        Result("quotes received to strike table renamed, p95", f"{table:.2f} ms", "-", "under 15 ms", table < 15, raw),
        Result(
            "price received to probability file renamed, p95, with markets",
            f"{with_markets:.2f} ms",
            f"{without:.2f} ms without markets, {with_markets / without:.2f} times",
            "not slower",
            with_markets <= 1.05 * without,
        ),
        Result(
            "CPU of the live process with markets",
            f"{cpu:.2f} % of a core",
            f"{min(one['cpu'] for one in alone):.2f} % without",
            "under 2.5 %",
            cpu < 2.5,
        ),
        Result(
            "RSS of the live process with markets",
            f"{rss:.0f} MB",
            f"{max(one['rss'] for one in alone):.0f} MB without",
            "under 200 MB",
            rss < 200,
        ),
        Result(
            "paper desk told of 21 markets and decided, p95",
            f"{decisions:.2f} ms",
            "-",
            "under 2 ms",
            decisions < 2,
        ),
        Result(
            "quotes received to strike table renamed, p95, with the paper desk",
            f"{tables_trading:.2f} ms",
            f"{tables:.2f} ms without the desk, {tables_trading / tables:.2f} times",
            "not slower",
            tables_trading <= 1.05 * tables,
        ),
        Result(
            "CPU of the live process with the paper desk",
            f"{min(one['cpu'] for one in trading):.2f} % of a core",
            f"{cpu:.2f} % without the desk",
            "under 3 %",
            min(one["cpu"] for one in trading) < 3,
        ),
    ]


def main() -> None:
    """Run the benchmark; print and save the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.market_session", description=__doc__)
    add_prices_option(parser)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each of the four sessions")
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / "market_session.json", help="output file")
    arguments = parser.parse_args()
    prices = chosen_prices(arguments)
    with temporary_server_folder("strikecast-bench-") as home:
        results = measure(Path(home), prices.folder, arguments.seconds)
    print_and_save(results, "without markets", arguments.json, prices.source)


if __name__ == "__main__":
    main()
