"""Import recordings of markets: 687,000 minute candles, and a day of order-book updates.

`python -m benchmarks.market_import --markets FOLDER` takes about a minute. FOLDER has the recordings
`kxbtcd_hourly_1m_2025-04` and `kxbtcd_hourly_ticks_2025-05`; by default $STRIKECAST_REAL_DATA/markets. The candles that
the recording lacks are copies of it, a year later. Each import is a process of its own, with a server that runs; the
time includes the reading of the files, and not the start of the process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import polars as pl

from benchmarks.price_files import VARIABLE
from benchmarks.results import Result, machine, print_and_save
from pipelines.ingestion.markets.importing import import_recording
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer, temporary_server_folder
from pipelines.storage.postgres.schema import migrate

ROOT = Path(__file__).parents[1]
CANDLES, TICKS = "kxbtcd_hourly_1m_2025-04", "kxbtcd_hourly_ticks_2025-05"
ROWS = 687_000
MOST_SECONDS = 20.0
#: Whole weeks, so that the closes stay on the same weekdays.
LATER = timedelta(days=364)


def longer_recording(folder: Path, into: Path) -> Path:
    """The recording of candles, continued by as many candles of its copy a year later as ROWS needs."""
    candles = pl.read_parquet(folder / "candles.parquet")
    markets = pl.read_parquet(folder / "markets.parquet")
    renamed = pl.col("market_ticker", "event_ticker").str.replace("-25", "-26", literal=True)
    copies = candles.with_columns(pl.col("market_ticker").str.replace("-25", "-26", literal=True), pl.col("ts") + LATER)
    moved = markets.with_columns(renamed, pl.col("open_time", "close_time", "resolution_time") + LATER)
    target = into / "candles"
    target.mkdir()
    pl.concat([candles, copies.head(ROWS - len(candles))]).write_parquet(target / "candles.parquet")
    pl.concat([markets, moved]).write_parquet(target / "markets.parquet")
    return target


def measured(url: str, path: Path) -> dict[str, float]:
    """Seconds of an import, the peak RSS of its process in GB, and the rows that were new."""
    command = [sys.executable, "-m", "benchmarks.market_import", "--url", url, "--recording", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    return {name: float(value) for name, value in found.items()}


def run_import(url: str, path: Path) -> None:
    """Import in this process, and print the measurements."""
    started = time.perf_counter()
    report = import_recording(Database(url), path, {"KXBTCD": "BTC"})
    seconds = time.perf_counter() - started
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    counts = {"candles": report.candles.inserted, "quotes": report.quotes.inserted, "read": report.rows_read}
    sys.stdout.write(json.dumps({"seconds": seconds, "rss_gb": rss, **counts}))


def row(name: str, found: dict[str, float], most: float | None = None) -> Result:
    """One row of the table."""
    measurement = f"{found['seconds']:.1f} s, peak RSS {found['rss_gb']:.2f} GB"
    target = "-" if most is None else f"under {most:.0f} s"
    return Result(name, measurement, "-", target, most is None or found["seconds"] < most, found)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.market_import", description=__doc__)
    real_data = os.environ.get(VARIABLE)
    parser.add_argument("--markets", type=Path, default=None if real_data is None else Path(real_data) / "markets")
    for option in ("--url", "--recording"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.url:
        run_import(arguments.url, Path(arguments.recording))
        return
    if arguments.markets is None:
        parser.error(f"--markets FOLDER, or {VARIABLE}, is needed")
    with temporary_server_folder("strikecast-bench-") as folder:
        recording = longer_recording(arguments.markets / CANDLES, Path(folder))
        with EmbeddedServer(Path(folder) / "postgres").running() as url:
            migrate(Database(url))
            first, again = measured(url, recording), measured(url, recording)
            updates = measured(url, arguments.markets / TICKS)
    results = [
        row(f"{first['candles']:,.0f} new minute candles of 10,742 markets", first, MOST_SECONDS),
        row("the same recording again, nothing changes", again),
        row(f"{updates['read']:,.0f} order-book updates, {updates['quotes']:,.0f} quotes stored", updates),
    ]
    print_and_save(results, "reference", ROOT / ".benchmarks" / "market_import.json", str(arguments.markets))
    print(f"{', '.join(f'{name} {value}' for name, value in machine().items())}")


if __name__ == "__main__":
    main()
