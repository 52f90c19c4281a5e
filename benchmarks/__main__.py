"""Run the main benchmarks; print one table and save it as JSON.

`python -m benchmarks [--prices FOLDER] [--json FILE]`
"""

import argparse
from pathlib import Path

from benchmarks import computing, serving
from benchmarks.price_files import add_prices_option, chosen_prices
from benchmarks.results import machine, print_and_save
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer, temporary_server_folder
from pipelines.storage.postgres.schema import migrate

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add_prices_option(parser)
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / "latest.json", help="output file")
    arguments = parser.parse_args()
    chosen = chosen_prices(arguments, ["BTC"])
    prices = chosen.of("BTC")
    # First, while this process is small: the peak RSS of a child includes that of the process it was forked from.
    results = [serving.whole_chain(prices)]
    with (
        temporary_server_folder("strikecast-bench-") as folder,
        EmbeddedServer(Path(folder) / "postgres").running() as url,
    ):
        database = Database(url)
        migrate(database)
        fingerprints, closes, tables = computing.fingerprints(prices)
        results = [
            fingerprints,
            *computing.lookup(database, closes, tables),
            serving.ladder(database, tables),
            serving.tick_to_file(database, Path(folder)),
            *results,
        ]
    print_and_save(results, "reference in the same run", arguments.json, chosen.source)
    print(f"{', '.join(f'{name} {value}' for name, value in machine().items())}; {arguments.json}")


if __name__ == "__main__":
    main()
