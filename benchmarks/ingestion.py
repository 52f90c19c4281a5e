"""Ingest five years of bars from Parquet and from CSV, beside a bare load of the same file.

`python -m benchmarks.ingestion [--prices FOLDER]`. The bare load reads the file with DuckDB and explicit types, writes
it by binary COPY, and creates the primary key: no validation, no comparison, no record. Each load is a process of its
own, with a server that runs already, and the two alternate.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.price_files import add_prices_option, chosen_prices
from benchmarks.results import Result, machine, print_and_save
from pipelines.ingestion.ingest import ingest
from pipelines.storage.postgres.binary_copy import encode_rows, float8, open_copy, text_constant, timestamptz_of_minutes
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer, temporary_server_folder
from pipelines.storage.postgres.schema import migrate

ROOT = Path(__file__).parents[1]
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
BLOCK_ROWS = 262_144
ROUNDS = 3


def ours(database: Database, path: Path) -> None:
    """The product's ingestion into a symbol without bars."""
    ingest(database, "BTC", [path], datetime.now(UTC))


def bare(database: Database, path: Path) -> None:
    """DuckDB, binary COPY, primary key."""
    with duckdb.connect(config={"threads": 2}) as reader:
        reader.execute("SET TimeZone = 'UTC'")
        if path.suffix == ".parquet":
            rows = reader.read_parquet(str(path))
        else:
            types = {"timestamp": "TIMESTAMPTZ", **dict.fromkeys(COLUMNS[1:], "DOUBLE")}
            rows = reader.read_csv(str(path), header=True, sep=",", columns=types, auto_detect=False)
        minutes = duckdb.FunctionExpression("epoch", duckdb.ColumnExpression("timestamp"))
        found = rows.select(minutes.alias("seconds"), *COLUMNS[1:]).fetchnumpy()
    minutes_since_1970 = found["seconds"].astype(np.int64) // 60
    with database.connect("bench", None) as connection:
        connection.execute("DROP TABLE IF EXISTS bare; CREATE TABLE bare (LIKE historical_data.price_history)")
        with open_copy(connection, "COPY bare FROM STDIN (FORMAT binary)") as copy:
            for first in range(0, len(minutes_since_1970), BLOCK_ROWS):
                part = slice(first, first + BLOCK_ROWS)
                block = minutes_since_1970[part]
                columns = [text_constant("BTC", len(block)), timestamptz_of_minutes(block)]
                copy.write(encode_rows([*columns, *(float8(found[name][part]) for name in COLUMNS[1:])]))
        connection.execute("ALTER TABLE bare ADD PRIMARY KEY (symbol, opened_at)")


LOADS: dict[str, Callable[[Database, Path], None]] = {"ours": ours, "bare": bare}


def measured(load: str, url: str, path: Path) -> tuple[float, float]:
    """Seconds of a load without the start of its process, and the peak RSS of the process in GB."""
    command = [sys.executable, "-m", "benchmarks.ingestion", "--load", load, "--url", url, "--file", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    return found["seconds"], found["rss_gb"]


def compared(url: str, path: Path, target: float) -> Result:
    """Our time as a multiple of the bare load's; the best of ROUNDS each, alternating."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in LOADS}
    for _ in range(ROUNDS):
        for name, found in samples.items():
            found.append(measured(name, url, path))
    best = {name: min(seconds for seconds, _ in found) for name, found in samples.items()}
    rss = max(gigabytes for _, gigabytes in samples["ours"])
    ratio = best["ours"] / best["bare"]
    return Result(
        f"ingest {path.name}, {path.stat().st_size / 1e6:,.0f} MB",
        f"{best['ours']:.2f} s, peak RSS {rss:.2f} GB",
        f"{best['bare']:.2f} s, DuckDB, binary COPY and primary key (ours takes {ratio:.2f} times that)",
        f"at most {target} times, under 0.7 GB",
        ratio <= target and rss < 0.7,
        {name: [seconds for seconds, _ in found] for name, found in samples.items()},
    )


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingestion", description=__doc__)
    add_prices_option(parser)
    for option in ("--load", "--url", "--file"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        database, path = Database(arguments.url), Path(arguments.file)
        with database.connect("bench", None) as connection:
            connection.execute("DROP TABLE IF EXISTS historical_data.price_history_btc, historical_data.momentum_btc")
        started = time.perf_counter()
        LOADS[arguments.load](database, path)
        seconds = time.perf_counter() - started
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        sys.stdout.write(json.dumps({"seconds": seconds, "rss_gb": rss}))
        return
    chosen = chosen_prices(arguments, ["BTC"])
    with temporary_server_folder("strikecast-bench-") as folder:
        csv = Path(folder) / "btc_1m.csv"
        with duckdb.connect() as writer:
            writer.execute("SET TimeZone = 'UTC'")
            writer.read_parquet(str(chosen.of("BTC"))).write_csv(str(csv))
        with EmbeddedServer(Path(folder) / "postgres").running() as url:
            migrate(Database(url))
            results = [compared(url, chosen.of("BTC"), 1.5), compared(url, csv, 2.5)]
    print_and_save(results, "reference in the same run", ROOT / ".benchmarks" / "ingestion.json", chosen.source)
    print(f"{', '.join(f'{name} {value}' for name, value in machine().items())}")


if __name__ == "__main__":
    main()
