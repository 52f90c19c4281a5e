"""Run all benchmarks on the real bars beside the project; print one table, write the same as JSON.

`python -m benchmarks [--prices FOLDER] [--json FILE]`
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import computing, serving
from benchmarks.figures import machine, report
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
    report(figures, "yardstick in the same run", arguments.json)
    print(f"\n{', '.join(f'{name} {value}' for name, value in machine().items())}; {arguments.json}")


if __name__ == "__main__":
    main()
