"""Run all benchmarks; print one table, write the same as JSON.

`python -m benchmarks [--prices FOLDER] [--json FILE]`
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import computing, serving
from benchmarks.figures import machine, report
from benchmarks.price_files import add_prices_option, chosen_prices
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer
from pipelines.storage.postgres.schema import migrate

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add_prices_option(parser)
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / "latest.json", help="where the figures go")
    arguments = parser.parse_args()
    chosen = chosen_prices(arguments, ["BTC"])
    prices = chosen.of("BTC")
    # First, while this process is small: a child's peak counts what it was forked from.
    figures = [serving.whole_chain(prices)]
    with (
        tempfile.TemporaryDirectory(prefix="strikecast-bench-") as folder,
        EmbeddedServer(Path(folder) / "postgres").running() as url,
    ):
        database = Database(url)
        migrate(database)
        fingerprints, closes, tables = computing.fingerprints(prices)
        figures = [
            fingerprints,
            *computing.lookup(database, closes, tables),
            serving.ladder(database, tables),
            serving.tick_to_file(database, Path(folder)),
            *figures,
        ]
    report(figures, "yardstick in the same run", arguments.json, chosen.source)
    print(f"{', '.join(f'{name} {value}' for name, value in machine().items())}; {arguments.json}")


if __name__ == "__main__":
    main()
