"""Builds of eight symbols on one worker and on two: `python -m benchmarks.worker_throughput --prices FOLDER`.

It needs root. Each worker has one slot and a network namespace of its own; both share the machine's cores. The symbols
are clones of the newest bars of BTC, scaled, built with the default model. A first round, which finds nothing built,
does not count. Then rounds alternate: one worker, two, two, one.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import polars as pl
from dagster import DagsterRunStatus as Status

from benchmarks.results import Result, print_and_save
from benchmarks.worker_host import Host, running_host
from benchmarks.worker_network import VARIABLE, WORKERS, run_in_namespaces, services
from pipelines.storage.postgres.embedded import temporary_server_folder

SYMBOLS = [f"C{number}" for number in range(1, 9)]
TARGET = 1.6


def write_clones(source: Path, days: int, folder: Path) -> Path:
    """Write the newest days of a file of bars for each symbol, its prices scaled; returns the folder."""
    bars = pl.read_parquet(source).tail(days * 1_440)
    prices = [name for name in bars.columns if name.lower() in {"open", "high", "low", "close"}]
    folder.mkdir()
    for number, symbol in enumerate(SYMBOLS, 1):
        factor = 1 + number / 16
        bars.with_columns(pl.col(prices) * factor).write_parquet(folder / f"{symbol.lower()}_1m.parquet")
    return folder


def measure(host: Host, count: int) -> float:
    """Seconds from the first launch until the builds of all symbols are published by so many workers."""
    for worker in WORKERS[:count]:
        host.start_worker(worker)
    began = time.time()
    run_ids = [host.launch(symbol) for symbol in SYMBOLS]
    for run_id in run_ids:
        host.wait(run_id, Status.SUCCESS, seconds=500)
    seconds = max(host.record(run_id).end_time or 0 for run_id in run_ids) - began
    host.stop_workers()
    return seconds


def main() -> int:
    """Measure; returns 1 below the target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker_throughput", description=__doc__)
    parser.add_argument("--prices", type=Path, required=True, help="folder with btc_1m.parquet")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rounds", default="1221", help="numbers of workers in turn")
    parser.add_argument("--json", type=Path, default=Path(".benchmarks/worker_throughput.json"))
    arguments = parser.parse_args()
    if VARIABLE not in os.environ:
        return run_in_namespaces("benchmarks.worker_throughput", sys.argv[1:])
    found: dict[int, list[float]] = {1: [], 2: []}
    loads = []
    with temporary_server_folder("strikecast-drills-") as folder, services(folder) as running:
        clones = write_clones(arguments.prices / "btc_1m.parquet", arguments.days, folder / "clones")
        with running_host(folder, running, SYMBOLS, model="", prices=clones) as host:
            measure(host, len(WORKERS))
            for count in map(int, arguments.rounds):
                found[count].append(measure(host, count))
                loads.append(os.getloadavg()[0])
                print(f"{count} workers: {found[count][-1]:.1f} s, load {loads[-1]:.1f}", flush=True)
    ratio = sum(found[1]) / len(found[1]) / (sum(found[2]) / len(found[2]))
    times = {count: ", ".join(f"{seconds:.1f}" for seconds in found[count]) for count in found}
    result = Result(
        f"builds of {len(SYMBOLS)} symbols of {arguments.days} days on two workers",
        f"{times[2]} s, {ratio:.2f} times as fast",
        f"{times[1]} s",
        f"at least {TARGET} times",
        ratio >= TARGET,
        {"loads": loads, "seconds": {str(count): values for count, values in found.items()}},
    )
    source = f"{arguments.prices / 'btc_1m.parquet'}; load {min(loads):.0f} to {max(loads):.0f}"
    print_and_save([result], "one worker in the same run", arguments.json, source)
    return int(not result.met)


if __name__ == "__main__":
    sys.exit(main())
