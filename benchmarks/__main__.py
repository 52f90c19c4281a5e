"""Run all benchmarks on the real bars beside the project; print one table, write the same as JSON.

`python -m benchmarks [--prices FOLDER] [--json FILE]`
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import orjson

from benchmarks import computing, serving
from benchmarks.figures import machine
from pipelines.storage.database import Database
from pipelines.storage.embedded import EmbeddedServer
from pipelines.storage.schema import migrate

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--prices", type=Path, default=ROOT.parent / "shared" / "data" / "prices", help="has btc_1m.parquet"
    )
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / "latest.json", help="where the figures go")
    arguments = parser.parse_args()
    prices = arguments.prices / "btc_1m.parquet"
    # First, while this process is small: a child's peak counts what it was forked from.
    figures = [serving.whole_chain(prices)]
    with (
        tempfile.TemporaryDirectory(prefix="strikecast-bench-") as folder,
        EmbeddedServer(Path(folder) / "postgres").in_use() as url,
    ):
        database = Database(url)
        migrate(database)
        fingerprints, closes, tables = computing.fingerprints(prices)
        figures = [fingerprints, *computing.lookup(database, closes, tables), serving.ladder(database, tables),
                   serving.tick_to_file(database, Path(folder)), *figures]  # fmt: skip
    rows = [
        f"| {f.what} | {f.measured} | {f.yardstick} | {f.aim} | {'yes' if f.reached else '**no**'} |" for f in figures
    ]
    print(
        "| what | measured | yardstick in the same run | to reach | reached |", "|---|---|---|---|---|", *rows, sep="\n"
    )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
    arguments.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    print(f"\n{', '.join(f'{name} {value}' for name, value in report['machine'].items())}; {arguments.json}")


if __name__ == "__main__":
    main()
